"""The command line of this process, to be shown and copied."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys


def repeat_command(*flags: str) -> str:
    """This process's command with flags added that it does not have, quoted for this system."""
    words = ["python", *sys.argv]
    words += [flag for flag in flags if flag not in sys.argv]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
