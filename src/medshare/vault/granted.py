"""The file `granted` beside content that was sealed anew: the envelope in which it was granted.

Sealed anew, content is in a parcel of this station's own, in which nobody granted anything.
What its sender allowed still holds: the sender's envelope stays beside it, octet for octet.
"""

from pathlib import Path
from typing import Final

from medshare.disk.atomic import read_file, write_file
from medshare.envelope import MAX_ENVELOPE_SIZE, Envelope, parse_envelope

GRANTED_FILE: Final = "granted"
_WHAT: Final = "the grants of a parcel"


def granting_envelope(folder: Path, envelope: Envelope) -> Envelope:
    """Return the envelope that says what may be done with the content of *folder*.

    That is the one beside it where it was sealed anew, and else *envelope* itself.  Raises
    FormatError, SignatureError or StorageError when it is not good: then nothing may be done.
    """
    octets = _kept(folder)
    return envelope if octets is None else parse_envelope(octets)


def keep_granting(folder: Path, before: Path, envelope: Envelope, octets: bytes) -> None:
    """Let *folder* have the grants of the parcel in *before*, whose envelope is *octets*."""
    kept = _kept(before) or (octets if envelope.grants else None)
    if kept is not None:
        write_file(folder / GRANTED_FILE, kept, what=_WHAT)


def _kept(folder: Path) -> bytes | None:
    path = folder / GRANTED_FILE
    if not path.exists():
        return None
    return read_file(path, limit=MAX_ENVELOPE_SIZE, what=_WHAT, follow=False)
