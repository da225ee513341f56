"""Chance, which is different in each run; and damage to files by it, as disks, transfers and
attackers do.
"""

from __future__ import annotations

import copy
import os
import random
import secrets
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

SEED = int(os.environ.get("TORTURE_SEED") or secrets.randbelow(2**32))

# What is likely to be mistaken for a length, an offset or a count in a header.
EXTREMES = [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0xFFFFFF, 50_000, 10**6]
EXTREMES += [2**31 - 1, 2**31, 2**32 - 1, 2**63]


def flipped(content: bytes, draw: random.Random) -> bytes:
    """Some bits are the opposite."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16, 64])):
        changed[some_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    """The end is missing."""
    return content[: draw.randrange(len(content))]


def removed(content: bytes, draw: random.Random) -> bytes:
    """A part is missing."""
    start, end = some_part(content, draw)
    return content[:start] + content[end:]


def repeated(content: bytes, draw: random.Random) -> bytes:
    start, end = some_part(content, draw)
    return content[:end] + draw.choice([1, 1, 3, 50]) * content[start:end] + content[end:]


def inserted(content: bytes, draw: random.Random) -> bytes:
    place = some_place(content, draw)
    noise = draw.choice([draw.randbytes, bytes])(draw.choice([1, 2, 4, 100, 5000]))
    return content[:place] + noise + content[place:]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """Some file systems leave zeros where content did not reach the disk."""
    start, end = some_part(content, draw)
    return content[:start] + bytes(end - start) + content[end:]


def renumbered(content: bytes, draw: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes becomes an extreme one."""
    form = draw.choice(["B", ">H", "<H", ">I", "<I", ">Q", "<Q"])
    number = struct.pack(form, draw.choice(EXTREMES) % 2 ** (8 * struct.calcsize(form)))
    place = some_place(content, draw)
    return content[:place] + number + content[place + len(number) :]


WAYS: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut, removed, repeated, inserted]
WAYS += [zeroed, renumbered, renumbered, flipped]


def damaged(content: bytes, draw: random.Random, others: Iterable[bytes] = ()) -> bytes:
    """The content after one to three mishaps; one in ten then begins as one of the others does."""
    for way in draw.choices(WAYS, k=draw.choice([1, 1, 2, 3])):
        content = way(content, draw) if content else content
    if draw.random() < 0.1 and (choices := [*others]):
        length = draw.choice([4, 16, 64, 512])
        content = draw.choice(choices)[:length] + content[length:]
    return content


def some_place(content: bytes, draw: random.Random) -> int:
    """The place of a byte, in two cases of three among the first ones, where headers are."""
    return draw.randrange(draw.choice([min(len(content), most) for most in (64, 1024, 1 << 62)]))


def some_part(content: bytes, draw: random.Random) -> tuple[int, int]:
    """The start and end of a part."""
    start = some_place(content, draw)
    return start, min(len(content), start + draw.choice([1, 2, 4, 16, 256, 4096]))


def spoilt(value: Any, draw: random.Random, odd: Sequence[Any]) -> Any:
    """The same nested dicts and lists, but that one thing in them is gone or an odd one."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.05:
        return draw.choice(odd)
    changed = copy.copy(value)
    key = draw.choice([*value]) if isinstance(value, dict) else draw.randrange(len(value))
    if draw.random() < 0.1:
        del changed[key]
    else:
        changed[key] = spoilt(value[key], draw, odd)
    return changed


class TooLong(BaseException):
    """A program has not ended in time."""
