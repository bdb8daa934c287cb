"""SM4-GCM and SM3 by libgcrypt, where the machine has it: the same octets in a third of the time.

OpenSSL has SM4 in portable C; libgcrypt (GnuPG, Debian `libgcrypt20`) has it with AES-NI,
AVX2 and GFNI, without tables that a secret could leave traces in.  It is used when it is
found, recent enough, and agrees with OpenSSL at loading; otherwise nothing is lost but time.
The calls below are those of its manual, <https://gnupg.org/documentation/manuals/gcrypt/>.
"""

import ctypes
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_uint, c_void_p
from functools import cache
from typing import Final

from medshare.errors import IntegrityError
from medshare.suites.base import TAG_SIZE, Buffer

_NAME: Final = "libgcrypt.so.20"
_OLDEST: Final = b"1.10.0"
"""Has SM4 with AVX2."""
_DISABLE_SECURE_MEMORY, _FINISH, _IS_FINISHED = 37, 38, 39
_SM4, _GCM, _SM3 = 318, 9, 326
_DIGEST_SIZE: Final = 32


class Gcrypt:
    """The library, loaded; all calls release the interpreter lock."""

    def __init__(self, library: ctypes.CDLL, version: str) -> None:
        self.version = version
        self._library = library
        cipher = (c_void_p, c_void_p, c_size_t)
        _declare(library.gcry_cipher_open, POINTER(c_void_p), c_int, c_int, c_uint)
        _declare(library.gcry_cipher_close, c_void_p, result=None)
        for name in ("setkey", "setiv", "authenticate", "gettag", "checktag"):
            _declare(getattr(library, f"gcry_cipher_{name}"), *cipher)
        for name in ("encrypt", "decrypt"):
            _declare(getattr(library, f"gcry_cipher_{name}"), *cipher, c_void_p, c_size_t)
        _declare(library.gcry_md_open, POINTER(c_void_p), c_int, c_uint)
        _declare(library.gcry_md_copy, POINTER(c_void_p), c_void_p)
        _declare(library.gcry_md_write, *cipher, result=None)
        _declare(library.gcry_md_read, c_void_p, c_int, result=c_void_p)
        _declare(library.gcry_md_close, c_void_p, result=None)

    def encrypt(self, key: bytes, nonce: bytes, data: Buffer, aad: bytes, out: memoryview) -> None:
        """Write ciphertext and tag of *data* into *out*."""
        size = len(data)
        with _Cipher(self._library, key, nonce, aad) as cipher:
            cipher.call("encrypt", _address(out, write=True), size, _address(data), size)
            cipher.call("gettag", _address(out[size:], write=True), TAG_SIZE)

    def decrypt(self, key: bytes, nonce: bytes, data: Buffer, aad: bytes, out: memoryview) -> None:
        """Write plaintext into *out*; raise IntegrityError when the tag is wrong."""
        view = memoryview(data)
        size = len(view) - TAG_SIZE
        with _Cipher(self._library, key, nonce, aad) as cipher:
            cipher.call("decrypt", _address(out, write=True), size, _address(view), size)
            if cipher.refuses("checktag", bytes(view[size:]), TAG_SIZE):
                raise IntegrityError("ciphertext does not authenticate")

    def sm3(self) -> "GcryptSm3":
        """Return a fresh hasher."""
        return GcryptSm3(self._library)


class _Cipher:
    """SM4-GCM for one message; closed, and with it wiped, at the end of the block."""

    def __init__(self, library: ctypes.CDLL, key: bytes, nonce: bytes, aad: bytes) -> None:
        self._library = library
        self._handle = c_void_p()
        self._start = (("setkey", key), ("setiv", nonce), ("authenticate", aad))

    def __enter__(self) -> "_Cipher":
        _check(self._library.gcry_cipher_open(byref(self._handle), _SM4, _GCM, 0))
        for name, value in self._start:
            self.call(name, value, len(value))
        return self

    def __exit__(self, *_: object) -> None:
        self._library.gcry_cipher_close(self._handle)

    def call(self, name: str, *words: object) -> None:
        """Call a function of the cipher."""
        _check(self.refuses(name, *words))

    def refuses(self, name: str, *words: object) -> int:
        """Call a function of the cipher; return its error, 0 where there is none."""
        return int(getattr(self._library, f"gcry_cipher_{name}")(self._handle, *words))


class GcryptSm3:
    """SM3 as an incremental hash."""

    def __init__(self, library: ctypes.CDLL, state: c_void_p | None = None) -> None:
        self._library = library
        self._handle = c_void_p()
        if state is None:
            _check(library.gcry_md_open(byref(self._handle), _SM3, 0))
        else:
            _check(library.gcry_md_copy(byref(self._handle), state))

    def __del__(self) -> None:
        self._library.gcry_md_close(self._handle)

    def update(self, data: Buffer, /) -> None:
        """Take more octets."""
        self._library.gcry_md_write(self._handle, _address(data), len(data))

    def digest(self) -> bytes:
        """Return the digest of the octets so far."""
        return self.copy().finish()

    def finish(self) -> bytes:
        """Return the digest; nothing can be added any more."""
        return ctypes.string_at(self._library.gcry_md_read(self._handle, _SM3), _DIGEST_SIZE)

    def copy(self) -> "GcryptSm3":
        """Return an independent hasher in the same state."""
        return GcryptSm3(self._library, self._handle)


@cache
def load() -> Gcrypt | None:
    """Return the library, once and for all; None where there is none that can be used."""
    try:
        library = ctypes.CDLL(_NAME)
        _declare(library.gcry_check_version, c_char_p, result=c_char_p)
        version = library.gcry_check_version(_OLDEST)
        if version is None:
            return None
        if not library.gcry_control(_IS_FINISHED):
            library.gcry_control(_DISABLE_SECURE_MEMORY, 0)
            library.gcry_control(_FINISH, 0)
        return Gcrypt(library, version.decode("ascii", "replace"))
    except (OSError, AttributeError):
        return None


def _declare(function: object, *arguments: type, result: type | None = c_uint) -> None:
    function.argtypes, function.restype = list(arguments), result  # type: ignore[attr-defined]  # of ctypes


def _check(error: int) -> None:
    if error:
        raise RuntimeError(f"libgcrypt: error {error & 0xFFFF}")


def _address(data: Buffer, *, write: bool = False) -> object:
    """Return *data* as an argument: its address where that can be had without a copy."""
    if isinstance(data, bytes):
        return data
    view = memoryview(data)
    if view.readonly and not write:
        return bytes(view)
    return (c_char * len(view)).from_buffer(view)
