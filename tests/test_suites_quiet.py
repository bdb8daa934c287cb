"""What a C library writes about its refusals does not reach standard error; all else does."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
GLIBC = "CS_GNU_LIBC_VERSION" in os.confstr_names

REFUSE = r"""
import contextlib
from cryptography.exceptions import InvalidSignature
from medshare.errors import FormatError, IntegrityError
from medshare.suites.base import PublicKey
from medshare.suites import kem, signatures, sm2

secret = sm2.new_secret(lambda size: b"")
signer, opener = sm2.signer(secret), sm2.opener(secret)
verify = sm2.verifier(signer.public.value)

def refuse():
    with contextlib.suppress(InvalidSignature):
        verify(bytes(63) + b"\1", b"message")
        raise SystemExit("a wrong signature was taken")
    with contextlib.suppress(IntegrityError):
        opener.unwrap(bytes(160), info=b"")
        raise SystemExit("a wrong wrap was opened")
    with contextlib.suppress(FormatError):
        kem.check_public(PublicKey("sm2", bytes(64)))
        raise SystemExit("a wrong key was taken")
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    """Run *program* after `REFUSE`."""
    return subprocess.run(
        [sys.executable, "-c", REFUSE + program],
        env=os.environ | {"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_a_refusal_is_silent() -> None:
    """Refused signatures, wraps and keys leave standard error empty."""
    done = run("refuse()")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_other_voices_are_heard() -> None:
    """Python's standard error and that of other C code work before and after, also in a child."""
    done = run("""
import ctypes, os, sys
libc = ctypes.CDLL(None)
def both(word):
    sys.stderr.write(word + " "); sys.stderr.flush()
    stream = ctypes.c_void_p.in_dll(libc, "stderr")
    libc.fputs((word.upper() + " ").encode(), stream); libc.fflush(stream)
both("before"); refuse(); both("after")
from medshare.suites.quiet import quiet
with quiet:
    sys.stderr.write("within "); sys.stderr.flush()
    child = os.fork()
    if not child:
        both("child"); refuse(); both("child"); os._exit(0)
    os.waitpid(child, 0)
both("end")
""")
    assert done.stderr.split() == [
        *("before", "BEFORE", "after", "AFTER", "within"),
        *("child", "CHILD", "child", "CHILD", "end", "END"),
    ]


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_many_threads_refuse_at_once() -> None:
    """No line of a library gets out, no line of ours is lost, and the stream is back at the end."""
    done = run(
        """
import ctypes, sys, threading
stream = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
usual = stream.value
def work(name):
    for number in range(40):
        refuse(); sys.stderr.write(f"{name}.{number}\\n")
threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
[one.start() for one in threads]; [one.join() for one in threads]
assert stream.value == usual
"""
    )
    assert done.returncode == 0, done.stderr
    expected = sorted(f"{name}.{number}" for name in range(6) for number in range(40))
    assert sorted(done.stderr.split()) == expected


def test_the_block_ends_when_something_is_raised() -> None:
    """An exception inside leaves the stream as it was, and goes on its way."""
    from medshare.suites.quiet import quiet

    def raise_inside() -> None:
        with quiet:
            raise ValueError("inside")

    stream = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr") if GLIBC else None
    usual = stream and stream.value
    with pytest.raises(ValueError, match="inside"):
        raise_inside()
    assert (stream and stream.value) == usual
