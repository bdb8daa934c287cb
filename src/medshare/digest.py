"""Digests: the names of chunks, manifests, envelopes and files."""

import hmac
import re
from dataclasses import dataclass
from typing import Final

from medshare.errors import DigestMismatchError, FormatError

DIGEST_SIZE: Final = 32
"""Octets of every digest in the format: BLAKE3-256, or SM3 in the national suite."""

_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A 32-octet digest; which hash made it follows from the suite of its parcel."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != DIGEST_SIZE:
            raise FormatError(f"a digest has {DIGEST_SIZE} bytes, not {len(self.value)}")

    @classmethod
    def from_hex(cls, text: str) -> "Digest":
        """Return the digest written as 64 hexadecimal digits; raise FormatError otherwise."""
        if not _HEX.fullmatch(text):
            raise FormatError("a digest is written as 64 hexadecimal digits")
        return cls(bytes.fromhex(text))

    def require(self, actual: "Digest", *, what: str) -> None:
        """Raise DigestMismatchError unless *actual* equals this digest."""
        if not hmac.compare_digest(self.value, actual.value):
            raise DigestMismatchError(
                f"{what} does not match its digest {self.short} (found {actual.short})"
            )

    @property
    def hex(self) -> str:
        """All 64 hexadecimal digits, as `b3sum` prints them."""
        return self.value.hex()

    @property
    def short(self) -> str:
        """The first 10 hexadecimal digits, for messages."""
        return self.value.hex()[:10]

    def __repr__(self) -> str:
        return f"Digest({self.short})"
