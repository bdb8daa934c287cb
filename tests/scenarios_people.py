"""Dishonest receipts and cards."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cbor2

from medshare import signed
from medshare.suites.base import PublicKey, Signer
from medshare.suites.kem import HYBRID
from medshare.trust.card import Generation
from tests.builder import make_receipt
from tests.forger import cbor
from tests.scenarios import A, B, C, card, flip, receipt, rotated, two_chunks
from tests.vector_files import Vector

SIGNATURE = "authenticity.signature"


def receipts() -> Iterator[Vector]:
    """Yield the bad receipts."""
    honest = make_receipt(two_chunks(), B)
    label, body, pairs = cbor2.loads(honest)
    facts = cbor2.loads(body)

    def forged(name: str, spec: str, expect: str, comment: str, **changes: object) -> Vector:
        value = signed.sign(label, cbor(facts | changes), B.signers).encode()
        return receipt(f"receipt-{name}", spec, comment, value, expect)

    def bare(name: str, expect: str, comment: str, data: bytes, spec: str = "§3.3") -> Vector:
        return receipt(f"receipt-{name}", spec, comment, data, expect)

    path, size, digest = facts["files"][0]
    yield from (
        bare("flipped", SIGNATURE, "one bit of a file's digest is wrong",
             honest.replace(digest, flip(0)(digest))),
        bare("signature-missing", SIGNATURE, "only Ed25519 signed", cbor([label, body, pairs[:1]])),
        bare("by-a-stranger", SIGNATURE, "c signed what names the keys of b",
             signed.sign(label, body, C.signers).encode()),
        bare("is-a-seal", "format", "a seal in the place of a receipt", two_chunks().seal, "§3.1"),
        bare("trailing", "format", "an octet follows", honest + b"\0", "§2.3"),
        forged("path", "§4.2", "format", "a path that leaves the folder",
            files=[["../x", size, digest]]),
        forged("size", "§14", "format.limit", "a file of 2^60 octets",
            files=[[path, 1 << 60, digest]]),
        forged("digest-short", "§9.1", "format", "a digest of 31 octets",
            files=[[path, size, digest[1:]]]),
        forged("keys-classic-only", "§3.3", "format.version", "only one key is named",
               recipient_keys=facts["recipient_keys"][:1]),
        forged("suite", "§13.1", "format.version", "an unknown suite", suite="rot13"),
    )  # fmt: skip


def entry(generation: Generation, *signers: Signer) -> bytes:
    """Return *generation* signed by *signers*."""
    return signed.sign("medshare/1 card", generation.body(), signers).encode()


def card_file(*entries: bytes) -> bytes:
    """Return the card that lists *entries*."""
    return cbor(["medshare/1 cards", list(entries)])


def cards() -> Iterator[Vector]:
    """Yield the bad cards."""
    zero, one = rotated().card.generations
    old, new = A.signers, rotated().signers
    begin, later = entry(zero, *old), entry(one, *new, *old)
    hybrid = zero.kem_keys[0]

    def bad(name: str, spec: str, expect: str, comment: str, data: bytes) -> Vector:
        return card(f"card-{name}", spec, comment, data, expect)

    def first_is(**changes: Any) -> bytes:
        return card_file(entry(replace(zero, **changes), *old))

    def second_is(**changes: Any) -> bytes:
        return card_file(begin, entry(replace(one, **changes), *new, *old))

    yield from (
        bad("chain-broken", "§10.3", SIGNATURE, "the old keys did not sign the new ones",
            card_file(begin, entry(one, *new))),
        bad("chain-half", "§10.3", SIGNATURE, "only the old Ed25519 key signed the new ones",
            card_file(begin, entry(one, *new, old[0]))),
        bad("chain-signatures-swapped", "§3.3", SIGNATURE, "old signatures before new ones",
            card_file(begin, entry(one, *old, *new))),
        bad("chain-by-a-stranger", "§10.3", SIGNATURE, "c signed in the place of the old keys",
            card_file(begin, entry(one, *new, *C.signers))),
        bad("chain-reordered", "§10.3", "authenticity", "the newer generation comes first",
            card_file(later, begin)),
        bad("chain-gap", "§10.3", "authenticity", "generation 2 follows 0", second_is(number=2)),
        bad("chain-twice", "§10.3", "authenticity", "generation 0 twice", card_file(begin, begin)),
        bad("station-stolen", "§10.3", "authenticity", "c claims to be the station a",
            card_file(entry(replace(C.card.current, station=A.station), *C.signers))),
        bad("station-changed", "§10.3", "authenticity", "generation 1 names the station c",
            second_is(station=C.station)),
        bad("fewer-keys", "§3.3", "format.version", "generation 1 signs with Ed25519 alone",
            card_file(begin, entry(replace(one, sign_keys=one.sign_keys[:1]), new[0], *old))),
        bad("classic-only", "§3.3", "format.version", "a station with Ed25519 alone",
            card_file(entry(replace(zero, sign_keys=zero.sign_keys[:1]), old[0]))),
        bad("without-kem", "§10.1", "format", "no key to seal to", first_is(kem_keys=())),
        bad("kem-twice", "§10.1", "format", "two keys of one algorithm",
            first_is(kem_keys=(hybrid, one.kem_keys[0]))),
        bad("kem-unknown", "§13.3", "format.version", "an unknown algorithm to seal to",
            first_is(kem_keys=(PublicKey("later", b"k"),))),
        bad("kem-invalid", "§13.3", "format", "a key that is no ML-KEM-768 key",
            first_is(kem_keys=(PublicKey(HYBRID, b"\xff" * len(hybrid.value)),))),
        bad("kem-short", "§13.3", "format", "a key that lacks an octet",
            first_is(kem_keys=(PublicKey(HYBRID, hybrid.value[:-1]),))),
        bad("name-bidi", "§10.1", "format", "a name that is shown backwards",
            first_is(name="St.\u202eyraM")),
        bad("name-blank", "§10.1", "format", "a name of spaces", first_is(name="  ")),
        bad("name-too-long", "§10.1", "format.limit", "a name of 129 octets",
            first_is(name="n" * 129)),
        bad("suite-unknown", "§13.1", "format.version", "an unknown suite",
            first_is(suite="rot13")),
        bad("no-generation", "§10.1", "format.limit", "a card of nothing", card_file()),
        bad("not-a-card", "§10.1", "format", "another label",
            cbor(["medshare/1 parcels", [begin]])),
        bad("trailing", "§2.3", "format", "an octet follows", card_file(begin) + b"\0"),
        bad("flipped", "§3.3", SIGNATURE, "one bit of the name is wrong",
            card_file(begin.replace(b"dnameaa", b"dnameab"))),
    )  # fmt: skip
