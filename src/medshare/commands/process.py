"""How a process that moves chunks uses the machine: what the command line decides for it.

A library does not: the allocator and the environment belong to the program.
"""

import ctypes
import os
from typing import Final

# mallopt(3), glibc.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 64 << 20
_FROM_THE_HEAP: Final = 32 << 20


def prepare_to_move() -> None:
    """Let buffers be taken from memory that the process has, again and again.

    glibc maps large blocks anew and gives the end of its heap back each time, and each page then
    costs a fault: some 0.7 CPU seconds a GiB over sender, relay and receiver.  NumPy's threads
    for linear algebra, of which there is none here, would wait for work in a loop.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _FROM_THE_HEAP)
        mallopt(_TRIM_THRESHOLD, _KEPT)
