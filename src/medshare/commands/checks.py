"""What `medshare doctor` looks at: each check is a function that yields findings.

Nothing is unlocked and nothing is changed.  A finding is bad where keys, data or time are not
as they must be; it is a warning where a setting of the machine makes a loss more likely.
"""

import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

from medshare.config import Settings, load_settings, vault_folder
from medshare.errors import MedshareError
from medshare.station import Station
from medshare.trust.policy import Policy

_SWAPS: Final = Path("/proc/swaps")
_CORE_PATTERN: Final = Path("/proc/sys/kernel/core_pattern")
_BLOCK: Final = Path("/sys/class/block")
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)[^;]*?>=\s*([0-9.]+)[^;]*(;.*extra.*)?")
_RELEASED: Final = 1_764_000_000
"""About when this was written: a clock that shows less is wrong."""
_DAY: Final = 86400


class Level(StrEnum):
    """How grave a finding is."""

    GOOD = "good"
    NOTE = "note"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    message: str
    hint: str = ""


Findings = Iterator[Finding]


@dataclass(slots=True)
class Machine:
    """What the checks look at; the clock and the files of the system may be others in tests."""

    settings: Settings | None = None
    station: Station | None = None
    rules: Policy | None = None
    now: int = 0
    swaps: Path = _SWAPS
    core_pattern: Path = _CORE_PATTERN
    block: Path = _BLOCK


def examine(machine: Machine | None = None) -> list[Finding]:
    """Return what all checks find on this machine."""
    machine = machine or Machine(now=int(time.time()))
    found: list[Finding] = []
    for check in CHECKS:
        name = check.__name__.replace("_", "-")
        try:
            found.extend(check(machine))
        except MedshareError as error:
            found.append(Finding(name, Level.BAD, error.message, error.hint or ""))
    return found


def configuration(machine: Machine) -> Findings:
    """Read settings, and open the station without its keys: permissions, place, card."""
    if machine.settings is None:
        machine.settings = load_settings()
    home, machine.station = machine.settings.home, None
    if not (home / "keys").exists():
        yield Finding("station", Level.NOTE, f"there is no station in {home}")
        return
    machine.station = Station.open(home)
    yield Finding("station", Level.GOOD, f"{home} is private, on this machine, with a valid card")


def permissions(machine: Machine) -> Findings:
    """Look for what others may read in the folder of the station."""
    if machine.station is None:
        return
    home = machine.station.home
    loose = [path for path in sorted(home.iterdir()) if path.lstat().st_mode & 0o077]
    loose = [path for path in loose if not path.is_symlink() and not _may_be_read(path)]
    for path in loose:
        yield Finding(
            "permissions",
            Level.BAD,
            f"{path} is open to other users",
            f"chmod go= {path}",
        )
    if not loose:
        yield Finding("permissions", Level.GOOD, "nothing in it is open to other users")


def _may_be_read(path: Path) -> bool:
    """Tell whether *path* is a file with rules or settings, which others may read but not write."""
    return path.suffix == ".toml" and not path.lstat().st_mode & 0o022


def locations(machine: Machine) -> Findings:
    """See that keys and data lie apart."""
    from medshare.disk.separation import require_apart
    from medshare.station.vaults import present_vaults

    station, settings = machine.station, machine.settings
    if station is None or settings is None:
        return
    usual = vault_folder(settings, station.id)
    for vault in dict.fromkeys((*present_vaults(station.home), usual)):
        require_apart(vault, station.home, what="the vault")
        if vault.parent == station.home.parent:
            yield Finding(
                "locations",
                Level.NOTE,
                f"the vault {vault} and the keys are both in {vault.parent}",
                "leave one of them out of any copy or backup of that folder",
            )
    yield Finding("locations", Level.GOOD, "keys and data lie in different places")


def keystore(machine: Machine) -> Findings:
    """Look for what an interrupted change has left beside the keystore."""
    if machine.station is None:
        return
    keys = machine.station.home / "keys"
    copies = [path for path in sorted(keys.iterdir()) if path.name.endswith(".previous")]
    for path in copies:
        yield Finding(
            "keystore",
            Level.WARN,
            f"an earlier state of the keystore is at {path}: a change was interrupted",
            "medshare keys check opens the present one, and removes the copy if it is in order",
        )
    if not copies:
        yield Finding("keystore", Level.GOOD, f"keystore '{machine.station.backend}' is in place")


def policy(machine: Machine) -> Findings:
    """See that the policy is valid, and allows the keystore that there is."""
    if machine.station is None:
        return
    machine.rules = None
    machine.rules = rules = machine.station.policy
    backend = machine.station.backend
    refused = [tier.name for tier in rules.tiers if backend not in tier.keystores]
    if refused:
        yield Finding(
            "policy",
            Level.NOTE,
            f"the policy does not allow keystore '{backend}' in tier {', '.join(refused)}",
        )
    yield Finding("policy", Level.GOOD, "the policy is valid")


def emergencies(machine: Machine) -> Findings:
    """Look for emergencies that nobody else has reviewed yet."""
    from medshare.sharing.reviewing import emergencies as broken

    if machine.station is None:
        return
    found = broken(machine.station)
    waiting = sum(one.reviewer is None for one in found)
    if waiting:
        yield Finding(
            "emergencies",
            Level.WARN,
            f"the glass was broken, and nobody else has reviewed that yet: {waiting}",
            "medshare policy review shows each, and hands it to a reviewer",
        )
    elif found:
        yield Finding("emergencies", Level.GOOD, "every emergency was reviewed by somebody else")


def rotations(machine: Machine) -> Findings:
    """Look for keys that are due, and for incidents that are not closed."""
    from medshare.station.due import due_keys, keks_of_history
    from medshare.station.key_book import Happened, KeyBook

    if machine.station is None:
        return
    book = KeyBook(machine.station.home)
    begun: dict[str, bool] = {}
    for entry in book.entries():
        if entry.what in {Happened.INCIDENT_BEGUN, Happened.INCIDENT_DONE}:
            begun[entry.key] = entry.what == Happened.INCIDENT_BEGUN
    for key in [key for key, unfinished in begun.items() if unfinished]:
        yield Finding(
            "rotations",
            Level.BAD,
            f"key '{key}' is revoked, but not everything was mended",
            f"medshare rotate-key --compromised {key}",
        )
    if machine.rules is None:
        return  # the check of the policy said what is wrong with it
    due = due_keys(machine.station, keks_of_history(book), now=machine.now)
    for one in due:
        yield Finding(
            "rotations",
            Level.WARN,
            f"key '{one.label}' is due: {one.reason}",
            "medshare rotate-key --due",
        )
    if not due:
        yield Finding("rotations", Level.GOOD, "no key is due")


def backups(machine: Machine) -> Findings:
    """Look for backups that hold keys which should be gone."""
    from medshare.station.backups import stale_backups
    from medshare.station.key_book import KeyBook

    if machine.station is None:
        return
    for one in stale_backups(KeyBook(machine.station.home)):
        yield Finding(
            "backups",
            Level.WARN,
            f"backup {one.id} still holds keys that should be gone: {', '.join(one.stale[:5])}",
            f"destroy it, then: medshare keys backups --destroyed {one.id[:8]}",
        )


def clock(machine: Machine) -> Findings:
    """See that the clock shows a time after everything that has happened."""
    latest = _RELEASED
    if machine.station is not None:
        from medshare.station.key_book import KeyBook

        times = [entry.at for entry in KeyBook(machine.station.home).entries()]
        latest = max([latest, machine.station.card.current.created, *times])
    if machine.now < latest:
        days = (latest - machine.now) // _DAY
        yield Finding(
            "clock",
            Level.BAD,
            f"the clock is behind what has happened here, by {days} days or more",
            "set the clock: rotations, retention and certificates depend on it",
        )
    else:
        yield Finding("clock", Level.GOOD, "the clock is not behind")


def swap(machine: Machine) -> Findings:
    """See that keys cannot be written to an unencrypted swap."""
    if not machine.swaps.exists():
        yield Finding("swap", Level.NOTE, "whether memory is swapped is unknown on this system")
        return
    lines = machine.swaps.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    plain = [
        line.split(maxsplit=1)[0]
        for line in lines
        if line and not _is_safe_swap(line, machine.block)
    ]
    for name in plain:
        yield Finding(
            "swap",
            Level.WARN,
            f"memory, and with it keys, may be written unencrypted to {name}",
            "encrypt the swap (crypttab), use zram, or turn it off: swapoff",
        )
    if not plain:
        yield Finding("swap", Level.GOOD, "no memory is swapped to a disk in the clear")


def _is_safe_swap(line: str, block: Path) -> bool:
    """Tell whether a line of /proc/swaps is an encrypted device, or in memory."""
    device = Path(line.split(maxsplit=1)[0]).name
    if device.startswith("zram"):
        return True
    try:
        return (block / device / "dm" / "uuid").read_text(encoding="utf-8").startswith("CRYPT-")
    except OSError:
        return False


def core_dumps(machine: Machine) -> Findings:
    """See that a crash does not write memory, and with it keys, to disk."""
    hint = "ulimit -c 0 (or LimitCORE=0 in the unit), and no program in kernel.core_pattern"
    limit, _ = resource.getrlimit(resource.RLIMIT_CORE)
    piped = False
    with _unreadable_is_fine():
        piped = machine.core_pattern.read_text(encoding="utf-8").startswith("|")
    if piped:
        # core(5): the limit does not hold for a dump that is piped to a program.
        yield Finding(
            "core-dumps", Level.WARN, "a program collects core dumps, which hold keys", hint
        )
    elif limit:
        yield Finding("core-dumps", Level.WARN, "a crash would write a core dump, with keys", hint)
    else:
        yield Finding("core-dumps", Level.GOOD, "no core dumps are written")


@contextmanager
def _unreadable_is_fine() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def versions(machine: Machine) -> Findings:  # noqa: ARG001  # like the others
    """See that the libraries are not older than they may be."""
    try:
        required = metadata.requires("medshare") or []
    except metadata.PackageNotFoundError:
        yield Finding("versions", Level.NOTE, "medshare runs from its sources, not installed")
        return
    old = []
    for requirement in required:
        match = _REQUIREMENT.match(requirement)
        if match and not match[3] and _installed(match[1]) < _number(match[2]):
            old.append(f"{match[1]} {metadata.version(match[1])} (at least {match[2]})")
    for one in old:
        hint = "pip install --upgrade medshare"
        yield Finding("versions", Level.BAD, f"a library is too old: {one}", hint)
    if not old:
        from cryptography.hazmat.backends.openssl import backend

        text = f"Python {sys.version.split()[0]}, {backend.openssl_version_text()}"
        yield Finding("versions", Level.GOOD, f"all libraries are new enough ({text})")


def _installed(name: str) -> tuple[int, ...]:
    return _number(metadata.version(name))


def _number(version: str) -> tuple[int, ...]:
    """Return the release of a version: `50.0.2` as (50, 0, 2); what follows does not count."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def disk(machine: Machine) -> Findings:
    """See that there is room to write keys, journals and receipts."""
    if machine.settings is None or not machine.settings.home.exists():
        return
    free = shutil.disk_usage(machine.settings.home).free
    if free < 64 << 20:
        message = f"only {free >> 20} MiB are free where the keys are"
        yield Finding("disk", Level.BAD, message, "free some space: rotations need it")
    else:
        yield Finding("disk", Level.GOOD, "there is room on the disk")


CHECKS: Final[tuple[Callable[[Machine], Findings], ...]] = (
    configuration,
    permissions,
    locations,
    keystore,
    policy,
    emergencies,
    rotations,
    backups,
    clock,
    swap,
    core_dumps,
    disk,
    versions,
)
