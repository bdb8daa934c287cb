"""Write the vectors of the codecs anew: `python -m tests.vectors.codecs.generate`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3

from medshare.codecs import PLANES, STORE, ZSTD, Codec
from medshare.codecs.frames import Frames
from medshare.codecs.planes import Planes
from medshare.codecs.shapes import (
    BE16,
    BYTES,
    LE16,
    LEFT,
    PLANE,
    RAW,
    RGB,
    UP,
    WORDS,
    Predictor,
)
from medshare.codecs.table import Raster, Run, build_head
from tests.pictures import Image, picture

FOLDER = Path(__file__).parent
CHUNK_SIZE = 1 << 16
SMOOTH = (22, -4, -4, 2, 24, 18, 2, -1, -5, 27, 15, 2, 0, -6)
STEEP = (127, -128, -90, 33, 99, -128, 127, 5, -77, 127, 127, -128, 127, -128)
PLANES_CODER = Planes(CHUNK_SIZE, Frames(CHUNK_SIZE))


@dataclass(frozen=True, slots=True)
class Case:
    """One vector before it is written; without a plaintext it must be refused."""

    name: str
    spec: str
    comment: str
    codec: int
    encoded: bytes
    plain_size: int
    plain: bytes | None = None

    def text(self) -> bytes:
        """The whole file."""
        head = {
            "spec": f"medshare/1 codecs {self.spec}",
            "expect": "integrity.codec" if self.plain is None else "success",
            "codec": self.codec,
            "chunk-size": CHUNK_SIZE,
            "plain-size": self.plain_size,
            **({} if self.plain is None else {"blake3": blake3(self.plain).hexdigest()}),
            "comment": self.comment,
        }
        lines = "".join(f"{key}: {value}\n" for key, value in head.items())
        return lines.encode() + b"\n" + self.encoded


def encode(plain: bytes, rasters: Sequence[Raster], runs: Sequence[Run]) -> bytes:
    """Encode exactly these rasters, whether they suit the content or not."""
    chunk = np.frombuffer(plain, np.uint8)
    frames = []
    for number, raster in enumerate(rasters):
        own = [run for run in runs if run.raster == number]
        frames.append(
            PLANES_CODER.encode_samples(raster, PLANES_CODER.gather(chunk, raster.form, own))
        )
    return b"".join(PLANES_CODER.assemble(memoryview(plain), rasters, runs, frames, 3))


def good(
    name: str, spec: str, comment: str, plain: bytes, raster: Raster, *, start: int = 0
) -> Case:
    """A chunk with one run, from *start* as far as whole samples go."""
    step = {LE16: 2, BE16: 2, BYTES: 1, RGB: 3, WORDS: 4}[raster.form]
    stop = len(plain) - (len(plain) - start) % step
    encoded = encode(plain, [raster], [Run(0, start, stop)])
    return Case(name, spec, comment, PLANES, encoded, len(plain), plain)


def forms() -> Iterator[Case]:
    """One vector for each form, and for each plain predictor."""
    values = picture(60, 50, seed=1)
    wide = b"header" + values.astype("<u2").tobytes()
    grey = (values >> 4).astype(np.uint8)
    pixels = np.stack([grey ^ 3, grey, grey + 7], axis=2).tobytes()
    words = np.sin(np.arange(2000) / 50).astype("<f4").tobytes()
    for name, base in {"raw": RAW, "left": LEFT, "up": UP, "plane": PLANE}.items():
        raster = Raster(LE16, Predictor(base, 50))
        yield good(f"base-{name}", "§2.4", f"predictor {name}", wide, raster, start=6)
    yield good(
        "form-le16", "§2.3", "odd start", b"x" + wide, Raster(LE16, Predictor(UP, 50)), start=7
    )
    big = values.astype(">u2").tobytes()
    yield good("form-be16", "§2.3", "big endian", big, Raster(BE16, Predictor(UP, 50)))
    yield good("form-bytes", "§2.3", "octets", grey.tobytes(), Raster(BYTES, Predictor(PLANE, 50)))
    yield good(
        "form-rgb",
        "§2.3",
        "pixels, and two octets over",
        pixels + b"ab",
        Raster(RGB, Predictor(LEFT, 50)),
    )
    yield good(
        "form-words",
        "§2.3",
        "words, and three octets over",
        words + b"abc",
        Raster(WORDS, Predictor(RAW, 1)),
    )
    signed = (values.astype(np.int32) - 1000).astype("<i2").tobytes()
    yield good("offset", "§2.4", "signed samples", signed, Raster(LE16, Predictor(UP, 50, 0x8000)))
    yield good("one-sample", "§2.4", "one sample", b"\x34\x12", Raster(LE16, Predictor(PLANE, 1)))


def interpolated() -> Iterator[Case]:
    """Rasters of even and odd pitch, with and without a tail, tame and wild."""
    for name, rows, columns, over in (
        ("even", 48, 64, 0),
        ("odd", 41, 37, 0),
        ("tail", 40, 34, 45),
    ):
        plain = picture(rows + 1, columns, seed=2).tobytes()[: (rows * columns + over) * 2]
        raster = Raster(LE16, Predictor(PLANE, columns, 0, SMOOTH))
        yield good(
            f"interpolated-{name}", "§2.5", f"{rows} rows of {columns}, {over} over", plain, raster
        )
    noise = np.random.default_rng(3).bytes(36 * 40 * 2)
    raster = Raster(LE16, Predictor(LEFT, 36, 0x1234, STEEP))
    yield good("interpolated-wild", "§2.5", "noise under the largest weights", noise, raster)
    raster = Raster(BYTES, Predictor(UP, 45, 0, STEEP))
    yield good("interpolated-bytes", "§2.5", "octets, odd pitch", noise[: 45 * 40], raster)


def tiles() -> Iterator[Case]:
    """Every width of tile, and nothing but zeros."""
    random = np.random.default_rng(4)
    values = np.concatenate(
        [random.integers(0, 1 << width, 64).astype("<u2") >> 1 for width in range(17)]
        + [np.array([1 << (width - 1) for width in range(1, 17)], "<u2")]
    )
    raw = Raster(LE16, Predictor(RAW, 1))
    yield good("widths", "§2.7", "tiles of many widths", values.tobytes(), raw)
    yield good("zeros", "§2.7", "no tile is stored", bytes(9001), Raster(BYTES, Predictor(RAW, 1)))
    strip = picture(30, 21, seed=5).tobytes()
    yield good(
        "loose",
        "§2.6",
        "tiles, and what is beside and below",
        strip,
        Raster(LE16, Predictor(UP, 21)),
    )


def whole() -> Iterator[Case]:
    """Whole chunks, and several rasters in one."""
    text = b"a rose is a rose is a rose, " * 40
    frame = Frames(CHUNK_SIZE).compress(text, 3)
    yield Case("store", "§1.1", "stored", STORE, text, len(text), text)
    yield Case("zstd", "§1.2", "one frame", ZSTD, frame, len(text), text)
    study = Image(64, 80, header=400).file() + Image(50, 60, bits=8, samples=3, seed=4).file()
    codec, encoded = Codec(CHUNK_SIZE).encode(memoryview(study))
    yield Case(
        "study",
        "§2.2",
        "two files, as an encoder makes them",
        codec,
        bytes(encoded),
        len(study),
        study,
    )
    plain = picture(20, 100, seed=6).tobytes()
    rasters = [Raster(LE16, Predictor(n % 4, 1 + n)) for n in range(16)]
    runs = [Run(n % 16, 100 * n + 2, 100 * n + 2 + 40 + 2 * n) for n in range(32)]
    yield Case(
        "runs",
        "§2.2",
        "16 rasters of two runs each",
        PLANES,
        encode(plain, rasters, runs),
        len(plain),
        plain,
    )


def refused() -> Iterator[Case]:
    """What contradicts itself."""
    plain = picture(48, 64, seed=7).tobytes()
    raster, run = Raster(LE16, Predictor(UP, 64)), [Run(0, 0, len(plain))]
    fine = encode(plain, [raster], run)
    sizes = [int.from_bytes(fine[at : at + 4]) for at in range(36, 64, 4)]
    rest = int.from_bytes(fine[8:12])

    def bad(
        name: str, comment: str, encoded: bytes, size: int = len(plain), codec: int = PLANES
    ) -> Case:
        return Case(f"refuse-{name}", "§2.2", comment, codec, encoded, size)

    def head(other: Raster, run_count: int = 1, rest_size: int = 0) -> bytes:
        return build_head([other], [sizes], run_count, rest_size, rest) + fine[64:]

    yield bad("form", "form 5", head(Raster(5, Predictor(UP, 64))))
    yield bad("base", "base 4", head(Raster(LE16, Predictor(4, 64))))
    yield bad("pitch-zero", "pitch 0", head(Raster(LE16, Predictor(UP, 0))))
    yield bad(
        "pitch-large",
        "a row longer than the raster",
        head(Raster(LE16, Predictor(UP, 48 * 64 + 1))),
    )
    yield bad("interpolated", "too few rows", head(Raster(LE16, Predictor(UP, 100, 0, SMOOTH))))
    yield bad("offset", "an offset for octets", head(Raster(BYTES, Predictor(UP, 64, 1))))
    yield bad("no-runs", "no run", head(raster, run_count=0))
    yield bad("two-runs", "a run that is not in the table", head(raster, run_count=2))
    yield bad("rest", "more rest than there is", head(raster, rest_size=1))
    yield bad("reserved", "a reserved octet", fine[:1] + b"\1" + fine[2:])
    yield bad("trailing", "an octet follows", fine + b"\0")
    yield bad("truncated", "the last octet is missing", fine[:-1])
    yield bad("shorter", "one octet less than encoded", fine, len(plain) - 1)
    yield bad("longer", "one octet more than encoded", fine, len(plain) + 1)
    yield bad("unknown", "codec 3", fine, codec=3)
    yield bad(
        "overrun",
        "a run beyond the chunk",
        encode(plain + plain, [raster], [Run(0, 2, len(plain) + 2)]),
    )
    yield bad("bomb", "widths of 2^60 octets", bomb(raster, rest, fine))


def bomb(raster: Raster, rest: int, fine: bytes) -> bytes:
    """A chunk whose widths frame claims 2^60 octets."""
    claim = bytes.fromhex("28b52ffde000000000000000100b0000")
    return build_head([raster], [[len(claim)] + [0] * 6], 1, 0, rest) + fine[64 : 64 + rest] + claim


def main() -> None:
    """Replace all vectors."""
    for old in FOLDER.glob("*.vector"):
        old.unlink()
    for make in (forms, interpolated, tiles, whole, refused):
        for case in make():
            (FOLDER / f"{case.name}.vector").write_bytes(case.text())


if __name__ == "__main__":
    main()
