"""Memory that is freed and allocated again costs no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ALLOCATIONS = """
import resource, sys, torch
from util.speed.heap import keep_freed_memory

keep_freed_memory("keep" in sys.argv)
for _ in range(60):  # the heap grows a little until blocks fit
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="does nothing elsewhere")
def test_large_tensors_take_pages_that_are_there():
    def new_pages(*arguments: str) -> int:
        command = [sys.executable, "-c", ALLOCATIONS, *arguments]
        return int(subprocess.check_output(command, cwd=Path(__file__).resolve().parents[2]))

    assert new_pages("keep") < 100
    assert new_pages() > 1000
