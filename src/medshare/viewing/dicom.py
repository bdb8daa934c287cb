"""DICOM files in memory: what a header says, and single frames as pictures.

pydicom is an extra (`medshare[view]`).  What is parsed was sealed by a sender who is trusted,
and is bounded all the same.  These pictures are for finding one's way, not for diagnosis: they
are eight bits deep, and no display was calibrated for them.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from medshare.errors import FormatError, LimitError, UsageError
from medshare.viewing.png import encode_png

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

MAX_PIXELS: Final = 1 << 25
"""Pixels of one frame that are shown at most: each costs some 30 octets on the way."""
_MAX_VALUE: Final = 200
_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_SHOWN: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "Modality",
    "StudyDate",
    "StudyDescription",
    "SeriesNumber",
    "SeriesDescription",
    "BodyPartExamined",
    "InstanceNumber",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "SliceLocation",
    "WindowCenter",
    "WindowWidth",
    "Manufacturer",
    "InstitutionName",
)


@contextmanager
def _dicom_errors() -> Iterator[None]:
    """Translate what pydicom raises for files that are none, or that it cannot decode."""
    try:
        yield
    except (FormatError, LimitError, UsageError):
        raise
    except ImportError as error:
        raise UsageError(
            "DICOM files are shown with pydicom, which is not installed",
            hint="pip install 'medshare[view]'",
        ) from error
    except MemoryError as error:
        raise LimitError("this DICOM file is too large to be shown") from error
    except Exception as error:  # a hostile file makes pydicom raise nearly anything
        raise FormatError(f"this DICOM file cannot be shown: {type(error).__name__}") from error


def _dataset(data: bytes) -> "FileDataset":
    from pydicom import dcmread

    _silence()
    _require_not_deflated(data)
    return dcmread(BytesIO(data))


def _require_not_deflated(data: bytes) -> None:
    """Raise FormatError for the transfer syntax that deflates the whole file (PS3.5 A.5).

    pydicom inflates it without a bound: a megabyte would fill the memory.  What it reads first
    to know that is read here with its own functions, so that both come to the same answer.
    """
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    start = BytesIO(data)
    read_preamble(start, force=False)
    meta = _read_file_meta_info(start)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise FormatError("DICOM files that are deflated as a whole are not shown here")


@cache
def _silence() -> None:
    """Let pydicom say nothing on its own: its warnings repeat values, such as names."""
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


def summary(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return names and values of what matters in the header of the DICOM file *data*.

    Raises FormatError when it is none, UsageError when pydicom is not installed.
    """
    with _dicom_errors():
        dataset = _dataset(data)
        rows = [(name, str(dataset.get(name, "") or "")) for name in _SHOWN]
        rows.append(("TransferSyntax", dataset.file_meta.TransferSyntaxUID.name))
    return tuple((name, value[:_MAX_VALUE]) for name, value in rows if value)


def frame_count(data: bytes) -> int:
    """Return how many pictures the DICOM file *data* holds."""
    with _dicom_errors():
        dataset = _dataset(data)
        return int(dataset.get("NumberOfFrames", 1) or 1) if "PixelData" in dataset else 0


@dataclass(frozen=True, slots=True)
class Window:
    """Which values are shown from black to white (PS3.3 C.11.2), in the units of the file."""

    centre: int
    width: int


def frame(data: bytes, number: int, window: Window | None = None) -> bytes:
    """Return frame *number* of the DICOM file *data* as PNG, or as the JPEG that it is.

    Without a *window*, the one that the file states is used, or one that shows nearly all.

    Raises FormatError when there is none, or its compression is not understood here,
    LimitError when it is too large.
    """
    with _dicom_errors():
        dataset = _dataset(data)
        if int(dataset.Rows) * int(dataset.Columns) > MAX_PIXELS:
            raise LimitError("this picture is too large to be shown")
        if dataset.file_meta.TransferSyntaxUID == _JPEG_BASELINE:
            return _encapsulated(dataset, number)
        _require_decoder(dataset)
        return encode_png(_displayed(dataset, number, window))


def _require_decoder(dataset: "FileDataset") -> None:
    """Raise FormatError when pictures are compressed in a way that nothing here decodes."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not get_decoder(syntax).is_available:
        raise FormatError(f"there is no decoder here for pictures in {syntax.name}")


def _encapsulated(dataset: "FileDataset", number: int) -> bytes:
    from pydicom.encaps import get_frame

    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    return get_frame(dataset.PixelData, number, number_of_frames=frames)


def _displayed(dataset: "FileDataset", number: int, window: Window | None) -> NDArray[np.uint8]:
    """Return the pixels rescaled, windowed, and eight bits deep; coloured ones as they are."""
    from pydicom.pixels.utils import pixel_array

    pixels = np.asarray(pixel_array(dataset, index=number))
    if pixels.ndim == 3:
        return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    values, low, high = _windowed(pixels, dataset, window)
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 1.0 - scaled
    return (scaled * 255).round().astype(np.uint8)


def _windowed(
    pixels: NDArray[Any], dataset: "FileDataset", window: Window | None
) -> tuple[NDArray[np.float64], float, float]:
    """Return the values to be shown, and which of them are black and white."""
    from pydicom.pixels.processing import apply_rescale, apply_voi_lut

    rescaled = apply_rescale(pixels, dataset)
    if window is not None:
        half = max(window.width, 1) / 2
        values = np.asarray(rescaled, np.float64)
        return values, window.centre - half, window.centre + half
    values = np.asarray(apply_voi_lut(rescaled, dataset), np.float64)
    if "WindowWidth" in dataset or "VOILUTSequence" in dataset:
        return values, float(values.min()), float(values.max())
    low, high = np.percentile(values, (0.5, 99.5))
    return values, float(low), float(high)
