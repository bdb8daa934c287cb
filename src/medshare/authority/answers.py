"""The answers of responders (OCSP) that a station keeps, one file for each certificate.

They are kept as they came, and checked whenever they are used: who writes to this folder can
take answers away, and put back older ones that were signed, but cannot make any.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509

from medshare.disk.atomic import read_file, storage_errors, write_file
from medshare.station.permissions import private_folder
from medshare.trust.credential import digest_of
from medshare.trust.ocsp import MAX_ANSWER

FOLDER: Final = "answers"
_WHAT: Final = "the answer of a responder"


class Answers:
    """The answers that are kept in the folder of one station."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def of(self, certificates: Iterable[x509.Certificate]) -> dict[bytes, bytes]:
        """Return what is kept about *certificates*, by their digest; raise StorageError."""
        digests = {digest_of(one) for one in certificates}
        paths = {digest: self._folder / digest.hex() for digest in digests}
        return {
            digest: read_file(path, limit=MAX_ANSWER, what=_WHAT)
            for digest, path in paths.items()
            if path.exists()
        }

    def keep(self, certificate: x509.Certificate, octets: bytes) -> None:
        """Keep *octets* as what is known of *certificate*, in the place of what was."""
        private_folder(self._folder)
        write_file(self._folder / digest_of(certificate).hex(), octets, what=_WHAT)

    def keep_only(self, certificates: Iterable[x509.Certificate]) -> None:
        """Forget what was answered about any but *certificates*."""
        if not self._folder.is_dir():
            return
        wanted = {digest_of(one).hex() for one in certificates}
        with storage_errors("forget answers of responders"):
            for path in self._folder.iterdir():
                if path.name not in wanted and not path.name.startswith("."):
                    path.unlink(missing_ok=True)
