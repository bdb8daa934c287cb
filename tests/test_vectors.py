"""The vectors of the sealed format: opened, checked without any key, and written again."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest

from medshare import errors, signed
from medshare.chunk import parse_trailer
from medshare.codecs import PLANES, STORE, ZSTD
from medshare.envelope import encode_envelope, parse_envelope
from medshare.errors import FormatError, MedshareError, NoIdentityMatchError
from medshare.manifest import FileEntry, Manifest, check_path
from medshare.packing import ChunkOpener
from medshare.receipt import encode_receipt, parse_receipt
from medshare.seal import encode_seal, parse_seal
from medshare.sealing import key_id, open_manifest, unwrap_parcel_key
from medshare.trust.card import parse_card
from tests.builder import open_parcel, verify_parcel
from tests.vector_files import EXPECT, PATHS, Vector, all_vectors, listing_of, stations

VECTORS = {vector.name: vector for vector in all_vectors()}
STATIONS = stations()
HONEST = 48
DISHONEST = 300

PARCELS = [name for name, vector in VECTORS.items() if vector.kind == "parcel"]
GOOD = [name for name, vector in VECTORS.items() if vector.expect == "success"]


def ends_in(action: Callable[[], object]) -> str:
    """Return `success`, or the code of the error that *action* ends in."""
    try:
        action()
    except MedshareError as error:
        return error.code
    return "success"


def read(vector: Vector) -> object:
    """Read the vector as its recipient does."""
    if vector.kind == "card":
        return parse_card(vector.objects["card"])
    if vector.kind == "receipt":
        return parse_receipt(vector.objects["receipt"])
    sender = STATIONS[vector.sender].card
    return open_parcel(vector, STATIONS[vector.recipient], sender)


def test_all_vectors_are_there() -> None:
    """No vector is lost unnoticed, and no scenario goes by another verdict than the closed set."""
    assert len(GOOD) == HONEST
    assert len(VECTORS) - len(GOOD) == DISHONEST
    assert {vector.expect for vector in VECTORS.values()} == EXPECT
    assert {vector.public for vector in VECTORS.values()} <= EXPECT


def test_verdicts_are_the_codes_of_errors() -> None:
    """Each verdict is the code of exactly one class of error, and the specification lists it."""
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    codes = [one.code for one in classes if issubclass(one, MedshareError)]
    text = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `([a-z.-]+)` \| [a-z]", text.split("## 2.")[0], re.MULTILINE)
    of_cards = {"authenticity.revoked"}  # what a reader knows of the sender, not of the parcel
    assert {*table, "success"} - of_cards == EXPECT
    for verdict in EXPECT - {"success"}:
        assert codes.count(verdict) == 1


@pytest.mark.parametrize("name", VECTORS)
def test_reading_ends_as_stated(name: str) -> None:
    """Opening a vector succeeds, or fails with exactly the stated kind of fault."""
    vector = VECTORS[name]
    assert ends_in(lambda: read(vector)) == vector.expect


@pytest.mark.parametrize("name", PARCELS)
def test_public_checks_end_as_stated(name: str) -> None:
    """Checking a parcel without any key ends as stated."""
    vector = VECTORS[name]
    assert ends_in(lambda: verify_parcel(vector)) == vector.public


@pytest.mark.parametrize("name", [name for name in GOOD if VECTORS[name].kind == "parcel"])
def test_files_come_out_as_stated(name: str) -> None:
    """An honest parcel holds exactly the stated files, for every recipient and the sender."""
    vector = VECTORS[name]
    sender = STATIONS[vector.sender].card
    envelope = parse_envelope(vector.envelope)
    wrapped_to = {stanza.key_id for stanza in envelope.recipients}
    opened = 0
    for reader in STATIONS.values():
        held = {key_id(envelope.cipher_suite, one.public) for one in reader.openers}
        if held & wrapped_to:
            assert listing_of(open_parcel(vector, reader, sender)) == vector.files
            opened += 1
        else:
            with pytest.raises(NoIdentityMatchError):
                open_parcel(vector, reader, sender)
    assert opened == len(wrapped_to)


def body_of(octets: bytes) -> bytes:
    """Return the signed body inside *octets*, after checking that it re-encodes alike."""
    label = re.search(rb"medshare/1 [a-z]+", octets)
    assert label is not None
    found = signed.parse(octets, label=label[0].decode(), limit=1 << 20, what="it")
    assert found.encode() == octets
    return found.body


@pytest.mark.parametrize("name", sorted({*GOOD} - {"extra-is-ignored"}))
def test_what_parses_is_written_again_alike(name: str) -> None:
    """Whatever parses re-encodes to the same octets, so that nothing has two forms."""
    vector = VECTORS[name]
    signers = STATIONS[vector.sender].signers
    if vector.kind == "receipt":
        octets = vector.objects["receipt"]
        again = encode_receipt(parse_receipt(octets), STATIONS[vector.recipient].signers)
        assert body_of(again) == body_of(octets)
    elif vector.kind == "card":
        card = parse_card(vector.objects["card"])
        entries = cbor2.loads(card.encoded)[1]
        assert [one.body() for one in card.generations] == [body_of(one) for one in entries]
    else:
        envelope = parse_envelope(vector.envelope)
        assert body_of(encode_envelope(envelope, signers)[1]) == body_of(vector.envelope)
        seal = parse_seal(vector.seal, envelope)
        assert body_of(encode_seal(seal, envelope, signers)[1]) == body_of(vector.seal)


@pytest.mark.parametrize("name", STATIONS)
def test_stations_have_the_keys_of_their_cards(name: str) -> None:
    """The secret keys of a station are those of the newest generation of its card."""
    station = STATIONS[name]
    current = station.card.current
    assert tuple(one.public for one in station.signers) == current.sign_keys
    assert tuple(one.public for one in station.openers) == current.kem_keys


LISTED = json.loads(PATHS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", LISTED["refused"].values(), ids=LISTED["refused"].keys())
def test_a_listed_path_is_refused(path: str) -> None:
    """A path that could leave its folder, hide, deceive, or fail on some system is refused."""
    with pytest.raises(FormatError):
        check_path(path)
    with pytest.raises(FormatError):
        Manifest((FileEntry(path, 0),)).encode()
    with pytest.raises(FormatError):
        Manifest((), (path,)).encode()


@pytest.mark.parametrize("paths", LISTED["collide"].values(), ids=LISTED["collide"].keys())
def test_listed_paths_are_refused_together(paths: list[str]) -> None:
    """Paths that some file system would mix up are refused together, though each is fine."""
    for path in paths:
        check_path(path)
    with pytest.raises(FormatError):
        Manifest(tuple(FileEntry(path, 0) for path in paths)).encode()


def test_listed_paths_are_accepted() -> None:
    """Names that merely look unusual, in any script, are accepted."""
    Manifest(tuple(FileEntry(path, 0) for path in LISTED["allowed"])).encode()
    assert len(LISTED["allowed"]) > 10


def test_the_key_is_the_same_for_all() -> None:
    """Both recipients of a parcel unwrap the same key and read the same manifest."""
    vector = VECTORS["two-recipients"]
    envelope = parse_envelope(vector.envelope)
    keys = {
        unwrap_parcel_key(envelope, STATIONS[name].station, STATIONS[name].openers).value
        for name in ("a", "b", "c")
    }
    assert len(keys) == 1
    key = unwrap_parcel_key(envelope, STATIONS["c"].station, STATIONS["c"].openers)
    assert open_manifest(vector.manifest, key, envelope).files


@pytest.mark.parametrize(
    ("name", "codec"), [("codec-store", STORE), ("compressed", ZSTD), ("codec-planes", PLANES)]
)
def test_each_codec_has_its_vector(name: str, codec: int) -> None:
    """There is a vector whose first chunk was encoded with each of the three codecs."""
    vector = VECTORS[name]
    envelope = parse_envelope(vector.envelope)
    key = unwrap_parcel_key(envelope, STATIONS["b"].station, STATIONS["b"].openers)
    out = memoryview(bytearray(len(vector.chunks[0])))
    payload = ChunkOpener(envelope, key).open(memoryview(vector.chunks[0]), out)
    assert parse_trailer(payload).codec == codec
