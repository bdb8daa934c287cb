"""Attacks on the sealed format, each by name; T11 to T33 are published faults of other tools.

T11 Crypt4GH specification §5 (blocks removed, swapped, spliced), T14 recipients and manifests
exchanged (eprint 2024/1616, 2024/546), T16 "invisible salamanders" (one ciphertext, two keys),
T17 sizes that tell the content (eprint 2025/532), T19 rollback and mix-and-match (TUF), T20
decompression bombs (CVE-2026-5438), T32 downgrade, T33 signature wrapping.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medshare import signed
from medshare.envelope import Stanza, encode_envelope, parse_envelope
from medshare.errors import (
    AuthenticityError,
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NoIdentityMatchError,
    SignatureError,
    UnsupportedVersionError,
    UntrustedSignerError,
)
from medshare.receipt import parse_receipt
from medshare.sealing import ParcelKey, open_receipt, seal_receipt, wrap_parcel_key
from medshare.suites.intl import INTL
from tests.builder import (
    Identity,
    Parcel,
    make_identity,
    make_parcel,
    make_receipt,
    make_seal,
    octets,
    open_parcel,
    pack,
    verify_parcel,
)
from tests.forger import Forger, Forgery, body_of, cbor
from tests.salamander import two_keys_one_ciphertext
from tests.vector_files import all_vectors

A, B, C, MALLORY = (make_identity(name) for name in ("a", "b", "c", "mallory"))
FILES = {"ct/0001.dcm": octets("attacked", 2500)}
PARCEL = make_parcel(FILES, sender=A, recipients=[B], label="attacked")
HONEST = Forgery(PARCEL.envelope, PARCEL.manifest, list(PARCEL.chunks), PARCEL.seal)
DETECTED = (IntegrityError, AuthenticityError, FormatError)
"""The families that end with exit code 3."""
OTHER = make_parcel({"ct/0001.dcm": octets("else", 2500)}, sender=A, recipients=[B], label="else")


def stanza(parcel: Parcel, sender: Identity, to: Identity) -> Stanza:
    """Return a stanza as whoever knows the key of *parcel* can make it."""
    public = to.openers[0].public
    return wrap_parcel_key(
        parcel.key, INTL, parcel.id, sender=sender.station, recipient=to.station, to=public
    )


def listed(one: Stanza) -> list[Any]:
    """Return the CBOR form of a stanza."""
    return [one.station, one.algorithm, one.key_id, one.wrapped]


def unsigned(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the envelope with its body changed and its signatures kept."""
    body = body_of(PARCEL.envelope)
    change(body)
    outer = signed.parse(PARCEL.envelope, label="medshare/1 envelope", limit=1 << 20, what="it")
    return replace(outer, body=cbor(body)).encode()


# --- who may read, who has written ---------------------------------------------------------


def test_t14_a_relay_exchanges_a_recipient() -> None:
    """A relay that puts its own key in the place of the recipient's breaks the signatures."""
    mine = listed(stanza(PARCEL, A, MALLORY))
    envelope = unsigned(lambda body: body.update(recipients=[mine]))
    with pytest.raises(SignatureError):
        open_parcel(replace(HONEST, envelope=envelope), MALLORY, A.card)


def test_t14_a_relay_adds_itself() -> None:
    """A relay that adds a stanza for itself, even a meaningless one, breaks the signatures."""
    extra = [MALLORY.station, "x25519+ml-kem-768", bytes(16), bytes(1168)]
    with pytest.raises(SignatureError):
        parse_envelope(unsigned(lambda body: body["recipients"].append(extra)))


def test_t14_a_relay_removes_a_recipient() -> None:
    """Removing a stanza, so that one recipient finds nothing, breaks the signatures."""
    with pytest.raises(SignatureError):
        parse_envelope(unsigned(lambda body: body["recipients"].pop()))


def test_a_recipient_cannot_forward_in_the_senders_name() -> None:
    """B, who knows the key, cannot address A's parcel to C as if A had, in three ways."""
    # With A's keys named, B's signatures fail; with B's own keys named, C sees that they are not
    # A's; with A's signatures kept, the new stanza breaks them.
    for_c = listed(stanza(PARCEL, A, C))
    body = body_of(PARCEL.envelope)
    body["recipients"].append(for_c)
    one = signed.sign("medshare/1 envelope", cbor(body), B.signers).encode()
    body["sender_keys"] = [[signer.public.algorithm, signer.public.value] for signer in B.signers]
    two = signed.sign("medshare/1 envelope", cbor(body), B.signers).encode()
    three = unsigned(lambda kept: kept["recipients"].append(for_c))
    for envelope, error in (
        (one, SignatureError),
        (two, UntrustedSignerError),
        (three, SignatureError),
    ):
        with pytest.raises(error):
            open_parcel(replace(HONEST, envelope=envelope), C, A.card)


def test_a_recipient_can_send_on_as_itself_only() -> None:
    """B may send on what it received, but C then has it from B, and A's seal does not fit."""
    keys = tuple(one.public for one in B.signers)
    recipients = (stanza(PARCEL, B, C),)
    facts, envelope = encode_envelope(
        replace(PARCEL.facts, sender=B.station, sender_keys=keys, recipients=recipients), B.signers
    )
    _, seal = make_seal(facts, PARCEL.sealed.chunks, B.signers)
    again = replace(HONEST, envelope=envelope, seal=seal)
    assert open_parcel(again, C, B.card) == FILES
    with pytest.raises(UntrustedSignerError):
        open_parcel(again, C, A.card)
    with pytest.raises(SignatureError):
        open_parcel(replace(again, seal=PARCEL.seal), C, B.card)


def test_a_parcel_for_somebody_else_stays_shut() -> None:
    """C, who holds all octets of a parcel for B, finds no stanza, and B's does not open for C."""
    with pytest.raises(NoIdentityMatchError):
        open_parcel(HONEST, C, A.card)
    forger = Forger(PARCEL)
    forger.envelope["recipients"][1][0] = C.station
    forger.envelope["recipients"][1][2] = listed(stanza(PARCEL, A, C))[2]
    with pytest.raises(IntegrityError):
        open_parcel(forger.octets(), C, A.card)


def test_a_stanza_of_another_parcel_does_not_open() -> None:
    """A's own stanza for B, taken from another parcel and signed by A: bound to that parcel."""
    forger = Forger(PARCEL)
    forger.envelope["recipients"] = body_of(OTHER.envelope)["recipients"]
    with pytest.raises(IntegrityError):
        open_parcel(forger.octets(), B, A.card)


# --- signatures and versions ----------------------------------------------------------------


def strip(data: bytes, *kept: int) -> bytes:
    """Return a signed object with only the signatures *kept*."""
    label = "medshare/1 envelope" if data == PARCEL.envelope else "medshare/1 seal"
    outer = signed.parse(data, label=label, limit=1 << 20, what="it")
    return replace(outer, signatures=tuple(outer.signatures[at] for at in kept)).encode()


@pytest.mark.parametrize("kept", [(0,), (1,), (1, 0), (0, 1, 0), (0, 0), (1, 1)])
def test_t32_signatures_are_neither_stripped_nor_added(kept: tuple[int, ...]) -> None:
    """Without one of the two signatures, with one twice or both exchanged, nothing verifies."""
    for parcel in (
        replace(HONEST, envelope=strip(HONEST.envelope, *kept)),
        replace(HONEST, seal=strip(HONEST.seal, *kept)),
    ):
        with pytest.raises(SignatureError):
            open_parcel(parcel, B, A.card)


def test_t32_nobody_falls_back_to_one_algorithm() -> None:
    """Whoever broke Ed25519 alone, and so signs as A with it, is refused by the set of keys."""
    forger = Forger(PARCEL)
    forger.envelope["sender_keys"] = forger.envelope["sender_keys"][:1]
    body = cbor(forger.envelope)
    envelope = signed.sign("medshare/1 envelope", body, A.signers[:1]).encode()
    with pytest.raises(UnsupportedVersionError):
        open_parcel(replace(HONEST, envelope=envelope), B, A.card)


def test_t32_a_suite_is_part_of_what_is_signed() -> None:
    """Another suite in the envelope is unknown, or breaks the signatures."""
    with pytest.raises(UnsupportedVersionError):
        parse_envelope(unsigned(lambda body: body.update(suite="null")))
    with pytest.raises(SignatureError):
        parse_envelope(unsigned(lambda body: body.update(tier="restricted")))


@pytest.mark.parametrize("label", ["seal", "receipt", "card"])
def test_t33_a_signature_is_good_for_one_purpose(label: str) -> None:
    """A's signature over the same body for another purpose is worth nothing in an envelope."""
    outer = signed.parse(PARCEL.envelope, label="medshare/1 envelope", limit=1 << 20, what="it")
    other = signed.sign(f"medshare/1 {label}", outer.body, A.signers)
    envelope = replace(other, label="medshare/1 envelope").encode()
    with pytest.raises(SignatureError):
        parse_envelope(envelope)


# --- chunks ----------------------------------------------------------------------------------


ONE, TWO, THREE = PARCEL.chunks
TAKEN = OTHER.chunks


@pytest.mark.parametrize(
    "chunks",
    [
        (), (ONE,), (ONE, TWO), (TWO, THREE), (ONE, THREE),
        (TWO, ONE, THREE), (ONE, THREE, TWO), (ONE, ONE, THREE), (ONE, TWO, TWO),
        (ONE, TWO, THREE, THREE), (ONE, TWO, THREE, ONE), (ONE, TWO, THREE, b""),
        (TAKEN[0], TWO, THREE), (ONE, TWO, TAKEN[2]), tuple(TAKEN), (*PARCEL.chunks, *TAKEN),
        (ONE, TWO, THREE[:-1]), (ONE, TWO, THREE + b"\0"), (ONE, TWO, b""),
    ],
)  # fmt: skip
def test_t11_chunks_are_not_removed_swapped_or_spliced(chunks: tuple[bytes, ...]) -> None:
    """Delete, duplicate, swap, append, splice from another parcel, cut at a boundary: noticed."""
    for check in (verify_parcel, lambda parcel: open_parcel(parcel, B, A.card)):
        with pytest.raises(DETECTED):
            check(replace(HONEST, chunks=list(chunks)))


def test_t11_relabelling_a_chunk_breaks_it() -> None:
    """A chunk of another parcel with the ids exchanged fails its signature and its tag."""
    moved = TAKEN[0][:8] + PARCEL.id + TAKEN[0][24:]
    with pytest.raises(SignatureError):
        verify_parcel(replace(HONEST, chunks=[moved, TWO, THREE]))
    forger = Forger(PARCEL)
    forger.chunks[0] = forger.sign_chunk(0, moved[:-64])
    with pytest.raises(IntegrityError):
        open_parcel(forger.octets(), B, A.card)


def test_one_key_for_two_parcels_does_not_mix_them() -> None:
    """Even one parcel key and chunk key for two parcels moves nothing: the id is in all of it."""
    facts = replace(
        OTHER.facts,
        chunk_key=PARCEL.chunk_signer.public,
        commitment=PARCEL.key.commitment(INTL, OTHER.id),
    )
    facts, _ = encode_envelope(facts, A.signers)
    twin, _ = pack(FILES, facts, PARCEL.layout, PARCEL.key, PARCEL.chunk_signer)
    assert twin[0][44:-64] != ONE[44:-64]
    with pytest.raises(IntegrityError):
        verify_parcel(replace(HONEST, chunks=[twin[0], TWO, THREE]))
    moved = twin[0][:8] + PARCEL.id + twin[0][24:]
    with pytest.raises(SignatureError):
        verify_parcel(replace(HONEST, chunks=[moved, TWO, THREE]))
    forger = Forger(PARCEL)
    forger.chunks[0] = forger.sign_chunk(0, moved[:-64])
    with pytest.raises(IntegrityError):
        open_parcel(forger.octets(), B, A.card)


def test_t19_a_chunk_from_before_a_change_is_refused() -> None:
    """A chunk that A's chunk key signed before a file changed, but that was not sealed."""
    earlier, _ = pack(
        {"x": octets("earlier", 2500)}, PARCEL.facts, PARCEL.layout, PARCEL.key, PARCEL.chunk_signer
    )
    with pytest.raises(DigestMismatchError):
        verify_parcel(replace(HONEST, chunks=[earlier[0], TWO, THREE]))


@pytest.mark.parametrize("taken", ["envelope", "manifest", "seal"])
def test_t19_two_states_of_a_parcel_do_not_mix(taken: str) -> None:
    """Envelope, manifest and seal of an earlier parcel with the same id, key and files: refused."""
    again = make_parcel({**FILES, "new": b"n"}, sender=A, recipients=[B], label="attacked")
    assert (again.id, again.key) == (PARCEL.id, PARCEL.key)
    assert open_parcel(again, B, A.card)
    with pytest.raises(DETECTED):
        open_parcel(replace(HONEST, **{taken: getattr(again, taken)}), B, A.card)


# --- key commitment --------------------------------------------------------------------------


def test_t16_gcm_alone_does_not_commit_to_a_key() -> None:
    """The attack is real: one ciphertext, made here, opens under two keys to two plaintexts."""
    one, other, nonce, aad = octets("one"), octets("other"), bytes(12), octets("aad", 32)
    ciphertext = two_keys_one_ciphertext(one, other, nonce, aad, octets("body", 64))
    plain = {AESGCM(key).decrypt(nonce, ciphertext, aad) for key in (one, other)}
    assert len(plain) == 2


def test_t16_two_recipients_cannot_be_given_two_keys() -> None:
    """A malicious sender wraps one key for B and another for C: C's does not match the envelope."""
    parcel = make_parcel(FILES, sender=A, recipients=[B, C], label="two keys")
    second = replace(parcel, key=ParcelKey(octets("second")))
    forger = Forger(parcel)
    forger.envelope["recipients"][2] = listed(stanza(second, A, C))
    forged = forger.octets()
    assert open_parcel(forged, B, A.card) == FILES
    with pytest.raises(DigestMismatchError):
        open_parcel(forged, C, A.card)


# --- receipts --------------------------------------------------------------------------------


def test_a_receipt_is_for_one_parcel() -> None:
    """B's receipt for one parcel neither opens with nor names another one."""
    sealed = seal_receipt(make_receipt(PARCEL, B), PARCEL.key, PARCEL.facts)
    with pytest.raises(IntegrityError):
        open_receipt(sealed, OTHER.key, OTHER.facts)
    receipt = parse_receipt(open_receipt(sealed, PARCEL.key, PARCEL.facts))
    assert receipt.seal == PARCEL.sealed.digest != OTHER.sealed.digest


def test_another_recipient_cannot_sign_for_b() -> None:
    """C, a recipient as well, cannot make B's receipt: it has neither B's keys nor B's station."""
    parcel = make_parcel(FILES, sender=A, recipients=[B, C], label="receipts")
    body = body_of(make_receipt(parcel, B))
    forged = signed.sign("medshare/1 receipt", cbor(body), C.signers).encode()
    with pytest.raises(SignatureError):
        parse_receipt(forged)
    own = parse_receipt(make_receipt(parcel, C))
    assert own.recipient == C.station
    assert not B.card.knows_signing_keys(own.recipient_keys)


# --- what an observer learns, and what a bomb costs ----------------------------------------


def test_t17_padded_parcels_of_like_contents_look_alike() -> None:
    """With padding, contents that compress to within a few per cent have one or two sizes."""
    sizes: dict[bool, set[int]] = {True: set(), False: set()}
    for number in range(8):
        content = octets(f"t17 {number}", 600 + 3 * number) + b"filler " * 60
        for pad, seen in sizes.items():
            parcel = make_parcel({"x": content[:980]}, sender=A, recipients=[B], pad=pad)
            seen.add(len(parcel.chunks[0]))
    assert len(sizes[True]) <= 2
    assert len(sizes[False]) > 4


def test_nothing_public_holds_a_name() -> None:
    """Neither paths nor contents appear in any octet that leaves the sender."""
    files = {"MARKER-Doe/Jane 1970.dcm": b"MARKER content " * 60}
    parcel = make_parcel(files, sender=A, recipients=[B], note="MARKER note")
    for data in (parcel.envelope, parcel.manifest, parcel.seal, *parcel.chunks):
        assert b"MARKER" not in data
        assert b"Jane" not in data


BOMBS = [vector for vector in all_vectors() if "bomb" in vector.name or "huge" in vector.name]


@pytest.mark.parametrize("vector", BOMBS, ids=lambda vector: vector.name)
def test_t20_a_bomb_costs_little_memory(vector: Forgery) -> None:
    """Octets that claim or unpack to up to 2^62 octets are refused within 40 MiB."""
    tracemalloc.start()
    with pytest.raises(DETECTED):
        open_parcel(vector, B, A.card)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
