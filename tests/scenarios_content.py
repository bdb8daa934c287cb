"""Dishonest chunks, payloads and seals."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cbor2
import zstandard

from medshare import signed
from medshare.chunk import SIGNATURE_SIZE
from medshare.suites.base import Signer
from medshare.suites.intl import INTL
from tests.builder import Octets, octets
from tests.forger import Forger, Forgery, swap_digests
from tests.scenarios import PLAIN, A, B, Bad, Change, another, flip, two_chunks

SIGNATURE = "authenticity.signature"


def swap(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Exchange finished chunks behind the seal's back."""

    def forge(forger: Forger) -> Octets:
        made = forger.octets()
        return replace(made, chunks=change(list(made.chunks)))

    return forge


def first(change: Callable[[bytes], bytes]) -> Change:
    """Change the octets of the first finished chunk, unsigned."""
    return swap(lambda chunks: [change(chunks[0]), *chunks[1:]])


def header(index: int, at: int, value: int) -> Change:
    """Set one octet of a chunk's header, then encrypt, sign and seal under it."""

    def forge(forger: Forger) -> None:
        changed = forger.header(index)
        changed[at] = value
        forger.set_header(index, bytes(changed))

    return forge


def at_place(forger: Forger, index: int, unsigned: bytes) -> None:
    """Sign *unsigned* and put it in the place of chunk *index*."""
    forger.chunks[index] = forger.sign_chunk(index, unsigned)


def signed_for_another_index(forger: Forger) -> None:
    """Sign chunk 0 with the signature of chunk 1."""
    unsigned = forger.chunks[0][:-SIGNATURE_SIZE]
    forger.chunks[0] = forger.sign_chunk(1, unsigned)


def under_another_key(forger: Forger) -> None:
    """Encrypt chunk 0 under the content key of another parcel, with the right header."""
    key = another().key.derive(INTL, "content", forger.parcel.id)
    head, payload = bytes(forger.header(0)), forger.payload(0)
    body = bytearray(len(payload) + 16)
    INTL.aead(key).encrypt_into(head[-12:], payload, head, memoryview(body))
    at_place(forger, 0, head + bytes(body))


def earlier_version(forger: Forger) -> Octets:
    """Put a chunk that the chunk key signed once, but that was not sealed, in place 0."""
    made = forger.octets()
    forger.set_payload(0, forger.stored_payload(octets("earlier", 1024)))
    return replace(made, chunks=[forger.chunks[0], *made.chunks[1:]])


CHUNKS = (
    Bad("chunk-flipped", "§6.5", SIGNATURE, "one bit of the ciphertext is wrong", first(flip(100))),
    Bad("chunk-nonce-flipped", "§6.5", SIGNATURE, "one bit of the nonce is wrong", first(flip(40))),
    Bad("chunk-signature-flipped", "§6.5", SIGNATURE, "one bit of the signature is wrong",
        first(flip(-1))),
    Bad("chunk-signature-zero", "§6.5", SIGNATURE, "the signature is zeros",
        first(lambda chunk: chunk[:-SIGNATURE_SIZE] + bytes(SIGNATURE_SIZE))),
    Bad("chunk-truncated", "§6.1", "format", "the first chunk lacks its last octet",
        first(lambda chunk: chunk[:-1])),
    Bad("chunk-cut-to-header", "§6.1", "format", "nothing but the header",
        first(lambda chunk: chunk[:44])),
    Bad("chunk-empty", "§6.1", "format", "a chunk of no octets", first(lambda chunk: b"")),
    Bad("chunk-extended", "§6.1", "format", "an octet follows the first chunk",
        first(lambda chunk: chunk + b"\0")),
    Bad("chunk-too-large", "§6.1", "format.limit", "one octet longer than the largest chunk",
        lambda forger: forger.chunks.__setitem__(0, forger.oversized(0))),
    Bad("chunk-magic", "§6.1", "format", "another magic number", header(0, 0, 0)),
    Bad("chunk-version", "§6.1", "format.version", "a chunk of version 2", header(0, 3, ord("2"))),
    Bad("chunk-flag-reserved", "§6.1", "format.version", "a reserved flag is set", header(0, 4, 2)),
    Bad("chunk-reserved-octet", "§6.1", "format.version", "a reserved octet is set",
        header(0, 6, 1)),
    Bad("chunk-length-lie", "§6.1", "format", "the header states another length", header(0, 31, 0)),
    Bad("chunk-of-another-parcel", "§12.1", "integrity", "the first chunk of another parcel",
        swap(lambda chunks: [another().chunks[0], chunks[1]])),
    Bad("chunk-relabelled", "§6.5", SIGNATURE, "a chunk of another parcel with the id exchanged",
        swap(lambda chunks: [
            another().chunks[0][:8] + two_chunks().id + another().chunks[0][24:], chunks[1]])),
    Bad("chunks-swapped", "§12.1", "integrity", "the two chunks are exchanged",
        swap(lambda chunks: chunks[::-1])),
    Bad("chunk-duplicated", "§12.1", "integrity", "the first chunk twice",
        swap(lambda chunks: [chunks[0], chunks[0]])),
    Bad("chunk-missing", "§12.1", "integrity.incomplete", "the last chunk is missing",
        swap(lambda chunks: chunks[:1])),
    Bad("chunks-missing", "§12.1", "integrity.incomplete", "no chunk is there",
        swap(lambda chunks: [])),
    Bad("chunk-beyond-the-end", "§12.1", "integrity", "a third chunk follows",
        swap(lambda chunks: [*chunks, chunks[1]])),
    Bad("chunk-not-last", "§12.1", "integrity", "the last chunk does not say so", header(1, 4, 0)),
    Bad("chunk-last-too-early", "§12.1", "integrity", "the first chunk says that it is the last",
        header(0, 4, 1)),
    Bad("chunk-of-another-index", "§12.1", "integrity",
        "chunk 0 calls itself chunk 1, rightly signed",
        header(0, 27, 1)),
    Bad("chunk-signed-for-another-index", "§6.5", SIGNATURE,
        "the signature on chunk 0 is for place 1",
        signed_for_another_index),
    Bad("chunk-signed-by-another-key", "§6.5", SIGNATURE, "another parcel's chunk key signed",
        first(lambda chunk: chunk[:-SIGNATURE_SIZE] + another().chunk_signer.sign(chunk))),
    Bad("chunk-not-the-sealed-one", "§8", "integrity.digest",
        "a chunk from before the files changed: signed, but not sealed", earlier_version),
    Bad("chunk-under-another-key", "§6.3", "integrity",
        "encrypted under a key that is not the parcel's",
        under_another_key, public="success"),
    Bad("chunk-nonce-changed", "§6.1", "integrity", "the nonce is not that of the ciphertext",
        lambda forger: at_place(forger, 0, flip(43)(forger.chunks[0][:-SIGNATURE_SIZE])),
        public="success"),
)  # fmt: skip


# --- payloads -----------------------------------------------------------------------------


def trailer(**changes: int) -> Change:
    """Set fields of the trailer of the first payload."""
    return lambda forger: forger.set_payload(0, forger.trailer(forger.payload(0), **changes))


def payload(change: Callable[[Forger], bytes | bytearray]) -> Change:
    """Seal what *change* returns as the first payload."""
    return lambda forger: forger.set_payload(0, change(forger))


def encoded(data: bytes, *, codec: int = 1) -> Change:
    """Seal *data* as the encoded form of the first chunk of `compressed`."""

    def forge(forger: Forger) -> None:
        old = forger.payload(0)
        tail = old[int.from_bytes(old[-12:-8]) :]
        changed = forger.trailer(bytearray(data) + tail, encoded=len(data), codec=codec)
        forger.set_payload(0, changed)

    return forge


FRAME = zstandard.ZstdCompressor().compress(PLAIN)


def claims(size: int) -> bytes:
    """Return a frame of an empty block that claims to unpack to *size* octets."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\0\0"


def bad_payload(name: str, expect: str, comment: str, change: Change, spec: str = "§6.2") -> Bad:
    """Return a scenario with a bad stored payload."""
    return Bad(f"payload-{name}", spec, expect, comment, change, public="success")


def bad_codec(name: str, comment: str, change: Change) -> Bad:
    """Return a scenario in which the encoded octets of a compressed chunk are bad."""
    return Bad(f"codec-{name}", "§13.4", "integrity.codec", comment, change,
               public="success", base="compressed")  # fmt: skip


PAYLOADS = (
    bad_payload("reserved", "format.version", "a reserved octet of the trailer is set",
        trailer(reserved=1)),
    bad_payload("plain-size", "integrity", "another plain size than the layout's",
        trailer(plain=1023)),
    bad_payload("pieces", "integrity", "another number of pieces than the layout's",
        trailer(pieces=2)),
    bad_payload("pieces-2-32", "integrity", "2^32-1 pieces", trailer(pieces=0xFFFFFFFF)),
    bad_payload("encoded-size", "format", "more encoded octets than the payload has",
                trailer(encoded=0xFFFFFFFF)),
    bad_payload("encoded-into-digests", "format", "the encoded octets reach into the digests",
                trailer(encoded=1025)),
    bad_payload("only-trailer", "format", "a payload without content and digests",
                payload(lambda forger: forger.payload(0)[-16:])),
    bad_payload("padding", "format", "padding that is not zero",
                payload(lambda forger: forger.stored_payload(octets("content", 1024),
                padding=b"\0\1\0"))),
    bad_payload("piece-digest", "integrity", "the digest of the piece is another one",
                payload(lambda forger: flip(1030)(bytes(forger.payload(0))))),
    bad_payload("content", "integrity", "one bit of the content is wrong",
                payload(lambda forger: flip(0)(bytes(forger.payload(0))))),
    bad_payload("stored-short", "integrity.codec", "fewer stored octets than plain ones",
                payload(lambda forger: forger.trailer(
                    forger.stored_payload(octets("content", 1023)), plain=1024))),
    bad_codec("unknown", "codec 255", trailer(codec=255)),
    bad_codec("store-for-zstd", "a frame that says it is stored", trailer(codec=0)),
    bad_codec("zstd-garbage", "no frame at all", encoded(octets("garbage", 60))),
    bad_codec("zstd-truncated", "the frame lacks its last octet", encoded(FRAME[:-1])),
    bad_codec("zstd-trailing", "an octet follows the frame", encoded(FRAME + b"\0")),
    bad_codec("zstd-two-frames", "an empty frame follows",
              encoded(FRAME + zstandard.ZstdCompressor().compress(b""))),
    bad_codec("zstd-skippable", "a skippable frame follows",
              encoded(FRAME + b"\x50\x2a\x4d\x18\0\0\0\0")),
    bad_codec("zstd-no-size", "the frame does not state its content size",
              encoded(zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN))),
    bad_codec("zstd-checksum", "the frame has a checksum",
              encoded(zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN))),
    bad_codec("zstd-bomb", "a frame that claims 2^60 octets", encoded(claims(1 << 60))),
    bad_codec("zstd-longer", "a frame of one octet too many",
              encoded(zstandard.ZstdCompressor().compress(PLAIN + b"x"))),
    bad_codec("zstd-shorter", "a frame that claims the plain size and holds nothing",
              encoded(claims(len(PLAIN)))),
    bad_codec("planes-garbage", "octets that are no planes",
        encoded(octets("garbage", 60), codec=2)),
)  # fmt: skip


# --- seals --------------------------------------------------------------------------------


def seal(name: str, value: object) -> Change:
    """Set a field of the seal."""
    return lambda forger: forger.seal.__setitem__(name, value)


def listing(change: Callable[[bytes], bytes]) -> Change:
    """Change the list of chunk digests before the seal is signed."""

    def forge(forger: Forger) -> None:
        forger.seal["chunks"] = change(
            b"".join(INTL.digest(one[:-SIGNATURE_SIZE]).value for one in forger.chunks)
        )

    return forge


def sealed_by(signers: Sequence[Signer]) -> Change:
    """Let *signers* sign the seal instead of the sender."""

    def forge(forger: Forger) -> Octets:
        made = forger.octets()
        label, body, _ = cbor2.loads(made.seal)
        return replace(made, seal=signed.sign(label, body, signers).encode())

    return forge


def seal_octets(change: Callable[[Forgery], bytes]) -> Change:
    """Exchange the finished seal."""

    def forge(forger: Forger) -> Octets:
        made = forger.octets()
        return replace(made, seal=change(made))

    return forge


SEALS = (
    Bad("seal-missing", "§12.1", "integrity.incomplete", "no seal", seal_octets(lambda made: b"")),
    Bad("seal-of-another-parcel", "§8", "integrity",
        "the seal of another parcel of the same sender",
        seal_octets(lambda made: another().seal)),
    Bad("seal-of-another-envelope", "§8", "integrity", "the seal of an earlier envelope",
        seal("envelope", bytes(32))),
    Bad("seal-of-another-manifest", "§8", "integrity", "the seal names another manifest",
        seal("manifest", bytes(32))),
    Bad("seal-parcel-changed", "§8", "integrity", "the seal names another parcel id",
        seal("parcel", bytes(16))),
    Bad("seal-short", "§8", "format", "one digest too few", listing(lambda digests: digests[:-32])),
    Bad("seal-long", "§8", "format", "one digest too many",
        listing(lambda digests: digests + bytes(32))),
    Bad("seal-digests-swapped", "§8", "integrity.digest", "two digests are exchanged",
        listing(swap_digests)),
    Bad("seal-digest-wrong", "§8", "integrity.digest", "one bit of a digest is wrong",
        listing(flip(63))),
    Bad("seal-by-the-recipient", "§8", SIGNATURE, "b sealed the parcel of a", sealed_by(B.signers)),
    Bad("seal-signature-missing", "§3.3", SIGNATURE, "only Ed25519 signed",
        sealed_by(A.signers[:1])),
    Bad("seal-flipped", "§3.3", SIGNATURE, "one bit of the body is wrong",
        seal_octets(lambda made: flip(60)(made.seal))),
    Bad("seal-truncated", "§2.3", "format", "the seal lacks its last octet",
        seal_octets(lambda made: made.seal[:-1])),
    Bad("seal-labelled-receipt", "§3.1", "format", "the seal is labelled as a receipt",
        lambda forger: setattr(forger, "seal_label", "medshare/1 receipt")),
    Bad("seal-critical", "§2.5", "format.version", "an unknown extension must be understood",
        seal("critical", {"quorum": 2})),
    Bad("seal-field-unknown", "§2.4", "format", "a field that does not exist",
        seal("colour", "blue")),
    Bad("seal-time", "§1.2", "format.limit", "sealed after the year 9999", seal("sealed", 1 << 63)),
)  # fmt: skip

CONTENT = (*CHUNKS, *PAYLOADS, *SEALS)
