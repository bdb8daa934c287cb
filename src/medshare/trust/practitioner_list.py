"""The list of practitioners that an authority publishes: signed, numbered, and it expires.

What single certificates and CRLs leave open, The Update Framework has taught to close:

- **rollback**: a list never gives way to an older one; the newest version seen is kept;
- **freeze**: a list expires, so that nobody can go on showing the state of last year;
- **mix and match**: it names its authority, the revocation list that it goes with, and the
  lists before it, so that neither a list of another line nor an older revocation list passes.

The list is the CBOR signed object (format §3) with the label `medshare/1 practitioners`; its body:

    authority   32 octets: SHA-256 of the certificate whose key signs
    version     1, 2, 3, …
    created     time
    expires     time, later
    previous    SHA-256 of the versions before it, newest first: all of them, 128 at most
    crl         32 octets: SHA-256 of the revocation list that it goes with
    crl_number  its number
    entries     [serial, station id, SHA-256 of the certificate], ascending by serial number
    critical, extra

It is pure: `now` is an argument.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.errors import CredentialError, FormatError, SignatureError
from medshare.ids import STATION_ID_SIZE, StationId
from medshare.suites.base import PublicKey, Signer

LABEL: Final = "medshare/1 practitioners"
MAX_LIST: Final = 1 << 23
MAX_ENTRIES: Final = 1 << 16
MAX_PREVIOUS: Final = 128
MAX_VERSION: Final = (1 << 53) - 1
DIGEST_SIZE: Final = 32
_MAX_SERIAL: Final = 20
_MAX_ITEMS: Final = 4 * MAX_ENTRIES + 1024
_WHAT: Final = "the list of practitioners"


@dataclass(frozen=True, slots=True)
class Listed:
    """One practitioner: the certificate, and the station for which it is."""

    serial: int
    station: StationId
    certificate: bytes


@dataclass(frozen=True, slots=True)
class PractitionerList:
    """What an authority states; times in seconds since 1970 UTC, digests are SHA-256."""

    authority: bytes
    version: int
    created: int
    expires: int
    previous: tuple[bytes, ...]
    crl: bytes
    crl_number: int
    entries: tuple[Listed, ...]

    def body(self) -> bytes:
        """Return the octets that are signed."""
        return canonical.encode(
            {
                "authority": self.authority,
                "created": self.created,
                "critical": {},
                "crl": self.crl,
                "crl_number": self.crl_number,
                "entries": [
                    [_serial_octets(one.serial), one.station, one.certificate]
                    for one in self.entries
                ],
                "expires": self.expires,
                "extra": {},
                "previous": list(self.previous),
                "version": self.version,
            }
        )

    def names(self, serial: int, certificate: bytes) -> bool:
        """Tell whether the certificate with this number and digest is on the list."""
        return any(one.serial == serial and one.certificate == certificate for one in self.entries)


@dataclass(frozen=True, slots=True)
class SignedList:
    """A list whose signature was verified, and its octets."""

    content: PractitionerList
    encoded: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the octets: what the next list names."""
        return hashlib.sha256(self.encoded).digest()


def sign_list(content: PractitionerList, signer: Signer) -> SignedList:
    """Return *content* signed."""
    encoded = signed.sign(LABEL, content.body(), [signer]).encode()
    return parse_list(encoded, signer.public)


def parse_list(data: bytes, key: PublicKey) -> SignedList:
    """Return the list in *data* once its signature under *key* is verified.

    Raises FormatError (of which LimitError and UnsupportedVersionError are kinds), or
    CredentialError (`credential.signature`).
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_LIST, what=_WHAT)
    try:
        outer.verify([key], what=_WHAT)
    except SignatureError as error:
        raise CredentialError(
            f"{_WHAT} is not signed by this authority, or was changed", code="credential.signature"
        ) from error
    return SignedList(_parse_body(outer.body), data)


def authority_named(data: bytes) -> bytes:
    """Return which authority the list in *data* claims to be of, before anything is verified."""
    outer = signed.parse(data, label=LABEL, limit=MAX_LIST, what=_WHAT)
    return _parse_body(outer.body).authority


def _parse_body(body: bytes) -> PractitionerList:
    value = canonical.decode(body, limit=MAX_LIST, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    fields.mapping("extra")
    found = PractitionerList(
        authority=fields.octets("authority", size=DIGEST_SIZE),
        version=fields.uint("version", minimum=1, maximum=MAX_VERSION),
        created=fields.time("created"),
        expires=fields.time("expires"),
        previous=_digests(fields.items("previous", maximum=MAX_PREVIOUS)),
        crl=fields.octets("crl", size=DIGEST_SIZE),
        crl_number=fields.uint("crl_number"),
        entries=tuple(_listed(one) for one in fields.items("entries", maximum=MAX_ENTRIES)),
    )
    fields.finish()
    serials = [one.serial for one in found.entries]
    if any(first >= second for first, second in pairwise(serials)):
        raise FormatError(f"the entries of {_WHAT} are not in order")
    if len(found.previous) != min(found.version - 1, MAX_PREVIOUS):
        raise FormatError(f"{_WHAT} does not name the versions before it")
    if found.expires <= found.created:
        raise FormatError(f"{_WHAT} expires before it begins")
    return found


def _digests(items: Sequence[object]) -> tuple[bytes, ...]:
    found = tuple(one for one in items if isinstance(one, bytes) and len(one) == DIGEST_SIZE)
    if len(found) != len(items):
        raise FormatError(f"a digest in {_WHAT} is malformed")
    return found


def _listed(item: object) -> Listed:
    match item:
        case [bytes() as serial, bytes() as station, bytes() as digest] if (
            1 <= len(serial) <= _MAX_SERIAL
            and serial[0] != 0
            and len(station) == STATION_ID_SIZE
            and len(digest) == DIGEST_SIZE
        ):
            return Listed(int.from_bytes(serial), StationId(station), digest)
    raise FormatError(f"an entry of {_WHAT} is malformed")


def _serial_octets(serial: int) -> bytes:
    return serial.to_bytes((serial.bit_length() + 7) // 8)


def require_newer(new: SignedList, known: SignedList | None, *, now: int) -> None:
    """Raise CredentialError unless *new* may take the place of *known* at *now*.

    In this order: it is no rollback, it is of the same line, it has not expired.
    """
    if known is not None:
        _require_successor(new, known)
    require_fresh(new.content, now=now)


def _require_successor(new: SignedList, known: SignedList) -> None:
    behind = new.content.version - known.content.version
    if behind < 0:
        raise CredentialError(
            f"{_WHAT} is version {new.content.version}, older than version "
            f"{known.content.version}, which is known here",
            hint="ask the authority for its current list; if it says that this is it, for more",
            code="credential.rollback",
        )
    if behind == 0:
        same = new.encoded == known.encoded
    else:
        # Beyond what it names there is no telling; the number alone still forbids going back.
        same = behind > MAX_PREVIOUS or new.content.previous[behind - 1] == known.digest
    if not same:
        raise CredentialError(
            f"version {new.content.version} of {_WHAT} does not follow version "
            f"{known.content.version}, which is known here: the authority shows different "
            "people different lists, or somebody else signs with its key",
            hint="tell the authority, and do not use it until that is explained",
            code="credential.mixed",
        )


def require_fresh(content: PractitionerList, *, now: int) -> None:
    """Raise CredentialError when the list is out of date at *now*, or from the future."""
    if now >= content.expires:
        raise CredentialError(
            f"{_WHAT} (version {content.version}) is out of date",
            hint="get the current one from the authority: medshare trust update FILE",
            code="credential.frozen",
        )
    require_begun(content.created, now=now, what=_WHAT)


CLOCK_SKEW: Final = 300
"""Seconds by which the clock of an authority may be ahead of the one here."""


def require_begun(created: int, *, now: int, what: str) -> None:
    """Raise CredentialError when *what* was made later than *now*, clocks being what they are."""
    if created > now + CLOCK_SKEW:
        raise CredentialError(
            f"{what} is from the future",
            hint="check the clock of this machine",
            code="credential.not-yet-valid",
        )
