"""The authorities that somebody here has decided to trust, and what is known of each.

One file each, replaced as a whole: a list of practitioners and the revocation list with which
it goes arrive together or not at all.  What is kept was verified when it came, and is verified
again whenever it is read.
"""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from medshare import canonical
from medshare.audit.entries import Act, Kind, Ref
from medshare.canonical import Fields
from medshare.disk.atomic import fsync_folder, read_file, storage_errors, write_file
from medshare.errors import CredentialError, FormatError, StorageError, UsageError
from medshare.keys.lock import exclusive
from medshare.station.permissions import private_folder
from medshare.station.recording import StationRecord
from medshare.trust.authority_update import concerned, known_list, new_authority, updated
from medshare.trust.bundle import CRL, PRACTITIONERS, Block
from medshare.trust.certification import Authority
from medshare.trust.credential import MAX_CERTIFICATE, digest_of, load_certificate
from medshare.trust.petname import check_petname, close_matches, confusable, folded
from medshare.trust.practitioner_list import MAX_LIST
from medshare.trust.revocation_list import DEFAULT_MAX_AGE, MAX_CRL, load_crl

FOLDER: Final = "authorities"
MAX_FILE: Final = 1 << 26
_MAX_CERTIFICATES: Final = 16
_MAX_AGE: Final = 10 * 365 * 86400
_VERSION: Final = 1
_LOCK: Final = ".lock"
_WHAT: Final = "a trusted authority"


class Authorities:
    """The trusted authorities of one station, in its folder."""

    def __init__(self, home: Path, record: StationRecord | None = None) -> None:
        self._folder = home / FOLDER
        self._record = record

    def add(
        self,
        certificates: Sequence[x509.Certificate],
        *,
        name: str,
        now: int,
        crl_max_age: int = DEFAULT_MAX_AGE,
    ) -> Authority:
        """Trust the authority whose certificates these are, the highest first.

        Raises UsageError when it is trusted already or the name is taken, CredentialError when
        they are not what an authority has.
        """
        authority = new_authority(
            check_petname(name), certificates, crl_max_age=crl_max_age, now=now
        )
        private_folder(self._folder)
        with self._changing():
            for other in self.all():
                if other.anchor == authority.anchor:
                    raise UsageError(f"this authority is trusted already, as '{other.name}'")
                if confusable(other.name, authority.name):
                    raise UsageError(
                        f"the name '{name}' is taken, or could be mistaken for '{other.name}'",
                        hint="give this authority another name with --name",
                    )
            self._note(Act.TRUST, authority)
            self._write(authority)
        return authority

    def update(self, blocks: Sequence[Block], *, now: int) -> Authority:
        """Take in the revocation lists and lists of practitioners in *blocks*; return of whom.

        Raises CredentialError when they are of nobody who is trusted here, out of date, or
        older than what is known; then nothing is changed.
        """
        crls = [load_crl(one.content) for one in blocks if one.label == CRL]
        lists = [one.content for one in blocks if one.label == PRACTITIONERS]
        if not crls and not lists:
            raise FormatError("the file holds no revocation list and no list of practitioners")
        private_folder(self._folder)
        with self._changing():
            authority = concerned(self.all(), crls, lists)
            if authority is not None:
                changed = updated(authority, crls, lists, now=now)
                self._write(changed)
                return changed
        raise CredentialError(
            "this is of no authority that is trusted here",
            hint="import its certificate first: medshare trust add ca.pem",
            code="credential.chain",
        )

    def remove(self, name: str) -> Authority:
        """Trust the authority called *name* no longer; return what it was."""
        private_folder(self._folder)
        with self._changing():
            authority = self.named(name)
            self._note(Act.DISTRUST, authority)
            with storage_errors("remove a trusted authority"):
                self._path(authority).unlink()
            fsync_folder(self._folder)
        return authority

    def named(self, name: str) -> Authority:
        """Return the authority called *name*; raise UsageError when there is none."""
        known = self.all()
        for authority in known:
            if folded(authority.name) == folded(name):
                return authority
        matches = " or ".join(
            f"'{one}'" for one in close_matches(name, [one.name for one in known])
        )
        hint = f"did you mean {matches}?" if matches else "medshare trust list shows them"
        raise UsageError(f"no authority called '{name}' is trusted here", hint=hint)

    def all(self) -> tuple[Authority, ...]:
        """Return all of them, by name; raise StorageError when the file of one is damaged."""
        if not self._folder.is_dir():
            return ()
        with storage_errors("list the trusted authorities"):
            paths = sorted(one for one in self._folder.iterdir() if not one.name.startswith("."))
        return tuple(sorted((_read(path) for path in paths), key=lambda one: folded(one.name)))

    def _note(self, act: Act, authority: Authority) -> None:
        """Put into the record of this station what it is about to do."""
        if self._record is not None:
            self._record.note(act, Ref(Kind.CREDENTIAL, digest_of(authority.anchor)))

    def _changing(self) -> AbstractContextManager[None]:
        return exclusive(self._folder / _LOCK, wait=True, what="the authorities are in use")

    def _path(self, authority: Authority) -> Path:
        octets = authority.anchor.public_bytes(Encoding.DER)
        return self._folder / hashlib.sha256(octets).hexdigest()

    def _write(self, authority: Authority) -> None:
        write_file(self._path(authority), _encode(authority), what=_WHAT)


def _encode(authority: Authority) -> bytes:
    practitioners = authority.practitioners
    return canonical.encode(
        {
            "certificates": [one.public_bytes(Encoding.DER) for one in authority.certificates],
            "crl_max_age": authority.crl_max_age,
            "crls": [one.public_bytes(Encoding.DER) for one in authority.crls],
            "name": authority.name,
            "practitioners": b"" if practitioners is None else practitioners.encoded,
            "version": _VERSION,
        }
    )


def _read(path: Path) -> Authority:
    try:
        return _parse(read_file(path, limit=MAX_FILE, what=_WHAT))
    except (FormatError, CredentialError) as error:
        raise StorageError(
            f"what is kept of a trusted authority is damaged: {path}",
            hint="remove this file, then import its certificate again: medshare trust add ca.pem",
        ) from error


def _parse(data: bytes) -> Authority:
    fields = Fields(canonical.decode(data, limit=MAX_FILE, what=_WHAT, items=256), what=_WHAT)
    fields.uint("version", minimum=_VERSION, maximum=_VERSION)
    certificates = fields.items("certificates", maximum=_MAX_CERTIFICATES)
    crls = fields.items("crls", maximum=_MAX_CERTIFICATES)
    found = Authority(
        name=fields.text("name"),
        certificates=tuple(load_certificate(_octets(one, MAX_CERTIFICATE)) for one in certificates),
        crls=tuple(load_crl(_octets(one, MAX_CRL)) for one in crls),
        crl_max_age=fields.uint("crl_max_age", maximum=_MAX_AGE),
    )
    practitioners = fields.octets("practitioners", maximum=MAX_LIST)
    fields.finish()
    if not found.certificates:
        raise FormatError(f"{_WHAT} has no certificate")
    if practitioners:
        found = replace(found, practitioners=known_list(practitioners, found.certificates))
    return found


def _octets(item: object, limit: int) -> bytes:
    if not isinstance(item, bytes) or len(item) > limit:
        raise FormatError(f"{_WHAT} is malformed")
    return item
