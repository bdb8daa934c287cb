"""viewing: what files are, and pictures of them."""

import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.errors import FormatError, LimitError
from medshare.viewing import dicom
from medshare.viewing.contents import MAX_TEXT, cbor_text, picture, shown
from medshare.viewing.kinds import Kind, kind_of, media_type
from medshare.viewing.png import encode_png

PNG = encode_png(np.zeros((2, 3), np.uint8))


def slices(frames: int = 1, *, rows: int = 8, columns: int = 6, **changes: Any) -> bytes:
    """A small DICOM file of grey pictures, in each of which one pixel is bright."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\x00" * 128)
    dataset.PatientName, dataset.Modality = "Test^Patient", "CT"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, frames
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    pixels = np.zeros((frames, rows, columns), np.uint16)
    for number in range(frames):
        pixels[number, number % rows, 0] = 4000
    dataset.PixelData = pixels.tobytes()
    for name, value in changes.items():
        setattr(dataset, name, value)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def pixels_of(png: bytes) -> Any:
    """The pixels of a grey PNG, read without our own writer."""
    at, parts = 8, b""
    width, height = struct.unpack(">II", png[16:24])
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            name + data
        )
        parts += data if name == b"IDAT" else b""
        at += 12 + size
    lines = np.frombuffer(zlib.decompress(parts), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


# --- kinds ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, Kind.IMAGE),
        (b"\xff\xd8\xff\xe0 rest", Kind.IMAGE),
        (b"RIFF0000WEBPVP8 ", Kind.IMAGE),
        (b"RIFX0000WEBPVP8 \x00", Kind.OTHER),
        (b"%PDF-1.7", Kind.PDF),
        (b"\x00" * 128 + b"DICM", Kind.DICOM),
        (b"\xd9\xd9\xf7\xa0", Kind.CBOR),
        ("Befund: unauffällig\n".encode(), Kind.TEXT),
        (b"<html><script>alert(1)</script>", Kind.TEXT),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", Kind.TEXT),
        (b"\x00\x01\x02", Kind.OTHER),
        (b"\x1b[2J", Kind.OTHER),
        (b"", Kind.TEXT),
        (("ä" * (1 << 16)).encode(), Kind.TEXT),
        (b"a" * (1 << 16) + b"\xff", Kind.TEXT),
    ],
)
def test_files_are_known_by_their_content(data: bytes, kind: Kind) -> None:
    """By what they begin with; what a browser would run is a text."""
    assert kind_of(data) is kind


@given(st.binary(max_size=300))
def test_nothing_that_a_browser_would_run_is_called_so(data: bytes) -> None:
    """Whatever the octets, the type is of a closed list, without HTML, SVG and scripts."""
    assert media_type(data).partition("/")[2] in {
        "png", "jpeg", "gif", "webp", "pdf", "dicom", "cbor", "plain", "octet-stream",
    }  # fmt: skip


@given(st.binary(max_size=300))
def test_showing_anything_ends_well(data: bytes) -> None:
    """Whatever a file holds, what is shown is bounded, and nothing but our errors is raised."""
    for head in (b"", b"\x00" * 128 + b"DICM", b"\xd9\xd9\xf7"):
        found = shown(head + data)
        assert len(found.text) <= MAX_TEXT


def test_a_long_text_is_cut_and_says_so() -> None:
    """A text beyond the bound shows its beginning."""
    found = shown(b"a" * (MAX_TEXT + 1))
    assert (len(found.text), found.problem) == (MAX_TEXT, "only its beginning")


def test_cbor_is_shown_bounded() -> None:
    """Maps, lists, octets and texts are listed; depth and length are bounded."""
    import cbor2

    text = cbor_text(cbor2.dumps({"a": [1, b"\xff" * 40], "b": {"c": None}}))
    assert "a: 2 items" in text
    assert "ffff" in text
    assert "…" in text
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert "…" in cbor_text(cbor2.dumps(deep))
    assert cbor_text(b"\xd9\xd9\xf7\xff") == "(damaged)"


def shared_references(levels: int) -> bytes:
    """CBOR in which each array holds the one before it twice, by reference (tags 28 and 29)."""
    arrays = [b"\xd8\x1c\x82\x00\x00"]
    for number in range(levels - 1):
        reference = b"\xd8\x1d" + (b"" if number < 24 else b"\x18") + bytes([number])
        arrays.append(b"\xd8\x1c\x82" + reference * 2)
    return b"\x98" + bytes([levels]) + b"".join(arrays)


@pytest.mark.parametrize("head", [b"\xa1", b"\xd9\x01\x02", b"\x81"], ids=["key", "set", "list"])
def test_references_in_cbor_cost_no_more_than_they_have_octets(head: bytes) -> None:
    """A few hundred octets that stand for 2^60 values, as a key or in a set, are shown at once."""
    bomb = b"\xd9\xd9\xf7" + head + shared_references(60) + b"\x00" * (head == b"\xa1")
    assert len(shown(bomb).text) < 100_000


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"\xc2\x59\x80\x00" + b"\xff" * 32768, id="number of 79,000 digits"),
        pytest.param(b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x01", id="decimal of 2^62 digits"),
        pytest.param(b"\xd8\x23\x67(a+)+$(", id="regular expression"),
        pytest.param(b"\x9b" + b"\x7f" * 8, id="array of 2^62 items"),
    ],
)
def test_cbor_that_means_more_than_it_holds_is_shown_bare(odd: bytes) -> None:
    """Numbers, patterns and lengths beyond measure are listed as octets, or called damaged."""
    assert len(shown(b"\xd9\xd9\xf7" + odd).text) < 1000


def test_cbor_beyond_the_bound_is_not_decoded() -> None:
    """An item of one octet costs eighty in memory: what is too large is said to be."""
    found = shown(b"\xd9\xd9\xf7" + b"\x80" * MAX_TEXT)
    assert (found.text, found.problem) == ("", "this file is too large to be shown")


# --- DICOM -------------------------------------------------------------------------------


def test_a_header_is_summed_up() -> None:
    """Patient, modality and size are there; so is how it is encoded."""
    found = shown(slices(3))
    rows = dict(found.rows)
    assert (found.kind, found.pictures) == (Kind.DICOM, 3)
    assert (rows["PatientName"], rows["Modality"], rows["Rows"]) == ("Test^Patient", "CT", "8")
    assert rows["TransferSyntax"] == "Explicit VR Little Endian"


@pytest.mark.parametrize("frame", [0, 2])
def test_a_frame_becomes_a_picture(frame: int) -> None:
    """The bright pixel of each frame is where it was, and the others are dark."""
    made, media = picture(slices(3), frame)
    assert media == "image/png"
    pixels = pixels_of(made)
    assert pixels.shape == (8, 6)
    assert (int(pixels[frame, 0]), int(pixels.sum())) == (255, 255)


def test_inverted_and_windowed_pictures_are_shown_as_they_are_meant() -> None:
    """MONOCHROME1 is white where it is zero; a window clips what lies outside of it."""
    inverted = pixels_of(dicom.frame(slices(PhotometricInterpretation="MONOCHROME1"), 0))
    assert (int(inverted[0, 0]), int(inverted[5, 5])) == (0, 255)
    windowed = slices(WindowCenter="2000", WindowWidth="4000")
    assert int(pixels_of(dicom.frame(windowed, 0))[0, 0]) == 255


@pytest.mark.parametrize(
    ("centre", "width", "grey"), [(2000, 4000, 255), (4000, 4000, 128), (10000, 10, 0)]
)
def test_a_window_can_be_chosen(centre: int, width: int, grey: int) -> None:
    """Values below the window are black, above it white, and in the middle grey."""
    made, _ = picture(slices(), 0, dicom.Window(centre, width))
    assert int(pixels_of(made)[0, 0]) == grey
    assert int(pixels_of(made)[5, 5]) == 0


def test_a_flat_picture_is_shown() -> None:
    """A picture of one grey alone divides by nothing."""
    flat = slices(PixelData=np.full((8, 6), 7, np.uint16).tobytes())
    assert pixels_of(dicom.frame(flat, 0)).shape == (8, 6)


def test_pictures_that_are_none_are_refused() -> None:
    """A frame that is not there, pixels that are missing, and sizes beyond the bound."""
    with pytest.raises(FormatError):
        dicom.frame(slices(2), 2)
    with pytest.raises(FormatError):
        dicom.frame(slices(PixelData=b"\x00" * 10), 0)
    with pytest.raises(LimitError):
        dicom.frame(slices(Rows=60000, Columns=60000), 0)
    with pytest.raises(FormatError):
        dicom.summary(b"\x00" * 128 + b"DICM" + b"\xff" * 40)


def test_a_file_that_is_deflated_as_a_whole_is_never_inflated() -> None:
    """A few octets could stand for gigabytes, which pydicom would inflate without a bound."""
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    dataset = dcmread(io.BytesIO(slices()))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out)
    found = shown(out.getvalue())
    assert (found.rows, found.pictures) == ((), 0)
    assert "deflated as a whole" in found.problem
    with pytest.raises(FormatError, match="deflated as a whole"):
        dicom.frame(out.getvalue(), 0)


def test_pydicom_keeps_to_itself_what_it_thinks_of_a_file(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """Values that are malformed may be names of patients: no warning repeats them."""
    odd = slices().replace(b"Test^Patient", b"Te=t=P=tient")
    dicom.summary(odd)
    dicom.frame(odd, 0)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_a_compression_without_a_decoder_is_named() -> None:
    """What nothing on this machine decodes is said by its name, and not shown as damage."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate
    from pydicom.uid import HTJ2KLossless

    dataset = dcmread(io.BytesIO(slices()))
    dataset.PixelData = encapsulate([b"x" * 10])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    out = io.BytesIO()
    dataset.save_as(out)
    with pytest.raises(FormatError, match="no decoder here for pictures in High-Throughput"):
        dicom.frame(out.getvalue(), 0)


def test_without_pydicom_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the extra shows everything but DICOM, and says why."""
    data = slices()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "pydicom" in shown(data).problem
    assert shown(b"a text").text == "a text"


def test_colours_are_kept() -> None:
    """A picture of three samples a pixel is a coloured PNG."""
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    data = slices(
        rows=4,
        columns=4,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=red.tobytes(),
    )
    made = dicom.frame(data, 0)
    assert made[25] == 2
    assert made == encode_png(red)
