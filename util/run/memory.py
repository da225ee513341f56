"""The memory that a process has needed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.platform == "win32":  # a form that type checkers understand
    import ctypes
    import ctypes.wintypes

    class Counters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS of psapi.h."""

        _fields_ = (
            ("cb", ctypes.wintypes.DWORD),
            ("PageFaultCount", ctypes.wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        )

    def process_peak() -> int:
        """The most memory that this process has held, in bytes; 0 if the system does not say."""
        counters = Counters(cb=ctypes.sizeof(Counters))
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.K32GetProcessMemoryInfo.argtypes = (
            *(ctypes.c_void_p, ctypes.POINTER(Counters), ctypes.wintypes.DWORD),
        )
        kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), counters, counters.cb)
        return counters.PeakWorkingSetSize

else:
    import resource

    def process_peak() -> int:
        """The most memory that this process has held, in bytes."""
        status = Path("/proc/self/status")
        # On Linux, ru_maxrss starts from the parent's peak.
        if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
            return int(found[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
