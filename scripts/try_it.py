"""Try a trained run on your own photographs, in a browser.

    python scripts/try_it.py --name my_run

opens a page of this machine: drop photographs, compare each with its result, download it at full
size with its metadata. With --lan, phones and other machines in the network open the page too, by
the address with a token that is printed. What is uploaded lies in a temporary folder, which is
deleted when the program ends; Ctrl-C ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from util.packages import needed
from util.startup import begin_imports

if __name__ == "__main__":
    begin_imports()

import argparse
import asyncio
import contextlib
import errno
import os
import secrets
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable

from data.photo.translate import AUTO, WAYS
from options.flags import MAX_MEGAPIXELS
from options.parser import OptionParser, RawHelpFormatter, device_name, number, whole
from scripts.translate import Generator, load_generator
from scripts.trying.photographs import Photographs
from util import runtime
from util.errors import UserError
from util.files import to_path
from util.show.browser import has_display

THIS_MACHINE = "127.0.0.1"


def main(argv: list[str] | None = None) -> None:
    own = parse(sys.argv[1:] if argv is None else argv)
    netutil = needed("tornado.netutil", "the page")
    address = address_in_network() if own.lan else THIS_MACHINE
    with contextlib.ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="try_it_", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        run = own.checkpoints_dir / own.name
        photographs = Photographs(run, loader(own), own.epoch, folder, own.max_megapixels)
        try:
            sockets = netutil.bind_sockets(own.port, None if own.lan else THIS_MACHINE)
        except OSError as error:
            raise cannot_listen(own.port, error) from None
        try:
            serve(own, photographs, sockets, address)
        finally:
            is_working = photographs.end()
    if is_working:  # a large photograph would hold up the end for minutes
        sys.stdout.flush()
        os._exit(0)


def parse(words: list[str]) -> argparse.Namespace:
    parser = OptionParser(description=__doc__)
    parser.formatter_class = RawHelpFormatter
    parser.add_argument("--name", required=True, help="the run, a folder in --checkpoints_dir")
    parser.add_argument("--checkpoints_dir", type=to_path, default=Path("checkpoints"))
    parser.add_argument("--epoch", default="latest",
                        help="checkpoint to begin with: latest, best or a number")  # fmt: skip
    parser.add_argument("--port", type=whole(0, 65535), default=8010, metavar="N",
                        help="of the address; 0: any that is free")  # fmt: skip
    parser.add_argument("--device", type=device_name, default="auto")
    parser.add_argument("--lan", action="store_true",
                        help="other machines in the network may open the page too, by the printed "
                        "address; it is not encrypted")  # fmt: skip
    parser.add_argument("--no_browser", action="store_true", help="open no browser")
    parser.add_argument("--max_upload_mb", type=number(above=0), default=200.0, metavar="MB",
                        help="refuse larger files")  # fmt: skip
    MAX_MEGAPIXELS.add_to(parser)
    return parser.parse(words)[0]


def loader(own: argparse.Namespace) -> Callable[[str], Generator]:
    """Loads checkpoints of the run."""
    return lambda epoch: load_generator(
        own.checkpoints_dir / own.name,
        epoch,
        device=own.device,
        flags=("--max_megapixels", str(own.max_megapixels)),
    )


def serve(
    own: argparse.Namespace, photographs: Photographs, sockets: list[socket.socket], address: str
) -> None:
    """Answer requests until Ctrl-C."""
    from tornado.httpserver import HTTPServer

    from scripts.trying.server import Door, application

    page = needed("util.show.html", "the page")
    port, max_bytes = sockets[0].getsockname()[1], int(own.max_upload_mb * 1e6)
    token = secrets.token_urlsafe(16) if own.lan else ""
    door = Door(
        photographs,
        page.try_it_page(own.name, ways=WAYS, full_size=AUTO, epoch=own.epoch, max_bytes=max_bytes),
        token=token,
        cookie=f"try_it_{port}",
        max_bytes=max_bytes,
        ways=WAYS,
    )

    async def listen() -> None:
        # Above the limit, there is an answer; far above, the connection ends.
        server = HTTPServer(application(door), max_body_size=10 * max_bytes)
        server.add_sockets(sockets)
        url = f"http://{address}:{port}/{'?token=' * own.lan}{token}"
        print(f"{own.name}, {own.epoch}: {url} (Ctrl-C ends it)", flush=True)
        if not own.no_browser and has_display():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        await asyncio.Event().wait()

    for name in ("SIGTERM", "SIGHUP"):  # the folder is deleted then too
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(listen())


def address_in_network() -> str:
    """That of this machine, towards other networks; UserError if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # for documentation (RFC 5737); nothing is sent
        except OSError:
            raise UserError("--lan: this machine has no address in a network") from None
        return probe.getsockname()[0]


def cannot_listen(port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(f"--port {port}: another program uses it; pass another, or 0 for any")
    return UserError(f"--port {port}: {error.strerror}; pass another, or 0 for any")


if __name__ == "__main__":
    sys.exit(runtime.run(main))
