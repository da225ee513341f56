"""The memory that a process has needed, and what is free."""

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

    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of sysinfoapi.h."""

        _fields_ = (
            ("dwLength", ctypes.wintypes.DWORD),
            ("dwMemoryLoad", ctypes.wintypes.DWORD),
            ("ullTotalPhys", ctypes.c_ulonglong),
            ("ullAvailPhys", ctypes.c_ulonglong),
            ("others", ctypes.c_ulonglong * 5),
        )

    def free_memory() -> int:
        """Bytes of memory that programs can still take."""
        status = Status(dwLength=ctypes.sizeof(Status))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return status.ullAvailPhys

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
    import os
    import resource

    def free_memory() -> int:
        """Bytes of memory that programs can still take, as far as the system says."""
        info, limits = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        if info.exists() and (found := re.search(r"MemAvailable:\s*(\d+) kB", info.read_text())):
            free = int(found[1]) * 1024
        try:  # of a container
            limit, used = ((limits / f"memory.{x}").read_text() for x in ("max", "current"))
            return min(free, max(0, int(limit) - int(used)))
        except (OSError, ValueError):  # there is none, or it is "max"
            return free

    def process_peak() -> int:
        """The most memory that this process has held, in bytes."""
        status = Path("/proc/self/status")
        # On Linux, ru_maxrss starts from the parent's peak.
        if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
            return int(found[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
