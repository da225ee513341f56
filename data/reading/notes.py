"""What is noticed while pictures are read, possibly in other processes, to be told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from util.util import counted

Range = tuple[float, float]  # the values that mean black and white
FEW = 1 / 8  # of its range: a set that uses less is told of


@dataclass
class Use:
    """The values of one side's pictures: the least and greatest, as shares of their range."""

    range: Range
    least: float
    greatest: float

    def join(self, other: Use) -> None:
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)


@dataclass
class Notes:
    """Everything noticed, in one process or all.

    Attributes:
        lines: messages that are told at once, by what makes them one, such as a profile.
        clipped: how many values were outside a stated range, by side; "values" counts all.
        used: which values occurred, by side.
        misshapen: how many pairs had sides of different shapes.
    """

    lines: dict[str, str] = field(default_factory=dict)
    clipped: Counter[str] = field(default_factory=Counter)
    stated: dict[str, Range] = field(default_factory=dict)
    used: dict[str, Use] = field(default_factory=dict)
    misshapen: int = 0

    def say(self, key: str, line: str) -> None:
        """Tell a line, once for each key."""
        self.lines.setdefault(key, line)

    def clip(self, side: str, stated: Range, number: int) -> None:
        """Count values outside a stated range."""
        self.stated[side] = stated
        self.clipped[side] += number

    def use(self, side: str, use: Use) -> None:
        if side in self.used:
            self.used[side].join(use)
        else:
            self.used[side] = use

    def add(self, other: Notes) -> list[str]:
        """Add what another has noticed; returns the lines that are new."""
        new = [line for key, line in other.lines.items() if key not in self.lines]
        self.lines.update(other.lines)
        self.clipped.update(other.clipped)
        self.stated.update(other.stated)
        for side, use in other.used.items():
            self.use(side, use)
        self.misshapen += other.misshapen
        return new

    def summary(self) -> list[str]:
        """What can only be said when all pictures have been read."""
        lines = [
            f"{range_flag(side)} {low:g},{high:g}: {counted(number, 'value')} outside were clipped"
            for side, number in sorted(self.clipped.items())
            for low, high in [self.stated[side]]
            if number
        ]
        for side, use in sorted(self.used.items()):
            low, high = use.range
            if use.greatest - use.least < FEW:
                least, greatest = (low + x * (high - low) for x in (use.least, use.greatest))
                if least == greatest:
                    lines.append(f"all values of the pictures of side {side} are {least:g}")
                    continue
                lines.append(
                    f"the pictures of side {side} use only {least:g} to {greatest:g} of {low:g} to "
                    f"{high:g}, so the network sees them nearly flat; if these are black and "
                    f"white, pass --range_{side} {least:g},{greatest:g}"
                )
        if self.misshapen:
            lines.append(
                f"{counted(self.misshapen, 'pair')} had sides of different shapes, which "
                "--preprocess resize_and_crop stretches to one"
            )
        return lines


def range_flag(side: str) -> str:
    """The flag that states the range of a side; both where the side has no name."""
    return f"--range_{side}" if side else "--range_A and --range_B, both"


noticed = Notes()  # in this process, since the last `take`


@contextmanager
def untold() -> Iterator[None]:
    """Inside, what is noticed is forgotten: the same pictures are read again."""
    global noticed
    before, noticed = noticed, Notes()
    try:
        yield
    finally:
        noticed = before


def take() -> Notes:
    """What this process has noticed since the last call."""
    global noticed
    taken, noticed = noticed, Notes()
    return taken
