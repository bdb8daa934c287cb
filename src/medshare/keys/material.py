"""The secret content of a keystore file: seeds by generation, and KEKs, as a value.

Pure: octets in, octets out, and no method that changes anything.  No representation
shows a seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError, KeyUnavailableError, LimitError, UsageError
from medshare.keys.base import Purpose
from medshare.keys.kek import (
    AES_KW,
    KEK_SIZES,
    MAX_KEKS,
    SecretKek,
    check_label,
    no_such_kek,
)
from medshare.suites import kem, signatures
from medshare.suites.base import RandomBytes
from medshare.suites.kem import HYBRID, KEMS, SM2
from medshare.suites.signatures import ED25519, ML_DSA_65, SIGNATURES

MAX_GENERATIONS: Final = 256
"""As many as a card can list."""
MAX_KEYS: Final = 16
"""Keys of one generation."""
MAX_MATERIAL: Final = 1 << 20
_MAX_ITEMS: Final = MAX_GENERATIONS * (4 * MAX_KEYS + 4) + 5 * MAX_KEKS + 16

Kinds = tuple[tuple[Purpose, str], ...]
"""Purpose and algorithm of each key of a generation."""

_INTL_SIGN: Final = ((Purpose.SIGN, ED25519), (Purpose.SIGN, ML_DSA_65))
IDENTITY_KEYS: Final[dict[str, Kinds]] = {
    "intl": (*_INTL_SIGN, (Purpose.OPEN, HYBRID)),
    "gm": ((Purpose.SIGN, SM2), (Purpose.OPEN, SM2)),
    "gm+intl": (
        *_INTL_SIGN,
        (Purpose.SIGN, SM2),
        (Purpose.OPEN, HYBRID),
        (Purpose.OPEN, SM2),
    ),
}
"""The keys of a new station, by the suites in which it can send and receive."""

_WHAT: Final = "the content of the keystore"


@dataclass(frozen=True, slots=True, repr=False)
class SecretKey:
    """One secret key, as the seed from which its algorithm expands it."""

    purpose: Purpose
    algorithm: str
    seed: bytes

    def __repr__(self) -> str:
        return f"SecretKey({self.purpose}, {self.algorithm})"


@dataclass(frozen=True, slots=True)
class SecretGeneration:
    """The keys that were made together; *created* in seconds since 1970 UTC."""

    created: int
    pending: bool
    keys: tuple[SecretKey, ...]

    def of(self, purpose: Purpose) -> tuple[SecretKey, ...]:
        """Return the keys for *purpose*, in their order."""
        return tuple(key for key in self.keys if key.purpose is purpose)

    @property
    def kinds(self) -> Kinds:
        """Purpose and algorithm of each key."""
        return tuple((key.purpose, key.algorithm) for key in self.keys)


@dataclass(frozen=True, slots=True)
class Material:
    """Every generation, oldest first; only the newest may be pending.  KEKs by their labels."""

    generations: tuple[SecretGeneration, ...]
    keks: tuple[SecretKek, ...] = ()

    @property
    def pending(self) -> int | None:
        """The number of the pending generation, if there is one."""
        return len(self.generations) - 1 if self.generations[-1].pending else None

    def generation(self, number: int) -> SecretGeneration:
        """Return generation *number*; raise KeyUnavailableError when there is none."""
        if not 0 <= number < len(self.generations):
            raise KeyUnavailableError(
                f"the keystore holds no keys of generation {number}",
                hint="restore the newest backup of the keystore",
            )
        return self.generations[number]

    def with_pending(self, added: SecretGeneration) -> "Material":
        """Return this with *added* as its newest, pending generation."""
        if len(self.generations) >= MAX_GENERATIONS:
            raise LimitError(
                f"a station has at most {MAX_GENERATIONS} generations of keys, and all are used",
                hint="make a new station with another MEDSHARE_HOME and exchange its card",
            )
        return replace(self, generations=(*self.generations, replace(added, pending=True)))

    def settled(self) -> "Material":
        """Return this with no generation pending."""
        *older, newest = self.generations
        return replace(self, generations=(*older, replace(newest, pending=False)))

    @property
    def suite_at_rest(self) -> str:
        """The suite whose algorithms protect this in a file."""
        return suite_at_rest(name for _, name in self.generations[-1].kinds)

    @property
    def is_classic(self) -> bool:
        """Whether readers that know AES alone understand this."""
        return all(kek.algorithm == AES_KW for kek in self.keks)

    def kek(self, label: str) -> SecretKek:
        """Return the KEK called *label*; raise KeyUnavailableError when there is none."""
        found = next((kek for kek in self.keks if kek.label == label), None)
        if found is None:
            raise no_such_kek(label)
        return found

    def has_kek(self, label: str) -> bool:
        """Tell whether there is a KEK called *label*."""
        return any(kek.label == label for kek in self.keks)

    def with_kek(self, added: SecretKek) -> "Material":
        """Return this with *added*, in its place in the order."""
        if len(self.keks) >= MAX_KEKS:
            raise too_many_keks()
        return replace(self, keks=tuple(sorted((*self.keks, added), key=lambda kek: kek.label)))

    def without_kek(self, label: str) -> "Material":
        """Return this without the KEK called *label*."""
        return replace(self, keks=tuple(kek for kek in self.keks if kek.label != label))

    def encode(self) -> bytes:
        """Return the deterministic encoding.  It is as secret as the seeds in it."""
        generations: list[canonical.Value] = [
            [
                generation.created,
                generation.pending,
                [[str(key.purpose), key.algorithm, key.seed] for key in generation.keys],
            ]
            for generation in self.generations
        ]
        keks: list[canonical.Value] = [
            [kek.label, kek.algorithm, kek.created, kek.key] for kek in self.keks
        ]
        return canonical.encode({"generations": generations, "keks": keks})


def too_many_keks() -> LimitError:
    """Return the error that says that no further KEK can be made."""
    return LimitError(
        f"a keystore holds at most {MAX_KEKS} key-encryption keys, and all are used",
        hint="medshare rotate-key destroys those that nothing needs any more",
    )


def kinds_for(suite: str) -> Kinds:
    """Return the keys of a new station; raise UsageError unless *suite* is one that it can have."""
    try:
        return IDENTITY_KEYS[suite]
    except KeyError:
        names = ", ".join(IDENTITY_KEYS)
        raise UsageError(f"a station cannot have suite '{suite}'; it can have {names}") from None


def token_suite_error(suite: str) -> UsageError:
    """Return the error that says that a token cannot hold keys of *suite*."""
    return UsageError(
        f"a token holds keys of suite 'intl', not of '{suite}'",
        hint="a station with national keys has its keystore in a file or the OS keyring",
    )


def require_same_kinds(pending: Kinds, wanted: Kinds) -> None:
    """Raise UsageError when keys are *wanted* of other kinds than those that are *pending*."""
    if pending != wanted:
        raise UsageError(
            "a rotation to keys of another kind was interrupted, and comes first",
            hint="complete it: medshare rotate-key --identity; then ask for this again",
        )


def suite_at_rest(algorithms: Iterable[str]) -> str:
    """Return the suite that protects keys of these *algorithms* where they lie.

    It is `gm` where all of them are national ones.  With keys of both families it is `intl`,
    whose ciphers have keys of 256 bits: what is sealed to the others must not become weaker.
    """
    families = {
        SIGNATURES[one].family if one in SIGNATURES else KEMS[one].family for one in algorithms
    }
    return "gm" if families == {"gm"} else "intl"


def new_generation(random: RandomBytes, *, created: int, kinds: Kinds) -> SecretGeneration:
    """Return freshly drawn keys of these *kinds* for one generation."""
    keys = tuple(SecretKey(use, name, _draw(use, name, random)) for use, name in kinds)
    return SecretGeneration(created=created, pending=False, keys=keys)


def parse_material(data: bytes) -> Material:
    """Return the material in *data*; raise FormatError unless all of it is well formed."""
    value = canonical.decode(data, limit=MAX_MATERIAL, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    items = fields.items("generations", maximum=MAX_GENERATIONS)
    keks = tuple(_kek(item) for item in fields.items("keks", maximum=MAX_KEKS))
    fields.finish()
    if not items:
        raise FormatError("a keystore without keys")
    generations = tuple(_generation(item) for item in items)
    if any(generation.pending for generation in generations[:-1]):
        raise FormatError("a generation in the keystore is pending, but is not the newest")
    labels = [kek.label for kek in keks]
    if labels != sorted(set(labels)):
        raise FormatError("the key-encryption keys in the keystore are not in order")
    return Material(generations, keks)


def _generation(item: object) -> SecretGeneration:
    match item:
        case [int() as created, bool() as pending, list() as keys] if (
            type(created) is int and created <= canonical.MAX_TIME and len(keys) <= MAX_KEYS
        ):
            return SecretGeneration(created, pending, _keys(keys))
    raise FormatError("a generation in the keystore is malformed")


def _kek(item: object) -> SecretKek:
    match item:
        case [str() as label, str() as algorithm, int() as created, bytes() as key] if (
            type(created) is int
            and created <= canonical.MAX_TIME
            and len(key) == KEK_SIZES.get(algorithm)
        ):
            try:
                return SecretKek(check_label(label), algorithm, created, key)
            except UsageError as error:
                raise FormatError(error.message) from error
    raise FormatError("a key-encryption key in the keystore is malformed")


def _keys(items: Sequence[object]) -> tuple[SecretKey, ...]:
    keys = []
    for item in items:
        match item:
            case [str() as purpose, str() as algorithm, bytes() as seed]:
                keys.append(_key(purpose, algorithm, seed))
            case _:
                raise FormatError("a key in the keystore is malformed")
    if {key.purpose for key in keys} != set(Purpose):
        raise FormatError("a generation in the keystore lacks a key")
    return tuple(keys)


def _key(purpose: str, algorithm: str, seed: bytes) -> SecretKey:
    for known in Purpose:
        if purpose == known and len(seed) == secret_size(known, algorithm):
            return SecretKey(known, algorithm, seed)
    raise FormatError("a key in the keystore is of a kind or length that is unknown here")


def secret_size(purpose: Purpose, algorithm: str) -> int | None:
    """Return the octets of a secret of *algorithm*, or None where it is not one for *purpose*."""
    schemes = SIGNATURES if purpose is Purpose.SIGN else KEMS
    scheme = schemes.get(algorithm)
    return None if scheme is None else scheme.secret_size


def _draw(purpose: Purpose, algorithm: str, random: RandomBytes) -> bytes:
    make = signatures.new_secret if purpose is Purpose.SIGN else kem.new_secret
    return make(algorithm, random)
