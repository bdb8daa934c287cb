"""The file `policy.toml` in a station's folder: read at the edge, understood in `trust.policy`."""

import tomllib
from pathlib import Path
from typing import Final

from medshare.disk.atomic import read_file
from medshare.errors import LimitError, PolicyError
from medshare.station.permissions import require_trustworthy
from medshare.trust.policy import BUILT_IN, Policy, parse_policy

POLICY_FILE: Final = "policy.toml"
MAX_POLICY: Final = 1 << 16


def policy_of(home: Path) -> Policy:
    """Return the policy of the station in *home*; the built-in one where there is no file.

    Raises as `read_policy` does: a policy that cannot be read permits nothing.
    """
    path = home / POLICY_FILE
    return read_policy(path) if path.exists() else BUILT_IN


def read_policy(path: Path) -> Policy:
    """Return the policy in *path*.

    Raises PolicyError (`policy.invalid`) when it is none, StorageError when it cannot be
    read, or others could have written it.
    """
    require_trustworthy(path, what="the policy")
    try:
        table = tomllib.loads(read_file(path, limit=MAX_POLICY, what="the policy").decode())
    except (LimitError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.message if isinstance(error, LimitError) else str(error)
        raise PolicyError(
            f"the policy is not valid TOML: {reason[0].lower()}{reason[1:]}", code="policy.invalid"
        ) from error
    return parse_policy(table)
