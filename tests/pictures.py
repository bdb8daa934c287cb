"""Made-up images and the DICOM files around them, for the codecs."""

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Order = Literal["little", "big"]


def picture(rows: int, columns: int, *, seed: int = 0, noise: float = 4) -> NDArray[np.uint16]:
    """A smooth image of 12 bits with noise; the same numbers give the same image."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    smooth = 900 + 700 * np.sin(y / 17 + seed) * np.cos(x / 23) + 200 * (x > columns // 2)
    noisy: NDArray[np.float64] = smooth + random.normal(0, noise, smooth.shape)
    return noisy.clip(0, 4095).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Image:
    """What is in a file, and how it is written."""

    rows: int
    columns: int
    bits: int = 16
    samples: int = 1
    planar: bool = False
    frames: int = 1
    order: Order = "little"
    explicit: bool = True
    header: int = 100
    """Octets of a private element before the image."""
    seed: int = 0
    noise: float = 4

    def pixels(self) -> bytes:
        """The value of the pixel data element, padded to an even length."""
        values = np.concatenate(
            [
                picture(
                    self.rows, self.columns * self.samples, seed=self.seed + n, noise=self.noise
                )
                for n in range(self.frames)
            ]
        )
        if self.bits == 16:
            data = values.astype("<u2" if self.order == "little" else ">u2").tobytes()
        else:
            data = (values >> 4).astype(np.uint8).tobytes()
        return data + bytes(len(data) % 2)

    def file(self) -> bytes:
        """The whole file: preamble, attributes, a private element, pixels."""
        short = [
            (0x0028, 0x0002, self.samples),
            *([(0x0028, 0x0006, int(self.planar))] if self.samples > 1 else []),
            (0x0028, 0x0010, self.rows),
            (0x0028, 0x0011, self.columns),
            (0x0028, 0x0100, self.bits),
        ]
        body = b"".join(self.element(g, e, b"US", self.number(value)) for g, e, value in short)
        private = np.random.default_rng(self.seed).bytes(self.header // 2 * 2)
        body += self.element(0x0029, 0x1010, b"OB", private)
        return bytes(128) + b"DICM" + body + self.element(0x7FE0, 0x0010, b"OW", self.pixels())

    def number(self, value: int) -> bytes:
        """An unsigned short."""
        return value.to_bytes(2, self.order)

    def element(self, group: int, number: int, kind: bytes, value: bytes) -> bytes:
        """A data element, explicit or implicit."""
        tag = self.number(group) + self.number(number)
        mark = "<" if self.order == "little" else ">"
        if not self.explicit:
            return tag + struct.pack(f"{mark}I", len(value)) + value
        if kind == b"US":
            return tag + kind + struct.pack(f"{mark}H", len(value)) + value
        return tag + kind + b"\0\0" + struct.pack(f"{mark}I", len(value)) + value


def images() -> st.SearchStrategy[Image]:
    """Draw any kind of image that is recognized."""
    return st.sampled_from(
        [
            Image(64, 80),
            Image(61, 97, seed=1),
            Image(64, 64, frames=3, seed=2),
            Image(90, 70, bits=8, seed=3),
            Image(50, 60, bits=8, samples=3, seed=4),
            Image(50, 60, bits=8, samples=3, planar=True, seed=5),
            Image(64, 80, order="big", seed=6),
            Image(64, 80, explicit=False, seed=7),
            Image(64, 80, header=6000, seed=8),
            Image(80, 64, noise=0, seed=9),
        ]
    )


def studies() -> st.SearchStrategy[bytes]:
    """Draw a window over files laid end to end, cut anywhere."""
    files = st.lists(images(), min_size=1, max_size=8).map(
        lambda drawn: b"".join(image.file() for image in drawn)
    )
    return files.flatmap(
        lambda data: st.tuples(
            st.integers(0, len(data) // 2), st.integers(len(data) // 2, len(data))
        ).map(lambda ends: data[ends[0] : ends[1]])
    )
