"""Whether pages can be opened here; needs only Python, for scripts that begin without more."""

import os
import sys


def has_display() -> bool:
    """Whether a browser can open here; on Linux without a display, one in this terminal would."""
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
