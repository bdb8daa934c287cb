"""How many octets each codec leaves of real images, and how fast, against Zstandard.

    python -m benchmarks.codecs --output reports/codecs.json --markdown reports/codecs.md

Every kind is laid end to end and cut into chunks of 4 MiB, as a parcel is.  Each chunk is
decoded again and compared.  Times are CPU seconds of one thread, the least of `--runs`:
the machine may be busy with other work.  With the package imagecodecs installed, JPEG-LS
is measured too: pixels frame by frame, everything else by Zstandard -3.  Where restic and
rclone are installed, so is what they store of whole files.
"""

import argparse
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import zstandard

from benchmarks.floor import size_in_bytes
from benchmarks.measure import MIB, machine
from benchmarks.stored import stored
from medshare.codecs import Codec, Effort

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("MEDSHARE_CORPUS", ROOT.parent / "shared" / "corpus"))
CHUNK_SIZE = 4 * MIB
# Beside the folders of the corpus: what pydicom-data has of native pixels, by kind.
PYDICOM_DATA = {
    "CR, 10 bit": ["RG3_UNCR.dcm"],
    "MR, 1024 x 1024": ["MR2_UNCR.dcm"],
    "MR with overlays": ["MR-SIEMENS-DICOM-WithOverlays.dcm"],
    "MR, 64 x 64, big endian": ["emri_small_big_endian.dcm"],
    "CT, 14 bit": ["693_UNCR.dcm"],
    "CT supplemental": ["eCT_Supplemental.dcm"],
    "NM whole body": ["JPEG2000_UNC.dcm"],
    "US, colour": ["US1_UNCR.dcm"],
    "US, grey": ["OBXXXX1A_2frame.dcm"],
    "US, palette of 16 bit": ["gdcm-US-ALOKA-16.dcm"],
    "OT, palette of 8 bit": ["OT-PAL-8-face.dcm"],
    "SC, colour by plane": ["color-pl.dcm"],
    "RLE and JPEG 2000": ["OBXXXX1A_rle_2frame.dcm", "RG1_J2KR.dcm"],
}
SIXTEEN_BIT = (
    *("ct_head", "mr_t1", "cr", "CR, 10 bit", "MR, 1024 x 1024", "MR with overlays"),
    *("CT, 14 bit", "CT supplemental", "NM whole body"),
)


@dataclass(frozen=True, slots=True)
class Coder:
    """A way to make octets fewer, and to get them back."""

    name: str
    encode: Callable[[bytes], Any]
    decode: Callable[[Any, int], bytes | memoryview]
    size_of: Callable[[Any], int] = len
    slow: bool = False


@dataclass(slots=True)
class Figures:
    """What one coder made of one kind."""

    octets: int
    encode: float = math.inf
    decode: float = math.inf

    def against(self, plain: int) -> dict[str, float]:
        """Return the ratio, and speeds in MB of plaintext a second."""
        return {
            "octets": self.octets,
            "ratio": round(plain / self.octets, 4),
            "encode_mb_s": round(plain / self.encode / 1e6, 1),
            "decode_mb_s": round(plain / self.decode / 1e6, 1),
        }


@dataclass(frozen=True, slots=True)
class Kind:
    """Files of one kind, laid end to end."""

    name: str
    files: Sequence[bytes] = field(repr=False)
    most: int

    @property
    def chunks(self) -> list[bytes]:
        """What a parcel would cut them into."""
        data = b"".join(self.files)[: self.most]
        return [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)]


def coders(*, hardest: bool) -> Iterator[Coder]:
    """Yield our codecs, Zstandard's levels, and JPEG-LS if it is there."""
    for effort in Effort:
        yield ours(effort)
    for level in (1, 3, 19):
        if level < 19 or hardest:
            yield zstd(level)


def ours(effort: Effort) -> Coder:
    """The codec of a parcel's chunks."""
    codec = Codec(CHUNK_SIZE)
    into = memoryview(bytearray(CHUNK_SIZE))

    def encode(chunk: bytes) -> tuple[int, memoryview]:
        number, encoded = codec.encode(memoryview(chunk), effort)
        return number, memoryview(encoded)

    def decode(encoded: tuple[int, memoryview], size: int) -> memoryview:
        codec.decode(*encoded, into[:size])
        return into[:size]

    return Coder(f"medshare {effort.value}", encode, decode, lambda pair: len(pair[1]))


def zstd(level: int) -> Coder:
    """One Zstandard frame a chunk."""
    compressor, decompressor = zstandard.ZstdCompressor(level), zstandard.ZstdDecompressor()
    return Coder(
        f"zstd -{level}",
        compressor.compress,
        lambda frame, _: decompressor.decompress(frame),
        slow=level > 9,
    )


def measure(coder: Coder, chunks: Sequence[bytes], runs: int) -> Figures:
    """Encode and decode all chunks, compare, and return sizes and the shortest times."""
    figures = Figures(0)
    for _ in range(1 if coder.slow else runs):
        octets, spent, regained = 0, 0.0, 0.0
        for chunk in chunks:
            start = time.thread_time()
            encoded = coder.encode(chunk)
            middle = time.thread_time()
            plain = coder.decode(encoded, len(chunk))
            regained += time.thread_time() - middle
            spent += middle - start
            octets += coder.size_of(encoded)
            if plain != chunk:
                raise RuntimeError(f"{coder.name} lost a chunk")
        figures = Figures(octets, min(figures.encode, spent), min(figures.decode, regained))
    return figures


def kinds(most: int) -> Iterator[Kind]:
    """Yield every kind that is at hand, at most so many octets of each."""
    if CORPUS.is_dir():
        for folder in sorted(path for path in CORPUS.iterdir() if path.is_dir()):
            files = sorted(folder.iterdir(), key=lambda file: (len(file.name), file.name))
            yield Kind(folder.name, [file.read_bytes() for file in files], most)
    package = find_spec("data_store")
    if package and package.origin:
        folder = Path(package.origin).parent / "data"
        for name, names in PYDICOM_DATA.items():
            yield Kind(name, [(folder / file).read_bytes() for file in names], most)
    sources = b"".join(file.read_bytes() for file in sorted(ROOT.glob("*/**/*.py")))
    streams = [zlib.compress(sources[at : at + 20000]) for at in range(0, len(sources), 20000)]
    pages = [
        b"%d 0 obj\n<< /Filter /FlateDecode >>\nstream\n" % n + s for n, s in enumerate(streams)
    ]
    yield Kind("program text", [sources], most)
    yield Kind("like a PDF", pages, most)
    yield Kind("random", [os.urandom(8 * MIB)], most)


def jpeg_ls(kind: Kind) -> Figures | None:
    """Measure JPEG-LS on the pixels of each file, whole; the rest by Zstandard -3."""
    import pydicom

    imagecodecs = import_module("imagecodecs")
    rest, figures = [], Figures(0, 0, 0)
    for data in cut_to(kind.files, kind.most):
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), force=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if "PixelData" not in dataset or syntax is None or syntax.is_compressed:
            return None
        at = data.rfind(dataset.PixelData)
        rest += [data[:at], data[at + len(dataset.PixelData) :]]
        pixels = dataset.pixel_array.view(f"u{dataset.pixel_array.itemsize}")
        for frame in pixels if dataset.get("NumberOfFrames", 1) > 1 else [pixels]:
            start = time.thread_time()
            encoded = imagecodecs.jpegls_encode(frame)
            middle = time.thread_time()
            if (imagecodecs.jpegls_decode(encoded) != frame).any():
                raise RuntimeError("JPEG-LS lost a frame")
            figures.decode += time.thread_time() - middle
            figures.encode += middle - start
            figures.octets += len(encoded)
    figures.octets += len(zstandard.ZstdCompressor(3).compress(b"".join(rest)))
    return figures


def cut_to(files: Sequence[bytes], most: int) -> Iterator[bytes]:
    """Yield whole files until there are enough of them."""
    total = 0
    for data in files:
        if total + len(data) > most and total:
            return
        total += len(data)
        yield data


def run(most: int, runs: int, names: Sequence[str], *, hardest: bool) -> dict[str, Any]:
    """Measure all kinds, and return figures by kind and coder."""
    results: dict[str, Any] = {}
    everyone = list(coders(hardest=hardest))
    for kind in kinds(most):
        if names and kind.name not in names:
            continue
        chunks = kind.chunks
        size = sum(map(len, chunks))
        found = {coder.name: measure(coder, chunks, runs).against(size) for coder in everyone}
        if find_spec("imagecodecs") and (peer := jpeg_ls(kind)):
            found["JPEG-LS"] = peer.against(sum(map(len, cut_to(kind.files, kind.most))))
        whole = list(cut_to(kind.files, kind.most))
        for name, octets in stored(whole).items():
            ratio = round(sum(map(len, whole)) / octets, 4)
            found[name] = {"octets": octets, "ratio": ratio}
        results[kind.name] = {"octets": size, "coders": found}
        print(f"{kind.name}: {size} octets", file=sys.stderr, flush=True)
    return results


def means(results: dict[str, Any]) -> dict[str, float]:
    """Return what each coder leaves of the kinds of 16 bits, in percent, as geometric mean."""
    logarithms: dict[str, list[float]] = {}
    for name in SIXTEEN_BIT:
        for coder, figures in results.get(name, {"coders": {}})["coders"].items():
            logarithms.setdefault(coder, []).append(math.log(figures["ratio"]))
    return {
        coder: round(100 * math.exp(-sum(values) / len(values)), 2)
        for coder, values in logarithms.items()
    }


def markdown(results: dict[str, Any]) -> str:
    """Return a table of ratios, and one of speeds."""
    names = list(dict.fromkeys(name for kind in results.values() for name in kind["coders"]))
    ratios = [[kind, f"{found['octets'] / 1e6:.1f}"] for kind, found in results.items()]
    speeds = [[kind] for kind in results]
    for row, speed, found in zip(ratios, speeds, results.values(), strict=True):
        for name in names:
            figures = found["coders"].get(name)
            row.append(f"{figures['ratio']:.2f}" if figures else "")
            timed = figures and "encode_mb_s" in figures
            speed.append(
                f"{figures['encode_mb_s']:.0f} / {figures['decode_mb_s']:.0f}" if timed else ""
            )
    left = means(results)
    ratios.append(["left of 16-bit kinds", "", *(f"{left.get(name, 0):.1f} %" for name in names)])
    return "\n\n".join(
        [
            "Plaintext / encoded, headers included:",
            table(["kind", "MB", *names], ratios),
            "MB of plaintext a second, encode / decode, one thread:",
            table(["kind", *names], speeds),
        ]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Read the command line, run, and write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--output", type=Path, help="where the JSON goes (default: nowhere)")
    parser.add_argument("--markdown", type=Path, help="where the tables go (default: stdout)")
    parser.add_argument("--most", type=size_in_bytes, default=16 * MIB, help="of each kind")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--no-hardest", action="store_true", help="leave zstd -19 out")
    given = parser.parse_args()
    results = run(given.most, given.runs, given.kind, hardest=not given.no_hardest)
    tables = markdown(results)
    if given.output:
        found = {"machine": machine(), "left_of_16_bit": means(results), "kinds": results}
        given.output.write_text(json.dumps(found, indent=2), encoding="utf-8")
    if given.markdown:
        given.markdown.write_text(tables + "\n", encoding="utf-8")
    else:
        print(tables)


if __name__ == "__main__":
    main()
