"""Weights that others have published: in a file, in torch's cache, or downloaded to it once."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from util.errors import UserError
from util.run.checkpoint import load_weights

SILENCE_LIMIT_S = 30


@dataclass(frozen=True)
class Published:
    """A published file of weights.

    Attributes:
        what: the weights, in words, as in "the ImageNet weights of vgg16".
        kind: what a file of them is, as in "a state_dict of torchvision's vgg16".
        flag: the flag that names such a file.
        url: where to download it.
        name: its name in torch's cache.
        digest: the first digits of its SHA-256; '' if they are not known.
    """

    what: str
    kind: str
    flag: str
    url: str
    name: str
    digest: str = ""

    @property
    def cache(self) -> Path:
        return Path(torch.hub.get_dir(), "checkpoints", self.name)

    def read(
        self, given: str | Path | None, download: bool
    ) -> tuple[Path, dict[str, torch.Tensor]]:
        """The file and the state_dict in it: the given file, else the one in torch's cache.

        The network is only used with `download`. Raises UserError if there is no such file, or if
        it cannot be read or downloaded.
        """
        file = Path(given or self.cache)
        if given and not file.is_file():
            raise UserError(
                f"{self.flag} {file}: there is no such file; pass {self.kind}, or connect to the "
                "network and leave the flag out to download it once"
            )
        if not file.is_file():
            self._download(download)
        try:
            return file, load_weights(file)
        except UserError as error:
            raise UserError(
                f"{error}; it should be {self.kind}: remove this file to download it again, or "
                f"pass another {self.flag} FILE"
            ) from error

    def _download(self, allowed: bool) -> None:
        if not allowed:
            raise UserError(
                f"{self.what} are not at {self.cache}; download {self.url} to that file, or pass "
                f"{self.flag} FILE, {self.kind}"
            )
        print(f"downloading {self.url} to {self.cache}")
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with _limited_silence():
                torch.hub.download_url_to_file(self.url, str(self.cache), self.digest or None)
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            raise UserError(
                f"{self.what} could not be downloaded ({error}); connect to the network once to "
                f"keep them in {self.cache}, or pass {self.flag} FILE, {self.kind}"
            ) from error


@contextlib.contextmanager
def _limited_silence() -> Iterator[None]:
    """Inside, a new connection fails if the server is silent for too long; torch.hub sets no limit.

    The limit is one of the whole process: use it before other threads open connections.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_LIMIT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def unfit(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> list[str]:
    """The keys of `wanted` that a state_dict lacks, or has in another shape."""
    return [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
