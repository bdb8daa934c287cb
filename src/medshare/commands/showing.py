"""What this station shows a relay beside its signature: its session there, its certificate."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.config import Settings
    from medshare.transport.credentials import ClientKey, Shown


def shown_at(
    relay: str, settings: "Settings", *, cert: Path | None = None, key: Path | None = None
) -> "Shown":
    """Return what is shown to *relay*; *cert* and *key* are what the command line names.

    Raises UsageError when a certificate is named without its key, or cannot be used.
    """
    from medshare.station.relay_sessions import RelaySessions
    from medshare.transport.credentials import Shown
    from medshare.transport.relay import address_of

    session = RelaySessions(settings.home).find(address_of(relay), now=int(time.time()))
    return Shown(session, client_key_of(settings, cert=cert, key=key))


def client_key_of(
    settings: "Settings", *, cert: Path | None = None, key: Path | None = None
) -> "ClientKey | None":
    """Return the client certificate that is named or configured; None when there is none.

    Raises StorageError when others can read its key.
    """
    from medshare.station.permissions import require_private
    from medshare.transport.credentials import load_client_key

    cert, key = cert or settings.client_cert, key or settings.client_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError(
            "a client certificate and its key are given together",
            hint="--client-cert FILE --client-key FILE",
        )
    require_private(key, what="the key of the client certificate")
    return load_client_key(cert, key)
