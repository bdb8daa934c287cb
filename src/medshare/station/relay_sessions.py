"""The sessions of a station at its relays: `MEDSHARE_HOME/sessions/<relay>`, mode 0600.

    CBOR {"expires", "idle", "label", "relay", "session"}

A session alone opens nothing: each request is signed with the key of the station as well.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.disk.atomic import fsync_folder, read_file, storage_errors, write_file
from medshare.errors import FormatError
from medshare.station.permissions import private_folder

FOLDER: Final = "sessions"
LABEL: Final = "medshare relay session"
_MAX_FILE: Final = 4096
_MAX_URL: Final = 1024
_WHAT: Final = "the session of this station at a relay"


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session at the relay with this address; *expires* in seconds since 1970 UTC."""

    relay: str
    session: str = field(repr=False)
    expires: int
    idle: int


class RelaySessions:
    """The sessions of the station in the folder *home*."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def keep(self, kept: KeptSession) -> None:
        """Keep a session, in place of the one before it."""
        private_folder(self._folder)
        data = canonical.encode(
            {
                "expires": kept.expires,
                "idle": kept.idle,
                "label": LABEL,
                "relay": kept.relay,
                "session": kept.session,
            }
        )
        write_file(self._path(kept.relay), data, what=_WHAT)

    def find(self, relay: str, *, now: int) -> str:
        """Return the session at *relay*; empty when there is none, or it is over.

        One that cannot be read counts as none: whoever needs it signs in again.
        """
        path = self._path(relay)
        if not path.exists():
            return ""
        try:
            data = read_file(path, limit=_MAX_FILE, what=_WHAT, follow=False)
            kept = _parse(data)
        except FormatError:
            return ""
        return kept.session if kept.relay == relay and now < kept.expires else ""

    def forget(self, relay: str) -> None:
        """Forget the session at *relay*, if there is one."""
        with storage_errors("forget a session"):
            path = self._path(relay)
            if path.exists():
                path.unlink()
                fsync_folder(self._folder)

    def _path(self, relay: str) -> Path:
        return self._folder / sha256(relay.encode()).hexdigest()[:32]


def _parse(data: bytes) -> KeptSession:
    value = canonical.decode(data, limit=_MAX_FILE, what=_WHAT, items=16)
    fields = Fields(value, what=_WHAT)
    fields.literal("label", LABEL)
    kept = KeptSession(
        relay=fields.text("relay", maximum=_MAX_URL),
        session=fields.text("session", maximum=64),
        expires=fields.time("expires"),
        idle=fields.time("idle"),
    )
    fields.finish()
    return kept
