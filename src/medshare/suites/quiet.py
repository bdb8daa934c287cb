"""Keeps a C library from writing to standard error about what it was right to refuse.

GmSSL prints source file and line whenever a signature or a wrapped key is refused, and cannot
be told not to.  Whoever attacks a relay could fill its log with that.  Inside the block of
`quiet`, the stream `stderr` of the C library leads nowhere.  Python's own standard error, and so
every sentence of ours, goes to file descriptor 2 without that stream and is never held back, in
no thread; nor are crashes, which the C library reports by the descriptor.

Only for glibc, where `stderr` is a variable that may be set; elsewhere nothing is changed.
"""

import ctypes
import os
import threading
from types import TracebackType
from typing import Final


class _Quiet:
    """The block; any number of threads may be inside, and the last one out turns sound on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stream, self._nowhere = _streams()
        self._usual = None if self._stream is None else self._stream.value

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._stream is not None:
                self._stream.value = self._nowhere

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the stream be as it was, unless another thread is still inside."""
        with self._lock:
            self._inside -= 1
            if self._stream is not None and not self._inside:
                self._stream.value = self._usual

    def begin_anew(self) -> None:
        """Let nobody be inside: in a child process only the thread that forked lives on."""
        self._lock, self._inside = threading.Lock(), 0
        if self._stream is not None:
            self._stream.value = self._usual


def _streams() -> tuple[ctypes.c_void_p | None, int | None]:
    """Return where the C library keeps its `stderr`, and a stream that leads nowhere."""
    try:
        library = ctypes.CDLL(None)
        if not hasattr(library, "gnu_get_libc_version"):
            return None, None
        library.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        library.fopen.restype = ctypes.c_void_p
        nowhere = library.fopen(b"/dev/null", b"we")
        stream = ctypes.c_void_p.in_dll(library, "stderr")
    except (ValueError, OSError, AttributeError):
        return None, None
    return (stream, nowhere) if nowhere and stream.value else (None, None)


quiet: Final = _Quiet()
os.register_at_fork(after_in_child=quiet.begin_anew)
