"""Dishonest envelopes: CBOR that is not deterministic, signatures, fields and stanzas."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2

from medshare import signed
from medshare.ids import ParcelId
from medshare.sealing import ParcelKey, wrap_parcel_key
from medshare.suites.intl import INTL
from tests.builder import CREATED, Octets, octets
from tests.forger import Forger, Forgery, Twist, cbor
from tests.scenarios import A, B, Bad, C, Change, another, drop, field
from tests.vector_files import Vector

TIME_FIELD = cbor("created") + cbor(CREATED)
EMPTY_EXTRA = cbor("extra") + cbor({})


def twist(change: Twist) -> Change:
    """Change the encoded body of the envelope before it is signed."""
    return lambda forger: setattr(forger, "twist_envelope", change)


def extra_octets(data: bytes) -> Change:
    """Put *data* as it is into the place of the empty map `extra`."""
    return twist(lambda body: body.replace(EMPTY_EXTRA, cbor("extra") + data))


def unsorted(body: bytes) -> bytes:
    """Return the map *body* with its keys in the opposite order."""
    return cbor2.dumps(dict(reversed(cbor2.loads(body).items())))


def repeated(body: bytes) -> bytes:
    """Return the map *body* with its first field twice."""
    first = cbor("tier") + cbor("routine")
    return bytes([body[0] + 1]) + first + body[1:]


def deep(levels: int) -> object:
    """Return that many arrays inside each other."""
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


NOT_DETERMINISTIC = (
    Bad("cbor-indefinite-map", "§2.3", "format", "the body is a map of indefinite length",
        twist(lambda body: b"\xbf" + body[1:] + b"\xff")),
    Bad("cbor-long-length", "§2.3", "format", "the number of fields takes an octet too many",
        twist(lambda body: b"\xb8" + bytes([body[0] & 31]) + body[1:])),
    Bad("cbor-long-integer", "§2.3", "format", "a time is written in eight octets",
        twist(lambda body: body.replace(
            TIME_FIELD, cbor("created") + b"\x1b" + CREATED.to_bytes(8)))),
    Bad("cbor-unsorted", "§2.3", "format", "the fields are not in order", twist(unsorted)),
    Bad("cbor-repeated-key", "§2.3", "format", "a field is there twice", twist(repeated)),
    Bad("cbor-trailing", "§2.3", "format", "an octet follows the body",
        twist(lambda body: body + b"\0")),
    Bad("cbor-truncated", "§2.3", "format", "the body lacks its last octet",
        twist(lambda body: body[:-1])),
    Bad("cbor-empty", "§2.3", "format", "the body is empty", twist(lambda body: b"")),
    Bad("cbor-tag", "§2.1", "format", "the body has the tag that says it is CBOR",
        twist(lambda body: b"\xd9\xd9\xf7" + body)),
    Bad("cbor-shared-reference", "§2.1", "format", "an extension refers to itself by tags",
        extra_octets(b"\xa1\x61a\xd8\x1c\x81\xd8\x1d\x00")),
    Bad("cbor-float", "§2.1", "format", "a time is a floating-point number",
        field("created", 1.5)),
    Bad("cbor-negative", "§2.1", "format", "a time is negative", field("created", -1)),
    Bad("cbor-big-integer", "§2.1", "format", "a time is 2^64, which needs a tag",
        field("created", 2**64)),
    Bad("cbor-undefined", "§2.1", "format", "an extension is `undefined`",
        field("extra", {"a": cbor2.undefined})),
    Bad("cbor-simple-value", "§2.1", "format", "an extension is simple value 99",
        field("extra", {"a": cbor2.CBORSimpleValue(99)})),
    Bad("cbor-integer-key", "§2.1", "format", "a map key is an integer",
        field("extra", {1: 1})),
    Bad("cbor-byte-key", "§2.1", "format", "a map key is a byte string",
        field("extra", {b"a": 1})),
    Bad("cbor-bad-utf8", "§2.2", "format", "a text is not UTF-8",
        extra_octets(b"\xa1\x61a\x62\xc0\xaf")),
    Bad("cbor-surrogate", "§2.2", "format", "a text holds half a surrogate pair",
        extra_octets(b"\xa1\x61a\x63\xed\xa0\x80")),
    Bad("cbor-too-deep", "§2.3", "format", "17 containers inside each other",
        field("extra", {"a": deep(15)})),
    Bad("cbor-very-deep", "§2.3", "format", "4000 containers inside each other",
        extra_octets(b"\xa1\x61a" + b"\x81" * 3900 + b"\0")),
    Bad("cbor-huge-string", "§2.3", "format", "a byte string claims 2^62 octets",
        extra_octets(b"\xa1\x61a\x5b" + (1 << 62).to_bytes(8))),
    Bad("cbor-huge-array", "§2.3", "format.limit", "an array claims 2^62 items",
        extra_octets(b"\xa1\x61a\x9b" + (1 << 62).to_bytes(8))),
    Bad("cbor-huge-map", "§2.3", "format.limit", "a map claims 2^62 entries",
        extra_octets(b"\xa1\x61a\xbb" + (1 << 62).to_bytes(8))),
    Bad("cbor-many-items", "§2.3", "format.limit", "5000 items in an extension",
        field("extra", {"a": [0] * 5000})),
    Bad("cbor-not-a-map", "§2.4", "format", "the body is an array",
        twist(lambda body: cbor(list(cbor2.loads(body).values())))),
)  # fmt: skip


# --- the outer object and its signatures --------------------------------------------------


def outer(change: Any) -> Change:
    """Change the decoded outer array of the finished envelope, unsigned."""

    def forge(forger: Forger) -> Octets:
        made = forger.octets()
        value = change(cbor2.loads(made.envelope))
        return Forgery(cbor(value), made.manifest, made.chunks, made.seal)

    return forge


def outer_octets(change: Twist) -> Change:
    """Change the octets of the finished envelope, unsigned."""

    def forge(forger: Forger) -> Octets:
        made = forger.octets()
        return Forgery(change(made.envelope), made.manifest, made.chunks, made.seal)

    return forge


def flip(value: list[Any], at: int) -> list[Any]:
    """Return the outer array with one bit of signature number *at* changed."""
    algorithm, signature = value[2][at]
    value[2][at] = [algorithm, signature[:-1] + bytes([signature[-1] ^ 1])]
    return value


def for_another_purpose(value: list[Any]) -> list[Any]:
    """Return the outer array with signatures made for a seal."""
    other = signed.sign("medshare/1 seal", value[1], A.signers)
    return [value[0], value[1], [list(pair) for pair in other.signatures]]


def by_a_stranger(value: list[Any]) -> list[Any]:
    """Return the outer array signed by c instead of a."""
    other = signed.sign(value[0], value[1], C.signers)
    return [value[0], value[1], [list(pair) for pair in other.signatures]]


def signed_by(forger: Forger, keys: list[Any], signers: Any) -> Octets:
    """Return the envelope that names *keys* and is signed by *signers*."""
    forger.envelope["sender_keys"] = keys
    made = forger.octets()
    envelope = signed.sign("medshare/1 envelope", cbor(forger.envelope), signers).encode()
    return Forgery(envelope, made.manifest, made.chunks, made.seal)


ED, ML = ([one.public.algorithm, one.public.value] for one in A.signers)
SIGNATURE = "authenticity.signature"
SIGNATURES = (
    Bad("outer-trailing", "§2.3", "format", "an octet follows the envelope",
        outer_octets(lambda data: data + b"\0")),
    Bad("outer-indefinite", "§2.3", "format", "the envelope is an array of indefinite length",
        outer_octets(lambda data: b"\x9f" + data[1:] + b"\xff")),
    Bad("outer-two-items", "§3.1", "format", "the envelope has no list of signatures",
        outer(lambda value: value[:2])),
    Bad("outer-four-items", "§3.1", "format", "the envelope has a fourth item",
        outer(lambda value: [*value, 0])),
    Bad("label-of-a-seal", "§3.1", "format", "the envelope is labelled as a seal",
        lambda forger: setattr(forger, "envelope_label", "medshare/1 seal")),
    Bad("label-of-version-2", "§3.1", "format.version", "the envelope is of version 2",
        lambda forger: setattr(forger, "envelope_label", "medshare/2 envelope")),
    Bad("signatures-none", "§3.1", "format", "no signature at all",
        outer(lambda value: [*value[:2], []])),
    Bad("signatures-nine", "§3.1", "format", "nine signatures",
        outer(lambda value: [*value[:2], value[2][:1] * 9])),
    Bad("signature-malformed", "§3.1", "format", "a signature is a text",
        outer(lambda value: [*value[:2], [["ed25519", "x"], value[2][1]]])),
    Bad("signature-missing", "§3.3", SIGNATURE, "the ML-DSA-65 signature was stripped",
        outer(lambda value: [*value[:2], value[2][:1]])),
    Bad("signature-missing-classic", "§3.3", SIGNATURE, "the Ed25519 signature was stripped",
        outer(lambda value: [*value[:2], value[2][1:]])),
    Bad("signature-extra", "§3.3", SIGNATURE, "a valid signature is there twice",
        outer(lambda value: [*value[:2], [*value[2], value[2][0]]])),
    Bad("signature-reordered", "§3.3", SIGNATURE, "the signatures are in the other order",
        outer(lambda value: [*value[:2], value[2][::-1]])),
    Bad("signature-renamed", "§3.3", SIGNATURE, "the algorithms of two signatures are exchanged",
        outer(lambda value: [*value[:2], [
            ["ml-dsa-65", value[2][0][1]], ["ed25519", value[2][1][1]]]])),
    Bad("signature-short", "§3.3", SIGNATURE, "the Ed25519 signature lacks an octet",
        outer(lambda value: [*value[:2], [["ed25519", value[2][0][1][:-1]], value[2][1]]])),
    Bad("signature-flipped", "§3.3", SIGNATURE, "one bit of the Ed25519 signature is wrong",
        outer(lambda value: flip(value, 0))),
    Bad("signature-flipped-ml-dsa", "§3.3", SIGNATURE,
        "one bit of the ML-DSA-65 signature is wrong",
        outer(lambda value: flip(value, 1))),
    Bad("signature-of-a-seal", "§3.2", SIGNATURE, "the signatures were made for a seal",
        outer(for_another_purpose)),
    Bad("signature-of-a-stranger", "§3.3", SIGNATURE, "c signed what names the keys of a",
        outer(by_a_stranger)),
    Bad("sender-keys-classic-only", "§3.3", "format.version",
        "only the Ed25519 key, only its signature",
        lambda forger: signed_by(forger, [ED], A.signers[:1])),
    Bad("sender-keys-reordered", "§3.3", "format.version", "the keys are in the other order",
        lambda forger: signed_by(forger, [ML, ED], A.signers[::-1])),
    Bad("sender-keys-repeated", "§3.3", "format.version",
        "the Ed25519 key twice, and two signatures of it",
        lambda forger: signed_by(forger, [ED, ED], [A.signers[0]] * 2)),
    Bad("sender-keys-unknown", "§3.3", "format.version", "a key of an unknown algorithm",
        lambda forger: signed_by(forger, [["rsa", b"k"], ML], A.signers)),
    Bad("sender-keys-none", "§3.3", "format.version", "no key at all",
        lambda forger: signed_by(forger, [], A.signers)),
    Bad("sender-key-short", "§3.3", "format", "the Ed25519 key lacks an octet",
        lambda forger: signed_by(forger, [["ed25519", ED[1][:-1]], ML], A.signers)),
    Bad("sender-impersonated", "§12.2", "authenticity.untrusted",
        "c names the station of a as sender, but signs with its own keys",
        field("sender", A.station), public="success", base="by-c"),
    Bad("sender-is-another", "§12.2", "authenticity.untrusted", "a signs as if it were c",
        field("sender", C.station), public="success"),
)  # fmt: skip


# --- fields -------------------------------------------------------------------------------

FIELDS = (
    Bad("field-missing", "§2.4", "format", "the envelope has no tier",
        drop("tier")),
    Bad("field-unknown", "§2.4", "format", "the envelope has a field that does not exist",
        field("colour", "blue")),
    Bad("field-of-another-type", "§2.4", "format", "chunk_count is a text",
        field("chunk_count", "2")),
    Bad("field-is-true", "§2.4", "format", "chunk_count is true", field("chunk_count", True)),
    Bad("critical-unknown", "§2.5", "format.version", "an unknown extension must be understood",
        field("critical", {"colour": "blue"})),
    Bad("extra-too-long", "§2.5", "format.limit", "65 extensions",
        field("extra", {f"{i:02d}": 0 for i in range(65)})),
    Bad("suite-unknown", "§7.1", "format.version", "a suite that does not exist",
        field("suite", "rot13")),
    Bad("time-after-9999", "§1.2", "format.limit", "created after the year 9999",
        field("created", 253402300800)),
    Bad("tier-with-newline", "§7.1", "format", "a tier that would forge a line of a log",
        field("tier", "routine\nfake")),
    Bad("tier-empty", "§7.1", "format", "a tier without a name", field("tier", "")),
    Bad("parcel-id-short", "§7.1", "format", "a parcel id of 15 octets",
        field("parcel", bytes(15))),
    Bad("chunk-size-zero", "§7.1", "format.limit", "chunks of no octets", field("chunk_size", 0)),
    Bad("chunk-size-too-large", "§7.1", "format.limit", "chunks of 16 MiB and one octet",
        field("chunk_size", (1 << 24) + 1)),
    Bad("chunk-count-too-large", "§7.1", "format.limit", "2^60 chunks",
        field("chunk_count", 1 << 60)),
    Bad("chunk-key-of-another-kind", "§7.1", "format", "the chunk key is an ML-DSA-65 key",
        field("chunk_key", ML)),
    Bad("chunk-key-short", "§7.1", "format", "the chunk key lacks an octet",
        field("chunk_key", ["ed25519", bytes(31)])),
    Bad("manifest-size-zero", "§7.1", "format.limit", "a sealed manifest of no octets",
        field("manifest_size", 0)),
    Bad("commitment-short", "§7.1", "format", "a commitment of 31 octets",
        field("commitment", bytes(31))),
)  # fmt: skip


# --- stanzas ------------------------------------------------------------------------------


def stanza(parcel: ParcelId, key: ParcelKey, recipient: Any) -> list[Any]:
    """Return the stanza that gives *key* to *recipient* in *parcel*."""
    made = wrap_parcel_key(
        key, INTL, parcel,
        sender=A.station, recipient=recipient.station, to=recipient.openers[0].public,
    )  # fmt: skip
    return [made.station, made.algorithm, made.key_id, made.wrapped]


def for_b(change: Any) -> Change:
    """Replace the stanza of b by what *change* makes of it and the forger."""

    def forge(forger: Forger) -> None:
        stanzas = forger.envelope["recipients"]
        stanzas[1] = change(stanzas[1], forger)

    return forge


def wrapped_for_c(_: Any, forger: Forger) -> list[Any]:
    """The key wrapped for c, under the name of b's key."""
    ours = stanza(forger.parcel.id, forger.parcel.key, B)
    return [*ours[:3], stanza(forger.parcel.id, forger.parcel.key, C)[3]]


FALSE_KEY = ParcelKey(octets("false key"))
STANZAS = (
    Bad("recipients-none", "§7.1", "format", "addressed to nobody", field("recipients", [])),
    Bad("recipient-twice", "§7.2", "format", "one key of b is named twice",
        lambda forger: forger.envelope["recipients"].append(forger.envelope["recipients"][1])),
    Bad("recipients-65", "§7.1", "format.limit", "65 recipients",
        field("recipients", [[i.to_bytes(32), "later", bytes(16), b""] for i in range(65)])),
    Bad("recipient-station-short", "§7.2", "format", "a station id of 31 octets",
        for_b(lambda ours, _: [ours[0][1:], *ours[1:]])),
    Bad("recipient-key-id-short", "§7.2", "format", "a key id of 15 octets",
        for_b(lambda ours, _: [*ours[:2], ours[2][1:], ours[3]])),
    Bad("recipient-is-not-b", "§12.2", "key.not-addressed", "addressed to a and c only",
        for_b(lambda _, forger: stanza(forger.parcel.id, forger.parcel.key, C)), public="success"),
    Bad("recipient-of-another-algorithm", "§12.2", "key.not-addressed",
        "the stanza of b names another algorithm",
        for_b(lambda ours, _: [ours[0], "later", *ours[2:]]), public="success"),
    Bad("stanza-of-another-parcel", "§7.3", "integrity",
        "the stanza of b comes from another parcel",
        for_b(lambda ours, _: stanza(another().id, another().key, B)), public="success"),
    Bad("stanza-of-another-recipient", "§7.3", "integrity", "the stanza of b was wrapped for c",
        for_b(wrapped_for_c), public="success"),
    Bad("stanza-truncated", "§7.3", "integrity", "the wrapped key lacks an octet",
        for_b(lambda ours, _: [*ours[:3], ours[3][:-1]]), public="success"),
    Bad("stanza-empty", "§7.3", "integrity", "the wrapped key is empty",
        for_b(lambda ours, _: [*ours[:3], b""]), public="success"),
    Bad("stanza-of-a-second-key", "§7.3", "integrity.digest",
        "b is given another parcel key than a: one ciphertext, two readings",
        for_b(lambda _, forger: stanza(forger.parcel.id, FALSE_KEY, B)), public="success"),
    Bad("commitment-of-a-second-key", "§7.3", "integrity.digest",
        "the envelope commits to another key",
        lambda forger: field("commitment", FALSE_KEY.commitment(INTL, forger.parcel.id))(forger),
        public="success"),
    Bad("stanza-key-too-short", "§7.3", "integrity", "b is given a key of 16 octets",
        for_b(lambda _, forger: stanza(forger.parcel.id, ParcelKey(bytes(16)), B)),
        public="success"),
)  # fmt: skip

ENVELOPES = (*NOT_DETERMINISTIC, *SIGNATURES, *FIELDS, *STANZAS)
"""Where even the public checks must fail, they fail at the envelope."""


def envelopes() -> Iterator[Vector]:
    """Yield the vectors; of those that fail at the envelope, nothing else."""
    for bad in ENVELOPES:
        vector = bad.vector()
        if vector.public != "success":
            vector = replace(vector, objects={"envelope": vector.envelope})
        yield vector
