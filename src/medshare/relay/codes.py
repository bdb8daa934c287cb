"""What people type: codes of RFC 6238, recovery codes, enrolment secrets.

TOTP is the library's (`pyotp`); here is which step a code belongs to.  Recovery codes have 80
random bits and are kept as salted scrypt (RFC 7914) hashes; the digit before them says which of
the hashes it is, so that one is computed for an attempt and not ten.
"""

import base64
import hashlib
import hmac
import re
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from medshare.errors import UsageError
from medshare.suites.base import SYSTEM_RANDOM
from medshare.wire.sign_in import RECOVERY_CODES

STEP: Final = 30
"""Seconds of one time step."""
DIGITS: Final = 6
SKEW: Final = 1
"""Time steps by which the clock that shows the code may differ, either way."""
SECRET_SIZE: Final = 20
"""Octets of a TOTP secret: those of SHA-1, as RFC 4226 §4 recommends."""
SALT_SIZE: Final = 16
SCRYPT_COST: Final = 1 << 14
_SCRYPT_BLOCK: Final = 8
_SCRYPT_MEMORY: Final = 64 * 1024 * 1024
_RECOVERY_OCTETS: Final = 10
_INVITATION_OCTETS: Final = 15
_CODE: Final = re.compile(rf"[0-9]{{{DIGITS}}}")
_RECOVERY: Final = re.compile(r"([0-9])([A-Z2-7]{16})")
_ALPHABET: Final = re.compile(r"[A-Z2-7]{24}")


def totp_library() -> ModuleType:
    """Return the module `pyotp`; raise UsageError, which names the extra, where it is missing."""
    try:
        import pyotp
    except ImportError as error:
        raise needs_extra() from error
    return pyotp


def require_libraries() -> None:
    """Raise UsageError, which names the extra, where second factors cannot be checked."""
    totp_library()
    if find_spec("fido2") is None:
        raise needs_extra()


def needs_extra() -> UsageError:
    """Return the error that says how second factors are installed."""
    return UsageError(
        "second factors need packages that are not installed",
        hint="install them with: pip install 'medshare[signin]'",
    )


def code_at(secret: bytes, step: int) -> str:
    """Return the code of a time step (RFC 4226 §5.3 with SHA-1 and 6 digits)."""
    text = base64.b32encode(secret).decode("ascii").rstrip("=")
    return str(totp_library().HOTP(text, digits=DIGITS).at(step))


def matching_step(secret: bytes, code: str, *, now: int) -> int | None:
    """Return the newest time step around *now* whose code is *code*, None if there is none.

    All steps are computed and compared in constant time, whichever of them it is.
    """
    typed = code.replace(" ", "")
    known = bool(_CODE.fullmatch(typed))
    found = None
    for step in range(max(0, now // STEP - SKEW), now // STEP + SKEW + 1):
        if hmac.compare_digest(code_at(secret, step), typed if known else "x" * DIGITS):
            found = step
    return found


def new_recovery_codes() -> tuple[str, ...]:
    """Return new recovery codes, to be shown once."""
    return tuple(
        f"{place}-{_grouped(SYSTEM_RANDOM(_RECOVERY_OCTETS))}" for place in range(RECOVERY_CODES)
    )


def hashed(code: str) -> tuple[bytes, bytes]:
    """Return a new salt, and the slow hash of a recovery code with it."""
    salt = SYSTEM_RANDOM(SALT_SIZE)
    return salt, _slow_hash(_plain(code), salt)


def place_of(code: str) -> int | None:
    """Return which of the recovery codes this claims to be, None when it cannot be one."""
    found = _RECOVERY.fullmatch(_plain(code))
    return int(found[1]) if found else None


def is_recovery(code: str, salt: bytes, digest: bytes) -> bool:
    """Tell in constant time whether *code* is the one that was hashed."""
    return hmac.compare_digest(_slow_hash(_plain(code), salt), digest)


def new_invitation() -> str:
    """Return a new enrolment secret, to be handed over once: 120 random bits."""
    return _grouped(SYSTEM_RANDOM(_INVITATION_OCTETS))


def invitation_hash(secret: str) -> bytes:
    """Return what is kept of an enrolment secret; it is too long to be guessed at any speed."""
    return hashlib.sha256(_plain(secret).encode()).digest()


def is_invitation(secret: str, digest: bytes) -> bool:
    """Tell in constant time whether *secret* is the one that was hashed."""
    return bool(_ALPHABET.fullmatch(_plain(secret))) and hmac.compare_digest(
        invitation_hash(secret), digest
    )


def _slow_hash(plain: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        plain.encode(),
        salt=salt,
        n=SCRYPT_COST,
        r=_SCRYPT_BLOCK,
        p=1,
        maxmem=_SCRYPT_MEMORY,
        dklen=32,
    )


def _grouped(octets: bytes) -> str:
    text = base64.b32encode(octets).decode("ascii")
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _plain(code: str) -> str:
    return code.upper().replace("-", "").replace(" ", "")
