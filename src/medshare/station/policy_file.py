"""The file `policy.toml` in a station's folder: read at the edge, understood in `trust.policy`."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from medshare.audit.entries import Act, Detail
from medshare.disk.atomic import read_file, read_toml, write_file
from medshare.errors import LimitError, PolicyError
from medshare.station.permissions import require_trustworthy
from medshare.station.recording import StationRecord
from medshare.trust.policy import BUILT_IN, Policy, parse_policy

POLICY_FILE: Final = "policy.toml"
SEEN_FILE: Final = "policy-seen"
"""SHA-256 of the policy that the record spoke of last."""
MAX_POLICY: Final = 1 << 16


def policy_of(home: Path) -> Policy:
    """Return the policy of the station in *home*; the built-in one where there is no file.

    Raises as `read_policy` does: a policy that cannot be read permits nothing.
    """
    path = home / POLICY_FILE
    return read_policy(path) if path.exists() else BUILT_IN


def note_policy(home: Path, record: StationRecord) -> None:
    """Put into *record* that the policy of the station in *home* is another one than before.

    Whoever edits the file leaves no trace by that; the next command that unlocks the station
    does.  Raises StorageError or AuditError.
    """
    path, seen = home / POLICY_FILE, home / SEEN_FILE
    if not path.exists() and not seen.exists():
        return
    octets = read_file(path, limit=MAX_POLICY, what="the policy") if path.exists() else b""
    digest = sha256(octets).digest()
    if seen.exists() and read_file(seen, limit=len(digest), what="a digest") == digest:
        return
    record.note(Act.POLICY, details={Detail.DIGEST: digest})
    write_file(seen, digest, what="the digest of the policy")


def read_policy(path: Path) -> Policy:
    """Return the policy in *path*.

    Raises PolicyError (`policy.invalid`) when it is none, StorageError when it cannot be
    read, or others could have written it.
    """
    require_trustworthy(path, what="the policy")
    try:
        table = read_toml(path, limit=MAX_POLICY, what="the policy")
    except (LimitError, ValueError) as error:
        reason = error.message if isinstance(error, LimitError) else str(error)
        raise PolicyError(
            f"the policy is not valid TOML: {reason[0].lower()}{reason[1:]}", code="policy.invalid"
        ) from error
    return parse_policy(table)
