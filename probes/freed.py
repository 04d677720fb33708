"""Memory that was freed is kept for the next tensor. glibc gives large pieces back to the system at
once, and the next tensor then costs a page fault for every 4 kB.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of mallopt(3)."""
LARGEST = 32 << 20
"""The largest threshold for single mappings that glibc allows, in bytes."""
TYPED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@functools.cache
def keep() -> bool:
    """From now on this process keeps the memory that it frees. Returns whether it does: not where
    the C library is another one, nor where the environment sets its parameters.

    No number changes. Processes that measure at once gain most, since the system serves their page
    faults one by one.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in TYPED):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
