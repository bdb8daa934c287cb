"""Grey and coloured pixels as PNG (W3C, third edition), eight bits a sample, in memory."""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return *pixels*, of shape (rows, columns) or (rows, columns, 3), as a PNG."""
    rows, columns = pixels.shape[:2]
    colour = _RGB if pixels.ndim == 3 else _GREY
    lines = np.zeros((rows, 1 + pixels[0].size), np.uint8)  # each begins with filter 0
    lines[:, 1:] = pixels.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _part(b"IHDR", header),
            _part(b"IDAT", zlib.compress(lines.tobytes(), 1)),
            _part(b"IEND", b""),
        )
    )


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
