"""The decoders of files: what a station keeps, and what its person wrote."""

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from medshare import canonical, signed
from medshare.config import CONFIG_FILE, load_settings
from medshare.disk.journal_file import JournalFile
from medshare.errors import (
    AuthenticityError,
    FormatError,
    PolicyError,
    StorageError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.keys.backup import LABEL as BACKUP
from medshare.keys.backup import make_backup, parse_backup
from medshare.keys.material import (
    Material,
    kinds_for,
    new_generation,
    parse_material,
)
from medshare.keys.pkcs11_uri import parse_uri
from medshare.keys.sealed import LABEL as KEYSTORE
from medshare.keys.sealed import (
    KdfCost,
    _checksum,
    new_store_key,
    parse_sealed,
)
from medshare.keys.second_factor import EnrolledKey, SecondFactor, parse_second_factor
from medshare.resume import (
    Accepted,
    Begun,
    ChunkDone,
    ChunkLost,
    FileHashed,
    Reached,
    Synced,
    parse_record,
    replay,
)
from medshare.sharing.wrapped import encode_wrap, parse_wrap
from medshare.station.key_book import parse_entry, parse_uses
from medshare.station.policy_file import POLICY_FILE, read_policy
from medshare.station.tier_keys import WrappedKey
from medshare.suites.base import SYSTEM_RANDOM
from medshare.trust.policy import BUILT_IN, to_toml
from medshare.vault.origin import Origin, parse_origin
from tests.attacks.fuzz import Target
from tests.attacks.fuzz_format import PARCEL, A, B
from tests.builder import make_identity

DEEP = b"relay = " + b"[" * 5000
CONFIG = b"""relay = "https://relay.example"
relay_ca = "~/ca.pem"
keyring = true
keystore = "file"
passphrase_command = ["pass", "show", "medshare"]
vault = "/srv/medshare"
"""
URIS = (
    b"pkcs11:token=Software%20PKCS%2311;manufacturer=Snake%20Oil,%20Inc.;serial=1;model=1.0",
    b"pkcs11:object=key;type=private;id=%69%95%3e?module-path=/usr/lib/x.so",
)


@cache
def _folder() -> Path:
    """Return a private folder that is removed when the process ends."""
    held = tempfile.TemporaryDirectory(prefix="fuzz-", dir=_memory())
    _HELD.append(held)
    return Path(held.name)


_HELD: list[tempfile.TemporaryDirectory[str]] = []


def _memory() -> str | None:
    """Return a folder without a disk behind it, where there is one: journals are synced a lot."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _written(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def _config(data: bytes) -> object:
    _written(CONFIG_FILE, data)
    return load_settings({"MEDSHARE_HOME": str(_folder())})


def _policy(data: bytes) -> object:
    return read_policy(_written(POLICY_FILE, data))


def _journal(data: bytes) -> object:
    """Open a damaged journal, add to it, and find just that at its end."""
    path = _written("journal", data)
    with JournalFile.open(path) as journal:
        before = list(journal.records())
        journal.append(b"added", sync=True)
    with JournalFile.open(path) as journal:
        if list(journal.records()) != [*before, b"added"]:
            raise RuntimeError("a record is lost, or was invented")
    return replay(before)


def _journal_example() -> bytes:
    path = _folder() / "example"
    with JournalFile.open(path) as journal:
        list(journal.records())
        for one in _records():
            journal.append(one)
    return path.read_bytes()


def _records() -> tuple[bytes, ...]:
    digest = PARCEL.facts.digest
    chunk = PARCEL.sealed.chunks[0]
    return (
        Begun(digest, [["a", 1, 2]], bytes(64)).encode(),
        Accepted("/tmp/out", digest, "boot").encode(),
        ChunkDone(0, chunk, bytes(64)).encode(),
        FileHashed(0, digest).encode(),
        ChunkLost(0).encode(),
        Synced("boot", 1).encode(),
        Reached("sealed").encode(),
    )


def _material() -> bytes:
    made = new_generation(SYSTEM_RANDOM, created=1, kinds=kinds_for("intl"))
    return Material((made,)).encode()


def _keystore(suite: str) -> tuple[bytes, bytes]:
    """Return a keystore file of *suite*, and the body inside it."""
    cost = KdfCost(64, 1, 1)
    key = new_store_key(b"a passphrase", cost, random=SYSTEM_RANDOM, suite=suite)
    data = key.close(parse_material(_material()), random=SYSTEM_RANDOM).encode()
    whole = canonical.decode(data, limit=len(data), what="an example")
    assert isinstance(whole, list)
    assert isinstance(whole[2], bytes)
    return data, whole[2]


def _keystore_anew(body: bytes, version: int) -> object:
    checksum = _checksum(version, body).value
    return parse_sealed(canonical.encode([KEYSTORE, version, body, checksum]))


def _backup() -> tuple[bytes, bytes]:
    """Return a backup of keys to two custodians, and the body inside it."""
    custodians = [B.card, make_identity("c").card]
    data = make_backup(
        parse_material(_material()),
        A.card,
        A.signers,
        custodians,
        threshold=2,
        created=1,
        random=SYSTEM_RANDOM,
    )
    return data, signed.parse(data, label=BACKUP, limit=len(data), what="an example").body


def _backup_anew(body: bytes) -> object:
    return parse_backup(signed.sign(BACKUP, body, A.signers).encode())


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "replace"))


def targets() -> Iterator[Target]:
    """Return the decoders of files."""
    yield Target("configuration", _config, (CONFIG, DEEP), (UsageError, StorageError))
    policy = to_toml(BUILT_IN).encode()
    yield Target("policy", _policy, (policy, DEEP), (PolicyError, StorageError))
    yield Target("pkcs11 uri", _text(parse_uri), URIS, (UsageError, FormatError))
    refusals = (FormatError, StorageError)
    yield Target("journal", _journal, (_journal_example(), b""), refusals)
    yield Target("resume record", parse_record, _records(), (FormatError,))
    (first, inside_first), (second, inside_second) = _keystore("intl"), _keystore("gm")
    yield Target("keystore", parse_sealed, (first, second), (FormatError,))
    for version, body in ((1, inside_first), (2, inside_second)):
        read = partial(_keystore_anew, version=version)
        name = f"keystore summed anew, version {version}"
        yield Target(name, read, (body,), (FormatError,))
    factor = SecondFactor((EnrolledKey(bytes(48), bytes(32), bytes(40)),), (bytes(16),))
    yield Target("second factor", parse_second_factor, (factor.encode(),), (FormatError,))
    yield Target("key material", parse_material, (_material(),), (FormatError,))
    backup, inside = _backup()
    refusals_of_backup = (FormatError, AuthenticityError)
    yield Target("key backup", parse_backup, (backup,), refusals_of_backup)
    yield Target("key backup signed anew", _backup_anew, (inside,), refusals_of_backup)
    wrap = encode_wrap(PARCEL.id, WrappedKey("routine-1", bytes(60)))
    yield Target("wrapped key", parse_wrap, (wrap,), (FormatError,))
    origin = Origin(PARCEL.id, PARCEL.facts.sender, 1, ParcelId(bytes(16))).encode()
    yield Target("origin", parse_origin, (origin,), (FormatError,))
    line = b'{"at": 1, "what": "made", "key": "routine", "note": "", "since": 0}'
    yield Target("line of the key book", parse_entry, (line,), ())
    uses = canonical.encode({"routine": 7, "sensitive": 1})
    yield Target("uses of keys", parse_uses, (uses,), (FormatError,))
