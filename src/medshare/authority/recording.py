"""What an authority puts into its record: whom it certified and revoked, what it published.

The record lies in the folder of the authority, `audit/`, and is signed with the key of its
certificate: whoever has the certificate can check it.  Recording comes before the act.
"""

import os
from pathlib import Path
from typing import Final

from cryptography import x509

from medshare.audit.checkpoint import LogKeys
from medshare.audit.entries import NOTHING, OPERATOR, Act, Detail, Details, Event, Kind, Ref
from medshare.ids import StationId
from medshare.keys.base import KeyStore
from medshare.record.log import AuditLog
from medshare.suites.base import Signer
from medshare.trust.credential import digest_of, public_key_of

FOLDER: Final = "audit"
_NAME_OCTETS: Final = 16


def authority_origin(certificate: x509.Certificate) -> str:
    """Return the origin of the record of the authority with *certificate*."""
    return f"medshare/log/authority/{digest_of(certificate)[:_NAME_OCTETS].hex()}"


def keys_of_authority(certificate: x509.Certificate) -> LogKeys:
    """Return the key with which the authority with *certificate* signs its record."""
    return LogKeys(authority_origin(certificate), ((public_key_of(certificate),),))


class OfficeRecord:
    """The record of the authority with *certificate* in the folder *folder*."""

    def __init__(self, folder: Path, certificate: x509.Certificate) -> None:
        self.log = AuditLog(folder / FOLDER)
        self._keys = keys_of_authority(certificate)

    def note(
        self,
        act: Act,
        certificate: x509.Certificate | None = None,
        *,
        station: StationId | None = None,
        details: Details | None = None,
    ) -> None:
        """Record that whoever is at the machine does *act* now, before it is done.

        Raises StorageError or AuditError: the act must then not go on.
        """
        about = NOTHING if certificate is None else Ref(Kind.CREDENTIAL, digest_of(certificate))
        parties = () if station is None else (station,)
        beside: Details = {Detail.UID: os.getuid(), **(details or {})}
        self.log.record(Event(act, OPERATOR, about, parties=parties, details=beside))

    def sign(self, store: KeyStore) -> None:
        """Sign what is recorded, with the key of the certificate, which is in *store*."""
        self.log.checkpoint(self._keys.name, self._signers(store))

    def _signers(self, store: KeyStore) -> tuple[Signer, ...]:
        ((own,),) = self._keys.sets
        return tuple(one for one in store.signers(0) if one.public == own)
