"""Progress bars: those of tqdm or, without that package, none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO


class NoBar:
    """What the program uses of tqdm: lines are printed, and bars are not shown."""

    def __init__(
        self, iterable: Iterable[Any] = (), desc: str = "", *, total: float = 0, **looks: object
    ):
        self.iterable, self.total, self.n, self.bar_format = iterable, total, 0.0, ""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.iterable)

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        self.n += n

    def refresh(self) -> None: ...

    def close(self) -> None: ...

    @staticmethod
    def write(line: str, file: TextIO | None = None) -> None:
        print(line, file=file or sys.stdout)

    @staticmethod
    def format_interval(seconds: float) -> str:
        return f"{seconds:.0f} s"


if TYPE_CHECKING:
    from tqdm import tqdm
else:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        tqdm = NoBar
