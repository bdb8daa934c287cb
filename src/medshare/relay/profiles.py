"""What the relay demands of a station beside its key: one small file a station.

    profiles/<station>   CBOR {"certificate", "factors", "label", "profile", "ranges", "verify"}

- `open`: nothing more;
- `person`: a session, which somebody begins with a second factor of one of these kinds;
- `unattended`: a client certificate whose key signs each request, and an address in a range.

A station without a file is `open`, unless the operator demands that each has one.  A file that
cannot be read shuts the door: it is no reason to demand less.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.clientcert import MAX_CERTIFICATE, Certificate, parse_certificate
from medshare.disk.atomic import fsync_folder, make_folder, read_file, storage_errors, write_file
from medshare.errors import FormatError, StorageError, UsageError
from medshare.ids import StationId
from medshare.wire.sign_in import FACTOR_KINDS

OPEN: Final = "open"
PERSON: Final = "person"
UNATTENDED: Final = "unattended"
KINDS: Final = (OPEN, PERSON, UNATTENDED)
MAX_RANGES: Final = 64
LABEL: Final = "medshare relay profile"
_MAX_FILE: Final = MAX_CERTIFICATE + 16 * 1024
_MAX_ITEMS: Final = 128
_WHAT: Final = "the profile of a station"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Profile:
    """What is demanded of one station; what its kind does not need is left empty."""

    kind: str = OPEN
    factors: tuple[str, ...] = ()
    """Kinds of second factors that are accepted; recovery codes always are."""
    verify: bool = True
    """Whether a security key must verify who touches it, by PIN or finger."""
    certificate: Certificate | None = None
    ranges: tuple[Network, ...] = ()

    def encode(self) -> bytes:
        """Return the octets of the file."""
        return canonical.encode(
            {
                "certificate": b"" if self.certificate is None else self.certificate.der,
                "factors": list(self.factors),
                "label": LABEL,
                "profile": self.kind,
                "ranges": [str(one) for one in self.ranges],
                "verify": int(self.verify),
            }
        )


def person(factors: Iterable[str] = (), *, verify: bool = True) -> Profile:
    """Return the profile of somebody who signs in with one of *factors*, or any if empty.

    Raises UsageError for a kind that there is not.
    """
    kinds = tuple(sorted(set(factors))) or FACTOR_KINDS
    if not set(kinds) <= set(FACTOR_KINDS):
        raise UsageError(f"a second factor is one of {', '.join(FACTOR_KINDS)}")
    return Profile(PERSON, kinds, verify)


def unattended(certificate: Certificate | None, ranges: Iterable[str]) -> Profile:
    """Return the profile of a station that nobody attends.

    Raises UsageError when the certificate is missing, or the ranges are missing or none.
    """
    networks = tuple(network(one) for one in ranges)
    if certificate is None or not networks:
        raise UsageError(
            "an unattended station needs a client certificate and a range of addresses",
            hint="--client-cert FILE --from 10.1.0.0/16",
        )
    if len(networks) > MAX_RANGES:
        raise UsageError(f"a station may come from at most {MAX_RANGES} ranges of addresses")
    return Profile(UNATTENDED, certificate=certificate, ranges=networks)


def network(text: str) -> Network:
    """Return a range of addresses; raise UsageError when *text* is none."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(
            f"'{text}' is not a range of addresses",
            hint="such as 10.1.0.0/16 or 2001:db8::/32, with nothing set behind the prefix",
        ) from error


def parse_profile(data: bytes) -> Profile:
    """Return the profile in *data*; raise FormatError unless `encode` could have written it."""
    value = canonical.decode(data, limit=_MAX_FILE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    fields.literal("label", LABEL)
    kind = fields.text("profile", maximum=16)
    factors = fields.items("factors", maximum=len(FACTOR_KINDS))
    verify = bool(fields.uint("verify", maximum=1))
    der = fields.octets("certificate", maximum=MAX_CERTIFICATE)
    ranges = fields.items("ranges", maximum=MAX_RANGES)
    fields.finish()
    try:
        match kind:
            case "person" if factors:
                found = person(factors, verify=verify)
            case "unattended":
                found = unattended(parse_certificate(der), ranges)
            case _:
                found = Profile()
    except (UsageError, TypeError, ValueError) as error:
        raise FormatError(f"{_WHAT} is malformed") from error
    if found.encode() != data:
        raise FormatError(f"{_WHAT} is malformed")
    return found


@dataclass(frozen=True, slots=True)
class _Cached:
    stamp: tuple[int, int, int]
    profile: Profile


class Profiles:
    """The profiles of a relay in *folder*, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: dict[StationId, _Cached] = {}

    def find(self, station: StationId) -> Profile | None:
        """Return the profile of *station*, None when it has none.

        Raises StorageError when there is one that cannot be read.
        """
        path = self._path(station)
        try:
            status = path.lstat()
        except FileNotFoundError:
            self._cache.pop(station, None)
            return None
        except OSError as error:
            raise StorageError("the profile of a station cannot be looked at") from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._cache.get(station)
        if known is None or known.stamp != stamp:
            data = read_file(path, limit=_MAX_FILE, what=_WHAT, follow=False)
            try:
                known = _Cached(stamp, parse_profile(data))
            except FormatError as error:
                raise StorageError(
                    f"{_WHAT} is damaged", hint="enroll the station again, with its profile"
                ) from error
            self._cache[station] = known
        return known.profile

    def set(self, station: StationId, profile: Profile) -> None:
        """Let *profile* hold for *station* from now on."""
        make_folder(self._folder)
        write_file(self._path(station), profile.encode(), what=_WHAT)

    def remove(self, station: StationId) -> None:
        """Forget the profile of *station*, if it has one."""
        with storage_errors("remove the profile of a station"):
            if self._path(station).exists():
                self._path(station).unlink()
                fsync_folder(self._folder)

    def _path(self, station: StationId) -> Path:
        return self._folder / station.hex()


def address_of(text: str) -> Address | None:
    """Return the address that *text* writes, of IPv4 where it is one in IPv6's clothes."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def is_within(address: Address | None, ranges: Iterable[Network]) -> bool:
    """Tell whether *address* is in one of *ranges*."""
    return address is not None and any(
        address.version == one.version and address in one for one in ranges
    )
