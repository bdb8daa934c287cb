"""Parcels, cards and receipts of the national suite: honest, mixed, and wrong in one thing.

What is wrong here is what only this suite can get wrong; the rest is as in the other one.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import cbor2
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from gmalglib.sm2 import SM2  # type: ignore[import-untyped]  # stubs, but no marker for them

from medshare.chunk import SIGNATURE_SIZE
from medshare.sealing import wrap_parcel_key
from medshare.suites.gm import GM
from medshare.suites.intl import INTL
from medshare.suites.sm2 import DIGEST_SIZE, PUBLIC_SIZE, WRAP_LABEL
from medshare.trust.card import Card, issue
from tests.builder import (
    Identity,
    Parcel,
    make_identity,
    make_openers,
    make_parcel,
    make_receipt,
    make_signers,
    octets,
    secret,
)
from tests.forger import Forger, Forgery, cbor
from tests.scenarios import FILES, A, B, Bad, Change, card, field, good, receipt
from tests.scenarios_people import card_file, entry
from tests.vector_files import Vector

GA, GB = (make_identity(name, "gm") for name in ("ga", "gb"))
BOTH = make_identity("both", "gm+intl")
SIGNATURE = "authenticity.signature"
OFF_CURVE = bytes(63) + b"\x01"


@cache
def gm_two_chunks() -> Parcel:
    """The parcel that most scenarios here spoil."""
    return make_parcel(FILES, sender=GA, recipients=[GB], label="gm-two-chunks")


def honest() -> Iterator[Vector]:
    """Yield the vectors that must open."""
    compressed = make_parcel(
        {"a": b"compressible " * 200, "leer": b"", "影像/b": octets("b", 700)},
        sender=GA, recipients=[GB], pad=True, folders=["empty"], label="gm-compressed",
    )  # fmt: skip
    gm_for_b = make_parcel(FILES, sender=GA, recipients=[GB, B], label="gm-for-both-families")
    intl_for_gb = make_parcel(FILES, sender=A, recipients=[B, GB], label="intl-for-both-families")
    by_both = make_parcel(FILES, sender=BOTH, recipients=[GB, BOTH], label="gm-by-both")
    yield from (
        good("gm-two-chunks", "§13.1", "suite gm throughout", gm_two_chunks(),
             sender="ga", recipient="gb"),
        good("gm-compressed", "§13.1", "compressed and padded, several files", compressed,
             sender="ga", recipient="gb"),
        good("gm-for-both-families", "§13.3", "suite gm, and b has no SM2 key", gm_for_b,
             sender="ga", recipient="gb"),
        good("intl-for-both-families", "§13.3", "suite intl, and gb has nothing but SM2 keys",
             intl_for_gb),
        good("gm-by-both", "§13.2", "suite gm, signed with keys of both families", by_both,
             sender="both", recipient="gb"),
        card("gm-card", "§10", "a card of suite gm", GA.card.encoded),
        card("gm-card-of-both", "§10", "a card with keys of both families", BOTH.card.encoded),
        card("gm-card-migrated", "§10.3", "suite intl at first, suite gm now",
             migrated().card.encoded),
        receipt("gm-receipt", "§9", "the receipt of gb", make_receipt(gm_two_chunks(), GB),
                recipient="gb"),
    )  # fmt: skip


def migrated() -> Identity:
    """Station a after it changed to the national suite."""
    signers, openers = make_signers("a", "gm", " 1"), make_openers("a", "gm", " 1")
    generation = replace(
        A.card.current,
        number=1,
        suite="gm",
        sign_keys=tuple(one.public for one in signers),
        kem_keys=tuple(one.public for one in openers),
    )
    return Identity("a", issue(generation, signers, before=A.card, old=A.signers), signers, openers)


def senders() -> dict[str, Card]:
    """Return the cards by which readers of the vectors know the senders."""
    return {"ga": GA.card, "gb": GB.card, "both": BOTH.card}


# --- signatures ---------------------------------------------------------------------------


def resigned(sign: Callable[[bytes], bytes]) -> Callable[[Forger], Forgery]:
    """Sign the envelope with *sign*."""

    def forge(forger: Forger) -> Forgery:
        made = forger.octets()
        label, body, _ = cbor2.loads(made.envelope)
        message = label.encode() + b"\0" + body
        return replace(made, envelope=cbor([label, body, [["sm2", sign(message)]]]))

    return forge


def by_hand(**options: Any) -> Any:
    """Return the signature key of ga in the second library."""
    return SM2(secret("ga sm2", "sm2")[:32], **options)


def der(message: bytes) -> bytes:
    """Return a right signature in the encoding of X.509."""
    raw = by_hand().sign(message)
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


def halves_swapped(message: bytes) -> bytes:
    """Return a right signature as s ‖ r."""
    raw: bytes = by_hand().sign(message)
    return raw[32:] + raw[:32]


SIGNATURES = (
    Bad("gm-signature-without-z", "§13.2", SIGNATURE, "signed without the Z value",
        resigned(lambda message: by_hand().sign_digest(GM.digest(message).value))),
    Bad("gm-signature-of-another-user", "§13.2", SIGNATURE, "signed with another user id",
        resigned(lambda message: by_hand(uid=b"ALICE123@YAHOO.COM").sign(message))),
    Bad("gm-signature-der", "§13.2", SIGNATURE, "the signature is in DER", resigned(der)),
    Bad("gm-signature-swapped", "§13.2", SIGNATURE, "s comes before r", resigned(halves_swapped)),
    Bad("gm-signature-zero", "§13.2", SIGNATURE, "r and s are 0", resigned(lambda _: bytes(64))),
    Bad("gm-signature-large", "§13.2", SIGNATURE, "r and s are beyond the order of the curve",
        resigned(lambda _: b"\xff" * 64)),
    Bad("gm-sender-key-off-curve", "§13.2", "format", "the sender's key is no point of the curve",
        field("sender_keys", [["sm2", OFF_CURVE]])),
    Bad("gm-sender-keys-half", "§13.2", "format.version", "Ed25519 and SM2, without ML-DSA-65",
        field("sender_keys", [["ed25519", bytes(32)], ["sm2", GA.signers[0].public.value]])),
    Bad("gm-chunk-key-off-curve", "§13.2", "format", "the chunk key is no point of the curve",
        field("chunk_key", ["sm2", OFF_CURVE])),
    Bad("gm-chunk-key-ed25519", "§13.1", "format", "the chunk key is an Ed25519 key",
        field("chunk_key", ["ed25519", A.signers[0].public.value])),
    Bad("gm-called-intl", "§13.1", "format", "a parcel of suite gm that says it is of intl",
        field("suite", "intl")),
)  # fmt: skip


# --- wrapping -----------------------------------------------------------------------------


def for_gb(change: Callable[[bytes, Forger], bytes]) -> Change:
    """Replace what is wrapped to gb."""

    def forge(forger: Forger) -> None:
        stanza = forger.envelope["recipients"][1]
        stanza[3] = change(stanza[3], forger)

    return forge


def sm2_encrypt(plain: bytes) -> bytes:
    """Encrypt *plain* to gb with the second library."""
    made: bytes = SM2(pk=b"\x04" + GB.openers[0].public.value).encrypt(plain)
    return made[1:]


def in_old_order(wrapped: bytes, _: Forger) -> bytes:
    """C1 ‖ C2 ‖ C3, as before 2012."""
    c3 = wrapped[PUBLIC_SIZE : PUBLIC_SIZE + DIGEST_SIZE]
    return wrapped[:PUBLIC_SIZE] + wrapped[PUBLIC_SIZE + DIGEST_SIZE :] + c3


def of_another_parcel(_: bytes, forger: Forger) -> bytes:
    """The key of this parcel, wrapped for another."""
    return wrap_parcel_key(
        forger.parcel.key, GM, A.station[:16],  # type: ignore[arg-type]  # any other parcel id
        sender=GA.station, recipient=GB.station, to=GB.openers[0].public,
    ).wrapped  # fmt: skip


def named_with_blake3(forger: Forger) -> None:
    """Name the key of gb by the hash of the other suite."""
    stanza = forger.envelope["recipients"][1]
    stanza[2] = INTL.digest(b"sm2\0", GB.openers[0].public.value).value[:16]


WRAPS = (
    Bad("gm-wrap-old-order", "§13.3", "integrity", "C2 comes before C3", for_gb(in_old_order),
        public="success"),
    Bad("gm-wrap-of-another-parcel", "§7.3", "integrity", "wrapped for another parcel",
        for_gb(of_another_parcel), public="success"),
    Bad("gm-wrap-unbound", "§13.3", "integrity", "the key alone is encrypted, bound to nothing",
        for_gb(lambda _, forger: sm2_encrypt(forger.parcel.key.value)), public="success"),
    Bad("gm-wrap-only-bound", "§13.3", "integrity", "no key follows the digest",
        for_gb(lambda _, forger: sm2_encrypt(GM.digest(WRAP_LABEL).value)), public="success"),
    Bad("gm-wrap-off-curve", "§13.3", "integrity", "C1 is no point of the curve",
        for_gb(lambda wrapped, _: OFF_CURVE + wrapped[PUBLIC_SIZE:]), public="success"),
    Bad("gm-wrap-with-prefix", "§13.3", "integrity", "an octet 04 comes before C1",
        for_gb(lambda wrapped, _: b"\x04" + wrapped), public="success"),
    Bad("gm-wrap-truncated", "§13.3", "integrity", "the wrapped key lacks an octet",
        for_gb(lambda wrapped, _: wrapped[:-1]), public="success"),
    Bad("gm-key-id-by-blake3", "§7.2", "key.not-addressed",
        "the key of gb is named by its BLAKE3 digest", named_with_blake3, public="success"),
)  # fmt: skip


# --- content ------------------------------------------------------------------------------


def commitment_by_sha256(forger: Forger) -> None:
    """Commit to the key as the other suite does."""
    parcel = forger.parcel
    forger.envelope["commitment"] = parcel.key.commitment(INTL, parcel.id)


def second_half(forger: Forger) -> None:
    """Encrypt chunk 0 under the last 16 octets of the content key."""
    header, payload = bytes(forger.header(0)), forger.payload(0)
    key = forger.parcel.key.derive(GM, "content", forger.parcel.id)
    body = bytearray(len(payload) + 16)
    GM.aead(key[16:]).encrypt_into(header[-12:], payload, header, memoryview(body))
    forger.chunks[0] = forger.sign_chunk(0, header + bytes(body))


def chunk_digests_by_blake3(forger: Forger) -> None:
    """Let the seal list the digests of the other suite."""
    forger.seal["chunks"] = b"".join(
        blake3(one[:-SIGNATURE_SIZE]).digest() for one in forger.chunks
    )


def piece_by_blake3(forger: Forger) -> None:
    """Give the piece of chunk 1 the digest of the other suite."""
    payload = forger.payload(1)
    payload[1:33] = blake3(payload[:1]).digest()
    forger.set_payload(1, payload)


def signed_as_another(forger: Forger) -> None:
    """Sign chunk 1 as chunk 0."""
    forger.chunks[1] = forger.sign_chunk(0, forger.chunks[1][:-SIGNATURE_SIZE])


CONTENT = (
    Bad("gm-commitment-by-sha256", "§6.3", "integrity.digest",
        "the commitment is derived with HKDF-SHA-256", commitment_by_sha256, public="success"),
    Bad("gm-manifest-digest-by-blake3", "§7.1", "integrity.digest",
        "the envelope has the BLAKE3 digest of the manifest",
        lambda forger: field("manifest_digest", blake3(forger.manifest).digest())(forger)),
    Bad("gm-key-second-half", "§13.1", "integrity",
        "chunk 0 is encrypted under the last 16 octets of the content key", second_half,
        public="success"),
    Bad("gm-chunk-digests-by-blake3", "§8", "integrity.digest",
        "the seal lists BLAKE3 digests", chunk_digests_by_blake3),
    Bad("gm-piece-by-blake3", "§6.2", "integrity", "a piece has its BLAKE3 digest",
        piece_by_blake3, public="success"),
    Bad("gm-chunk-signature-swapped", "§6.5", SIGNATURE, "chunk 1 is signed as chunk 0",
        signed_as_another),
)  # fmt: skip

ALL = (*SIGNATURES, *WRAPS, *CONTENT)


def dishonest() -> Iterator[Vector]:
    """Yield the vectors that must be refused."""
    for bad in ALL:
        yield bad.vector(gm_two_chunks(), sender="ga", recipient="gb")
    generation = GA.card.current
    named = INTL.digest(
        b"medshare/1 station\0", cbor([[key.algorithm, key.value] for key in generation.sign_keys])
    )
    false = replace(generation, station=named.value)  # type: ignore[arg-type]  # a StationId
    lone = replace(generation, kem_keys=(replace(generation.kem_keys[0], value=OFF_CURVE),))
    yield from (
        card("gm-card-named-by-blake3", "§10.2", "the station id is a BLAKE3 digest",
             card_file(entry(false, *GA.signers)), "authenticity"),
        card("gm-card-key-off-curve", "§13.3", "the key to seal to is no point of the curve",
             card_file(entry(lone, *GA.signers)), "format"),
    )  # fmt: skip
