"""The decoders of the sealed format, fed from the vectors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medshare import canonical, sealing, signed
from medshare.chunk import max_payload_size, max_sealed_size, parse_header, parse_payload
from medshare.codecs import PLANES, STORE, ZSTD, Codec
from medshare.envelope import parse_envelope
from medshare.errors import AuthenticityError, CodecError, FormatError, IntegrityError
from medshare.manifest import parse_manifest
from medshare.packing import ChunkOpener, ChunkUnpacker
from medshare.receipt import parse_receipt
from medshare.seal import parse_seal
from medshare.sealing import open_manifest
from medshare.suites.base import SYSTEM_RANDOM, Signer
from medshare.trust.card import armor, dearmor, parse_card
from tests.attacks.fuzz import Target
from tests.builder import CHUNK_SIZE, make_identity, make_parcel, make_receipt
from tests.vector_files import FOLDER, all_vectors

A, B = make_identity("a"), make_identity("b")
GA, GB = make_identity("ga", "gm"), make_identity("gb", "gm")
FILES = {
    "CT/0001.dcm": bytes(range(256)) * 3,
    "CT/0002.dcm": b"\x01\x02" * 900,
    "report.txt": b"nothing to see " * 20,
    "empty": b"",
}
PARCEL = make_parcel(FILES, sender=A, recipients=[B], folders=["none"], note="please look")
GM_PARCEL = make_parcel(FILES, sender=GA, recipients=[GB], label="gm")
SIGNED = (FormatError, AuthenticityError)
LIMIT = 1 << 17


def _objects(*names: str, most: int = 40) -> tuple[bytes, ...]:
    """Return objects of the vectors, the small ones first."""
    found = {
        data
        for vector in all_vectors()
        for name, data in vector.objects.items()
        if name.split("/")[0] in names and len(data) < LIMIT
    }
    return tuple(sorted(found, key=lambda data: (len(data), data))[:most])


def _signed_anew(
    label: str, signers: Sequence[Signer], read: Callable[[bytes], object]
) -> Callable[[bytes], object]:
    """Return a reader of bodies, each of which it signs before it gives it to *read*."""
    return lambda body: read(signed.sign(label, body, signers).encode())


def _body(data: bytes, label: str) -> bytes:
    return signed.parse(data, label=label, limit=LIMIT, what="an example").body


def _decode(data: bytes) -> object:
    return canonical.decode(data, limit=LIMIT, what="an input")


def _card_body(body: bytes) -> object:
    entry = signed.sign("medshare/1 card", body, A.signers).encode()
    return parse_card(canonical.encode(["medshare/1 cards", [entry]]))


def signed_targets() -> Iterator[Target]:
    """Envelope, seal, receipt and card, as a whole and behind the signature."""
    receipt = make_receipt(PARCEL, B)
    envelope = PARCEL.facts

    def seal(data: bytes) -> object:
        return parse_seal(data, envelope)

    wholes: tuple[tuple[str, Callable[[bytes], object], tuple[bytes, ...]], ...] = (
        ("envelope", parse_envelope, (PARCEL.envelope, GM_PARCEL.envelope)),
        ("seal", seal, (PARCEL.seal,)),
        ("receipt", parse_receipt, (receipt,)),
    )
    for name, read, own in wholes:
        label = f"medshare/1 {name}"
        refusals = (*SIGNED, IntegrityError) if name == "seal" else SIGNED
        yield Target(name, read, (*own, *_objects(name)), refusals)
        signers = B.signers if name == "receipt" else A.signers
        body = (_body(own[0], label),)
        yield Target(f"{name} signed anew", _signed_anew(label, signers, read), body, refusals)
    yield Target("card", parse_card, (A.card.encoded, GA.card.encoded, *_objects("card")), SIGNED)
    yield Target("card signed anew", _card_body, (A.card.body,), SIGNED)
    yield Target("card as text", lambda data: parse_card(dearmor(data)), _texts(), SIGNED)


def _texts() -> tuple[bytes, ...]:
    return tuple(armor(one.card).encode() for one in (A, GA))


def _manifest_anew(plain: bytes) -> object:
    """Open a manifest with this content, encrypted with the right key."""
    key, suite = PARCEL.key.derive(PARCEL.suite, "manifest", PARCEL.id), PARCEL.suite
    sealed = sealing._seal_object(plain, key, suite, PARCEL.id, SYSTEM_RANDOM)
    facts = replace(PARCEL.facts, manifest_size=len(sealed), manifest_digest=suite.digest(sealed))
    return open_manifest(sealed, PARCEL.key, facts)


def _read_header(data: bytes) -> object:
    return parse_header(data, chunk_size=CHUNK_SIZE)


def _read_payload(data: bytes) -> object:
    return parse_payload(memoryview(data), plain_size=CHUNK_SIZE, pieces=2)


def _unpack(data: bytes) -> object:
    unpacker = ChunkUnpacker(ChunkOpener(PARCEL.facts, PARCEL.key), PARCEL.layout)
    return unpacker.unpack(0, memoryview(data))


def _unpack_anew(payload: bytes) -> object:
    """Unpack a chunk that its sender made of *payload*, whatever it holds."""
    if len(payload) > max_payload_size(CHUNK_SIZE):
        return None
    out = memoryview(bytearray(max_sealed_size(CHUNK_SIZE)))
    try:
        size, _, _ = PARCEL.sealer.seal(0, memoryview(payload), out)
    except Exception:  # noqa: BLE001  # the sealer is not what is tried
        return None
    return _unpack(bytes(out[:size]))


def chunk_targets() -> Iterator[Target]:
    """Manifests and chunks, in clear and encrypted."""
    manifest = (PARCEL.listing.encode(),)
    yield Target("manifest", parse_manifest, manifest, (FormatError,))
    refusals = (FormatError, IntegrityError)
    yield Target("manifest sealed anew", _manifest_anew, manifest, refusals)
    chunks = (*PARCEL.chunks, *(one for one in _objects("chunks") if len(one) < 4096))
    yield Target("chunk header", _read_header, chunks, (FormatError,))
    yield Target("chunk", _unpack, chunks, refusals)
    opener, room = ChunkOpener(PARCEL.facts, PARCEL.key), bytearray(max_payload_size(CHUNK_SIZE))
    payloads = tuple(bytes(opener.open(memoryview(one), memoryview(room))) for one in PARCEL.chunks)
    yield Target("chunk payload", _read_payload, payloads, refusals)
    yield Target("chunk sealed anew", _unpack_anew, payloads, refusals)


_CODEC = Codec(1 << 20)


def _decode_codec(data: bytes) -> object:
    """Decode: the first octet is the codec, the next three are the size of the plaintext."""
    if len(data) < 4:
        return None
    into = bytearray(int.from_bytes(data[1:4]) % (1 << 20))
    _CODEC.decode(data[0] % 5, memoryview(data)[4:], memoryview(into))
    return None


def _codec_example(file: Path) -> bytes:
    text, _, encoded = file.read_bytes().partition(b"\n\n")
    head = dict(line.split(": ", 1) for line in text.decode().splitlines())
    return bytes([int(head["codec"]) % 5]) + int(head["plain-size"]).to_bytes(8)[5:] + encoded


def targets() -> Iterator[Target]:
    """Return the decoders of the format."""
    encoded = (*_objects("envelope", "receipt", "card"), PARCEL.seal)
    yield Target("canonical cbor", _decode, encoded, (FormatError,))
    yield from signed_targets()
    yield from chunk_targets()
    codecs = tuple(_codec_example(file) for file in sorted((FOLDER / "codecs").glob("*.vector")))
    small = tuple(one for one in codecs if len(one) < LIMIT)
    for codec in (STORE, ZSTD, PLANES):
        seeds = tuple(one for one in small if one[0] == codec)
        yield Target(f"codec {codec}", _decode_codec, seeds, (CodecError,))
