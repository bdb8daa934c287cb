"""What the test vectors show: the honest parcels, and the register of all scenarios.

`tests/vectors/generate.py` writes one vector file for each.  A dishonest scenario starts
from an honest parcel, changes one thing and says which fault a reader must report.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from medshare.suites.kem import HYBRID, HYBRID_SEED_SIZE, opener_from_seed
from medshare.suites.signatures import ED25519, ML_DSA_65, signer_from_seed
from medshare.trust.card import Card, issue
from tests.builder import (
    Identity,
    Octets,
    Parcel,
    make_identity,
    make_parcel,
    make_receipt,
    octets,
)
from tests.forger import Forger
from tests.vector_files import Vector, listing_of

A, B, C = (make_identity(name) for name in ("a", "b", "c"))
FILES = {"ct/0001.dcm": octets("content", 1025)}
"""Two stored chunks, of 1024 octets and of one."""
PLAIN = b"compressible " * 70


@dataclass(frozen=True, slots=True)
class Bad:
    """A dishonest scenario: *forge* changes the parts of the parcel that *base* returns.

    `forge` may return the finished octets itself.  `public` is what checking without any
    key must end in; the same as `expect` unless given.
    """

    name: str
    spec: str
    expect: str
    comment: str
    forge: Callable[[Forger], Octets | None]
    public: str | None = None
    base: str = "two-chunks"

    def vector(
        self, base: Parcel | None = None, *, sender: str = "a", recipient: str = "b"
    ) -> Vector:
        """Return the vector, made from *base* where that is not one of `BASES`."""
        forger = Forger(base or BASES[self.base]())
        parcel = self.forge(forger) or forger.octets()
        return Vector(
            self.name,
            self.spec,
            self.expect,
            self.public or self.expect,
            self.comment,
            objects_of(parcel),
            sender,
            recipient,
        )


@cache
def two_chunks() -> Parcel:
    """The parcel that most scenarios spoil."""
    return make_parcel(FILES, sender=A, recipients=[B], label="two-chunks")


@cache
def one_file() -> Parcel:
    """The smallest parcel: one file of one octet."""
    return make_parcel({"x": b"x"}, sender=A, recipients=[B], label="one-file")


@cache
def another() -> Parcel:
    """A second parcel of the same people with the same shape, to splice from."""
    return make_parcel(
        {"ct/0001.dcm": octets("other content", 1025)}, sender=A, recipients=[B], label="another"
    )


@cache
def by_c() -> Parcel:
    """A parcel that c sent to b."""
    return make_parcel(FILES, sender=C, recipients=[B], label="by-c")


@cache
def compressed() -> Parcel:
    """One chunk that Zstandard shortens."""
    return make_parcel({"x": b"compressible " * 70}, sender=A, recipients=[B], label="compressed")


BASES = {
    "two-chunks": two_chunks,
    "one-file": one_file,
    "another": another,
    "by-c": by_c,
    "compressed": compressed,
}


def objects_of(parcel: Octets) -> dict[str, bytes]:
    """Return the files of a parcel folder by name."""
    objects = {"envelope": parcel.envelope, "manifest": parcel.manifest}
    objects |= {f"chunks/{index:08d}": chunk for index, chunk in enumerate(parcel.chunks)}
    return objects | ({"seal": parcel.seal} if parcel.seal else {})


# --- honest -------------------------------------------------------------------------------

SHAPES: dict[str, tuple[str, str, dict[str, bytes]]] = {
    "one-small-file": ("§6", "one file of 12 octets", {"hello.txt": b"hello world\n"}),
    "chunk-exactly-full": ("§5.1", "two chunks, the last one full", {"f": octets("full", 2048)}),
    "one-octet-beyond": ("§5.1", "the last chunk holds one octet", {"f": octets("full", 2049)}),
    "many-chunks": ("§5.1", "seven chunks of one file", {"volume.nii": octets("volume", 6500)}),
    "empty-file": ("§5.1", "empty files around one that is not", {"a": b"", "b": b"b", "c": b""}),
    "no-chunks": ("§5.1", "nothing but an empty file: no chunk at all", {"empty": b""}),
    "codec-store": ("§13.4", "content that does not compress", {"x": octets("noise", 600)}),
    "many-files": (
        "§5.1",
        "40 files of 0 to 1000 octets in folders; pieces begin and end inside chunks",
        {f"s{i % 4}/{i:03d}.dcm": octets(f"file {i}", i * 137 % 1001) for i in range(40)},
    ),
    "unicode-names": (
        "§4.2",
        "names in many scripts, with joiners and selectors, composed or not",
        {
            "影像/胸部 CT.dcm": b"1",
            "Müller/Scan n°1.dcm": b"2",
            "zerlegt/Mu\u0308ller.dcm": b"3",
            "فارسی/می\u200cخواهم.txt": b"4",
            "emoji/\u2764\ufe0f \U0001f468\u200d\u2695\ufe0f.txt": b"5",
            "हिन्दी/क्\u200dष.txt": b"6",
        },
    ),
    "names-at-the-limits": (
        "§4.2",
        "the longest part, the deepest path, and names that only resemble forbidden ones",
        {
            "n" * 255: b"1",
            "/".join("d" * 32): b"2",
            "console/COM10.txt": b"3",
            "a..b/~c/-d": b"4",
            " leading space": b"5",
        },
    ),
}


def honest() -> Iterator[Vector]:
    """Yield the vectors that must open."""
    for name, parcel in BASES.items():
        sender = "c" if name == "by-c" else "a"
        yield good(name, "§6", "what other vectors are made from", parcel(), sender=sender)
    for name, (spec, comment, files) in SHAPES.items():
        yield good(name, spec, comment, make_parcel(files, sender=A, recipients=[B], label=name))
    yield from (
        good(
            "two-recipients", "§7.2", "addressed to b and c",
            make_parcel(FILES, sender=A, recipients=[B, C], label="two-recipients"),
        ),
        good(
            "padded", "§6.6", "payloads padded to Padmé sizes",
            make_parcel(
                {"x": b"padded " * 400}, sender=A, recipients=[B], pad=True, label="padded"
            ),
        ),
        good(
            "folders-and-note", "§4.1", "empty folders and a note beside a file",
            make_parcel(
                {"x": b"x"}, sender=A, recipients=[B], folders=["empty", "a/b"],
                note="for Dr. B", label="folders-and-note",
            ),
        ),
        good(
            "only-folders", "§4.1", "an empty folder and no file",
            make_parcel({}, sender=A, recipients=[B], folders=["empty"], label="only-folders"),
        ),
        good(
            "piece-limit", "§5.1",
            "4097 files of one octet: the first chunk ends after 4096 pieces",
            make_parcel(
                {f"{i:04x}": b"x" for i in range(4097)}, sender=A, recipients=[B],
                chunk_size=8192, label="piece-limit",
            ),
        ),
        good("from-a-rotated-station", "§10.3", "sealed with keys of the second generation",
             rotated_parcel(), sender="a2"),
        extended(),
        codec_planes(),
        card("card", "§10", "a card of one generation", A.card.encoded),
        card("card-rotated", "§10.3", "a card of two generations", rotated().card.encoded),
        receipt("receipt", "§9", "the receipt of b", make_receipt(two_chunks(), B)),
    )  # fmt: skip


def good(
    name: str,
    spec: str,
    comment: str,
    parcel: Parcel,
    *,
    sender: str = "a",
    recipient: str = "b",
) -> Vector:
    """Return the vector of an honest parcel."""
    objects, files = objects_of(parcel), listing_of(parcel.files)
    return Vector(name, spec, "success", "success", comment, objects, sender, recipient, files)


def extended() -> Vector:
    """An envelope with an extension that a reader may ignore."""
    forger = Forger(parcel := one_file())
    forger.envelope["extra"] = {"colour": ["blue", 1, None, True, {}]}
    honest = good("extra-is-ignored", "§2.5", "the envelope has a field in `extra`", parcel)
    return replace(honest, objects=objects_of(forger.octets()))


def codec_planes() -> Vector:
    """A noisy 16-bit image, for which a sender chooses codec 2."""
    noise = octets("noise of the image", 128 * 128)
    image = b"".join(
        (1000 + 2 * (at // 128) + at % 128 + noise[at] % 32).to_bytes(2, "little")
        for at in range(128 * 128)
    )
    parcel = make_parcel(
        {"image.raw": image}, sender=A, recipients=[B], chunk_size=1 << 15, label="codec-planes"
    )
    return good("codec-planes", "§13.4", "a noisy 16-bit image of 128 by 128", parcel)


@cache
def rotated() -> Identity:
    """Station a after one rotation of its keys."""
    signers = (
        signer_from_seed(ED25519, octets("a ed25519 1")),
        signer_from_seed(ML_DSA_65, octets("a ml-dsa-65 1")),
    )
    openers = (opener_from_seed(HYBRID, octets("a kem 1", HYBRID_SEED_SIZE)), *A.openers)
    generation = replace(
        A.card.current,
        number=1,
        sign_keys=tuple(one.public for one in signers),
        kem_keys=(openers[0].public,),
    )
    card = issue(generation, signers, before=A.card, old=A.signers)
    return Identity("a", card, signers, openers)


def rotated_parcel() -> Parcel:
    """A parcel of station a with its newer keys."""
    return make_parcel({"x": b"x"}, sender=rotated(), recipients=[B], label="rotated")


def card(name: str, spec: str, comment: str, data: bytes, expect: str = "success") -> Vector:
    """Return a vector about a card."""
    return Vector(name, spec, expect, expect, comment, {"card": data})


def receipt(
    name: str,
    spec: str,
    comment: str,
    data: bytes,
    expect: str = "success",
    *,
    recipient: str = "b",
) -> Vector:
    """Return a vector about a receipt of *recipient*."""
    return Vector(name, spec, expect, expect, comment, {"receipt": data}, recipient=recipient)


def senders() -> Mapping[str, Card]:
    """Return the cards by which readers of the vectors know the senders."""
    return {"a": A.card, "a2": rotated().card, "b": B.card, "c": C.card}


Change = Callable[[Forger], Any]


def field(name: str, value: object) -> Change:
    """Set a field of the envelope."""
    return lambda forger: forger.envelope.__setitem__(name, value)


def drop(name: str) -> Change:
    """Leave a field of the envelope out."""

    def forge(forger: Forger) -> None:
        del forger.envelope[name]

    return forge


def flip(at: int) -> Callable[[bytes], bytes]:
    """Return what changes one bit of the octet at *at*."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return change
