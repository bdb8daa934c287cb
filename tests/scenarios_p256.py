"""Parcels, cards and receipts of stations with keys in a token: honest, and wrong in one thing.

What is wrong here is what only P-256 can get wrong; the rest is as with other keys.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from medshare.sealing import wrap_parcel_key
from medshare.suites.intl import INTL
from medshare.trust.card import Card, issue
from tests.builder import (
    Identity,
    Parcel,
    make_identity,
    make_openers,
    make_parcel,
    make_receipt,
    make_signers,
    secret,
)
from tests.forger import Forger, Forgery, cbor
from tests.scenarios import FILES, A, B, Bad, Change, card, field, good, objects_of, receipt
from tests.scenarios_people import card_file, entry
from tests.vector_files import Vector

TA, TB = (make_identity(name, "p256") for name in ("ta", "tb"))
SIGNATURE = "authenticity.signature"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
OFF_CURVE = b"\x04" + bytes(63) + b"\x01"
POINT_SIZE = 65


@cache
def p256_two_chunks() -> Parcel:
    """The parcel that most scenarios here spoil."""
    return make_parcel(FILES, sender=TA, recipients=[TB], label="p256-two-chunks")


def honest() -> Iterator[Vector]:
    """Yield the vectors that must open."""
    for_both = make_parcel(FILES, sender=TA, recipients=[TB, B], label="p256-and-hybrid")
    from_a = make_parcel(FILES, sender=A, recipients=[B, TB], label="p256-from-hybrid")
    yield from (
        good("p256-two-chunks", "§13.2", "keys in tokens at both ends", p256_two_chunks(),
             sender="ta", recipient="tb"),
        good("p256-and-hybrid", "§13.3", "b has no P-256 key", for_both, sender="ta"),
        good("p256-from-hybrid", "§13.3", "tb has nothing but P-256 keys", from_a,
             recipient="tb"),
        high_s(),
        card("p256-card", "§10", "a card of keys in a token", TA.card.encoded),
        card("p256-card-migrated", "§10.3", "keys in software at first, in a token now",
             migrated().card.encoded),
        receipt("p256-receipt", "§9", "the receipt of tb", make_receipt(p256_two_chunks(), TB),
                recipient="tb"),
    )  # fmt: skip


def migrated() -> Identity:
    """Station a after its keys were moved into a token."""
    signers, openers = make_signers("a", "p256", " 1"), make_openers("a", "p256", " 1")
    generation = replace(
        A.card.current,
        number=1,
        sign_keys=tuple(one.public for one in signers),
        kem_keys=tuple(one.public for one in openers),
    )
    return Identity("a", issue(generation, signers, before=A.card, old=A.signers), signers, openers)


def senders() -> dict[str, Card]:
    """Return the cards by which readers of the vectors know the senders."""
    return {"ta": TA.card, "tb": TB.card}


# --- signatures ---------------------------------------------------------------------------


def resigned(sign: Callable[[bytes], bytes]) -> Callable[[Forger], Forgery]:
    """Sign envelope, and the seal that covers it, with *sign*."""

    def forge(forger: Forger) -> Forgery:
        label, body, _ = cbor2.loads(forger.octets().envelope)
        signature = sign(label.encode() + b"\0" + body)
        envelope = cbor([label, body, [["ecdsa-p256", signature]]])
        forger.seal["envelope"] = INTL.digest(envelope).value
        return replace(forger.octets(), envelope=envelope)

    return forge


def by_hand(message: bytes, digest: HashAlgorithm | None = None) -> bytes:
    """Return the signature of ta, in DER, as OpenSSL makes it."""
    number = int.from_bytes(secret("ta ecdsa-p256", "ecdsa-p256"))
    private = ec.derive_private_key(number, ec.SECP256R1())
    return private.sign(message, ec.ECDSA(digest or SHA256()))


def numbers(message: bytes, digest: HashAlgorithm | None = None) -> tuple[bytes, bytes]:
    """Return r and s of a signature of ta."""
    r, s = decode_dss_signature(by_hand(message, digest))
    return r.to_bytes(32), s.to_bytes(32)


def with_high_s(message: bytes) -> bytes:
    """Return a signature whose s is the larger of the two that verify."""
    r, s = numbers(message)
    number = int.from_bytes(s)
    return r + max(number, ORDER - number).to_bytes(32)


def high_s() -> Vector:
    """The envelope's signature has the larger s: both verify, and neither is preferred."""
    honest = good("p256-high-s", "§13.2", "the larger of the two numbers s that verify",
                  p256_two_chunks(), sender="ta", recipient="tb")  # fmt: skip
    made = resigned(with_high_s)(Forger(p256_two_chunks()))
    return replace(honest, objects=objects_of(made))


def swapped(message: bytes) -> bytes:
    """Return a right signature as s ‖ r."""
    r, s = numbers(message)
    return s + r


COMPRESSED = (
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), TA.signers[0].public.value)
    .public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
)  # fmt: skip

SIGNATURES = (
    Bad("p256-signature-der", "§13.2", SIGNATURE, "the signature is in DER", resigned(by_hand)),
    Bad("p256-signature-swapped", "§13.2", SIGNATURE, "s comes before r", resigned(swapped)),
    Bad("p256-signature-sha512", "§13.2", SIGNATURE, "signed over SHA-512",
        resigned(lambda message: b"".join(numbers(message, SHA512())))),
    Bad("p256-signature-zero", "§13.2", SIGNATURE, "r and s are 0", resigned(lambda _: bytes(64))),
    Bad("p256-signature-order", "§13.2", SIGNATURE, "s is the order of the curve",
        resigned(lambda message: numbers(message)[0] + ORDER.to_bytes(32))),
    Bad("p256-signature-large", "§13.2", SIGNATURE, "r and s are beyond the order of the curve",
        resigned(lambda _: b"\xff" * 64)),
    Bad("p256-sender-key-off-curve", "§13.2", "format", "the sender's key is no point of the curve",
        field("sender_keys", [["ecdsa-p256", OFF_CURVE]])),
    Bad("p256-sender-key-compressed", "§13.2", "format", "the sender's key is a compressed point",
        field("sender_keys", [["ecdsa-p256", COMPRESSED]])),
    Bad("p256-sender-keys-mixed", "§13.2", "format.version", "Ed25519 and P-256 are no set",
        field("sender_keys", [["ed25519", A.signers[0].public.value],
                              ["ecdsa-p256", TA.signers[0].public.value]])),
)  # fmt: skip


# --- wrapping -----------------------------------------------------------------------------


def for_tb(change: Callable[[bytes, Forger], bytes]) -> Change:
    """Replace what is wrapped to tb."""

    def forge(forger: Forger) -> None:
        stanza = forger.envelope["recipients"][1]
        stanza[3] = change(stanza[3], forger)

    return forge


def of_another_parcel(_: bytes, forger: Forger) -> bytes:
    """The key of this parcel, wrapped for another."""
    return wrap_parcel_key(
        forger.parcel.key, INTL, A.station[:16],  # type: ignore[arg-type]  # any other parcel id
        sender=TA.station, recipient=TB.station, to=TB.openers[0].public,
    ).wrapped  # fmt: skip


def compressed(wrapped: bytes, _: Forger) -> bytes:
    """The same with the ephemeral point in its compressed form."""
    return bytes([2 + wrapped[POINT_SIZE - 1] % 2]) + wrapped[1:33] + wrapped[POINT_SIZE:]


WRAPS = (
    Bad("p256-wrap-of-another-parcel", "§7.3", "integrity", "wrapped for another parcel",
        for_tb(of_another_parcel), public="success"),
    Bad("p256-wrap-off-curve", "§13.3", "integrity", "enc is no point of the curve",
        for_tb(lambda wrapped, _: OFF_CURVE + wrapped[POINT_SIZE:]), public="success"),
    Bad("p256-wrap-compressed", "§13.3", "integrity", "enc is a compressed point",
        for_tb(compressed), public="success"),
    Bad("p256-wrap-of-another-point", "§13.3", "integrity", "enc is another point of the curve",
        for_tb(lambda wrapped, _: TA.openers[0].public.value + wrapped[POINT_SIZE:]),
        public="success"),
    Bad("p256-wrap-truncated", "§13.3", "integrity", "the wrapped key lacks an octet",
        for_tb(lambda wrapped, _: wrapped[:-1]), public="success"),
)  # fmt: skip

ALL = (*SIGNATURES, *WRAPS)


def dishonest() -> Iterator[Vector]:
    """Yield the vectors that must be refused."""
    for bad in ALL:
        yield bad.vector(p256_two_chunks(), sender="ta", recipient="tb")
    generation = TA.card.current
    lone = replace(generation, kem_keys=(replace(generation.kem_keys[0], value=OFF_CURVE),))
    short = replace(generation, kem_keys=(replace(generation.kem_keys[0], value=COMPRESSED),))
    yield from (
        card("p256-card-key-off-curve", "§13.3", "the key to seal to is no point of the curve",
             card_file(entry(lone, *TA.signers)), "format"),
        card("p256-card-key-compressed", "§13.3", "the key to seal to is a compressed point",
             card_file(entry(short, *TA.signers)), "format"),
    )  # fmt: skip
