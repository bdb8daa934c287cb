"""The encrypted form of a keystore: a passphrase turned into a key, and what it closes.

    file   = CBOR [ "medshare keystore", version, body, checksum ]
    body   = CBOR [ header, nonce, sealed ]
    header = CBOR { commitment, kdf, lanes, memory_kib, passes, salt }             version 1
    header = CBOR { commitment, kdf, lanes, memory_kib, passes, salt, suite }      version 2

Suite `intl`: passphrase and salt go through Argon2id (RFC 9106), which gives 64 octets, the
AES-256-GCM key, and a commitment that stands in the header.

Suite `gm`, for stations with national keys alone:

    slow       = Argon2id(passphrase, salt), 32 octets
    base       = PBKDF2-HMAC-SM3(passphrase, salt ‖ slow, max(1024, memory_kib · passes) rounds)
    key        = HKDF-SM3(base, "medshare keystore key" ‖ 00), of which SM4-GCM takes 16 octets
    commitment = HKDF-SM3(base, "medshare keystore commitment" ‖ 00)

The key follows from the passphrase by GM/T 0091 and SM3 alone, whatever Argon2id is worth; what
Argon2id adds is memory that each guess costs (docs/decisions/0012-national-at-rest.md).

`sealed` is the secret content under that key, with label, version and header as associated
data.  Version 2 is written only where version 1 cannot say what is needed: suite `gm`, or a
key-encryption key of another algorithm than AES.

Three checks answer three questions.  The checksum, BLAKE3 over everything before it,
needs no passphrase and tells damage by accident.  The commitment tells a wrong
passphrase.  The tag tells everything else, which is somebody's doing.  Later versions
keep the outer array, so that an old reader can tell a newer file from a damaged one.

Pure: octets and a passphrase in, octets out.
"""

import hmac
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from medshare import canonical
from medshare.canonical import Fields
from medshare.digest import Digest
from medshare.errors import FormatError, PassphraseError, UnsupportedVersionError
from medshare.keys.material import MAX_MATERIAL, Material, parse_material
from medshare.suites import suite_named
from medshare.suites.base import KEY_SIZE, NONCE_SIZE, TAG_SIZE, RandomBytes

LABEL: Final = "medshare keystore"
VERSION: Final = 2
"""The newest; those before it are read as well."""
MAX_FILE: Final = MAX_MATERIAL + 4096
SALT_SIZE: Final = 16
COMMITMENT_SIZE: Final = 32
_MAX_HEADER: Final = 1024
_MAX_ITEMS: Final = 32
_KDF: Final = {"intl": "argon2id", "gm": "argon2id+pbkdf2-hmac-sm3"}
"""By suite, how the key follows from the passphrase."""
_FEWEST_ROUNDS: Final = 1024
"""GM/T 0091-2020 asks for no fewer."""
_WHAT: Final = "the keystore"


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs: the three parameters of Argon2id."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4

    @property
    def rounds(self) -> int:
        """How often PBKDF2 goes round in suite `gm`: once a KiB that Argon2id goes through."""
        return max(_FEWEST_ROUNDS, self.memory_kib * self.passes)

    def raised_to(self, other: "KdfCost") -> "KdfCost":
        """Return the larger of both in memory and passes; this one when it is not below."""
        if self.memory_kib >= other.memory_kib and self.passes >= other.passes:
            return self
        memory, passes = max(self.memory_kib, other.memory_kib), max(self.passes, other.passes)
        return KdfCost(memory, passes, other.lanes)


DEFAULT_COST: Final = KdfCost()
"""The second recommended option of RFC 9106 §4: 64 MiB, 3 passes, 4 lanes."""

# A file may come from anybody.  At most, it makes us spend a gibibyte and some seconds.
MAX_MEMORY_KIB: Final = 1024 * 1024
MAX_PASSES: Final = 16
MAX_LANES: Final = 16


@dataclass(frozen=True, slots=True)
class Header:
    """What is public about a keystore file."""

    cost: KdfCost
    salt: bytes
    commitment: bytes
    suite: str = "intl"
    version: int = 1

    def encode(self) -> bytes:
        """Return the deterministic encoding."""
        fields: dict[str, canonical.Value] = {
            "commitment": self.commitment,
            "kdf": _KDF[self.suite],
            "lanes": self.cost.lanes,
            "memory_kib": self.cost.memory_kib,
            "passes": self.cost.passes,
            "salt": self.salt,
        }
        if self.version > 1:
            fields["suite"] = self.suite
        return canonical.encode(fields)


@dataclass(frozen=True, slots=True)
class SealedStore:
    """A keystore file, parsed and not opened."""

    header: Header
    nonce: bytes
    sealed: bytes

    def encode(self) -> bytes:
        """Return the octets of the file."""
        body = canonical.encode([self.header.encode(), self.nonce, self.sealed])
        version = self.header.version
        return canonical.encode([LABEL, version, body, _checksum(version, body).value])


@dataclass(frozen=True, slots=True, repr=False)
class StoreKey:
    """What opens one keystore file: the derived key with the header that it belongs to."""

    header: Header
    value: bytes

    def fitting(self, material: Material) -> "StoreKey":
        """Return this key, with a header by which *material* can be written."""
        if self.header.version > 1 or material.is_classic:
            return self
        return replace(self, header=replace(self.header, version=2))

    def of(self, store: SealedStore) -> "StoreKey | None":
        """Return this key as that of *store*, or None where it is another one's."""
        alike = replace(store.header, version=self.header.version) == self.header
        return StoreKey(store.header, self.value) if alike else None

    def close(self, material: Material, *, random: RandomBytes) -> SealedStore:
        """Return *material* encrypted under a fresh random nonce.

        One key closes a few hundred times at most, far below the 2^32 random nonces of
        NIST SP 800-38D §8.3.
        """
        plain = material.encode()
        nonce = random(NONCE_SIZE)
        out = bytearray(len(plain) + TAG_SIZE)
        cipher = suite_named(self.header.suite).aead(self.value)
        cipher.encrypt_into(nonce, plain, _associated(self.header), memoryview(out))
        return SealedStore(self.header, nonce, bytes(out))

    def open(self, store: SealedStore) -> Material:
        """Return the material in *store*.

        Raises IntegrityError or FormatError when it is not what was closed with this key.
        """
        plain = bytearray(len(store.sealed) - TAG_SIZE)
        cipher = suite_named(self.header.suite).aead(self.value)
        cipher.decrypt_into(store.nonce, store.sealed, _associated(store.header), memoryview(plain))
        return parse_material(bytes(plain))


def new_store_key(
    passphrase: bytes, cost: KdfCost, *, random: RandomBytes, suite: str = "intl"
) -> StoreKey:
    """Return a key of *suite*, derived from *passphrase* with a fresh salt."""
    salt = random(SALT_SIZE)
    key, commitment = _derive(passphrase, salt, cost, suite)
    version = 1 if suite == "intl" else 2
    return StoreKey(Header(cost, salt, commitment, suite, version), key)


def store_key_for(store: SealedStore, passphrase: bytes) -> StoreKey:
    """Return the key of *store*; raise PassphraseError when *passphrase* is not its own."""
    header = store.header
    key, commitment = _derive(passphrase, header.salt, header.cost, header.suite)
    if not hmac.compare_digest(commitment, store.header.commitment):
        raise PassphraseError("the keystore does not open: the passphrase is wrong")
    return StoreKey(store.header, key)


def _derive(passphrase: bytes, salt: bytes, cost: KdfCost, suite: str) -> tuple[bytes, bytes]:
    """Return the key, and the commitment to it."""
    if suite == "intl":
        derived = _argon2id(passphrase, salt, cost, KEY_SIZE + COMMITMENT_SIZE)
        return derived[:KEY_SIZE], derived[KEY_SIZE:]
    slow = _argon2id(passphrase, salt, cost, KEY_SIZE)
    base = PBKDF2HMAC(SM3(), KEY_SIZE, salt + slow, cost.rounds).derive(passphrase)
    derive = suite_named(suite).derive
    return (
        derive(base, info=b"medshare keystore key\x00"),
        derive(base, info=b"medshare keystore commitment\x00"),
    )


def _argon2id(passphrase: bytes, salt: bytes, cost: KdfCost, length: int) -> bytes:
    kdf = Argon2id(
        salt=salt,
        length=length,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return kdf.derive(passphrase)


def _associated(header: Header) -> bytes:
    return canonical.encode([LABEL, header.version, header.encode()])


def _checksum(version: int, body: bytes) -> Digest:
    return suite_named("intl").digest(canonical.encode([LABEL, version, body]))


def parse_sealed(data: bytes) -> SealedStore:
    """Return the keystore file in *data*, not yet opened.

    1. It is a keystore file of some version, and whole.
    2. Its version is known; otherwise UnsupportedVersionError.
    3. Every part has its type and size, and the derivation cost is within bounds.

    Raises FormatError or LimitError.
    """
    match canonical.decode(data, limit=MAX_FILE, what=_WHAT, items=_MAX_ITEMS):
        case [label, int() as version, bytes() as body, bytes() as checksum] if (
            label == LABEL and type(version) is int
        ):
            if Digest(checksum) != _checksum(version, body):
                raise FormatError("the keystore does not match its checksum")
        case _:
            raise FormatError("this is not a keystore of medshare")
    if not 1 <= version <= VERSION:
        raise UnsupportedVersionError(
            f"the keystore has version {version}; this medshare reads versions 1 to {VERSION}",
            hint="update medshare",
        )
    return _parse_body(body, version)


def _parse_body(body: bytes, version: int) -> SealedStore:
    match canonical.decode(body, limit=MAX_FILE, what=_WHAT, items=_MAX_ITEMS):
        case [bytes() as header, bytes() as nonce, bytes() as sealed] if (
            len(nonce) == NONCE_SIZE and len(sealed) > TAG_SIZE
        ):
            return SealedStore(_parse_header(header, version), nonce, sealed)
    raise FormatError("the body of the keystore is malformed")


def _parse_header(data: bytes, version: int) -> Header:
    what = "the header of the keystore"
    fields = Fields(
        canonical.decode(data, limit=_MAX_HEADER, what=what, items=_MAX_ITEMS), what=what
    )
    suite = fields.text("suite", maximum=16) if version > 1 else "intl"
    if suite not in _KDF:
        raise FormatError(f"{what} names a suite that is unknown here")
    fields.literal("kdf", _KDF[suite])
    lanes = fields.uint("lanes", minimum=1, maximum=MAX_LANES)
    # RFC 9106 §3.1: at least eight blocks of one KiB for each lane.
    memory = fields.uint("memory_kib", minimum=8 * lanes, maximum=MAX_MEMORY_KIB)
    header = Header(
        cost=KdfCost(memory, fields.uint("passes", minimum=1, maximum=MAX_PASSES), lanes),
        salt=fields.octets("salt", size=SALT_SIZE),
        commitment=fields.octets("commitment", size=COMMITMENT_SIZE),
        suite=suite,
        version=version,
    )
    fields.finish()
    return header
