"""What is carried: random octets, and real studies made as large as is asked for.

A study is repeated with fresh UIDs, as a second patient would have: each copy of an image
differs from the others in its Study, Series and SOP Instance UIDs, and is otherwise the
file that the scanner wrote.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.floor import ROOT
from benchmarks.measure import MIB

CORPUS: Final = Path(os.environ.get("MEDSHARE_CORPUS", ROOT.parent / "shared" / "corpus"))
_UIDS: Final = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


@dataclass(frozen=True, slots=True)
class Input:
    """A file or folder to carry."""

    name: str
    title: str
    path: Path
    files: int
    size: int


def measured(name: str, title: str, path: Path) -> Input:
    """Return the input that lies at *path*."""
    sizes = [file.stat().st_size for file in files_below(path)]
    return Input(name, title, path, len(sizes), sum(sizes))


def files_below(path: Path) -> list[Path]:
    """Return *path* if it is a file, else all files below it, in order."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def digest(path: Path) -> str:
    """Return a digest over the names and contents of all files at *path*."""
    whole = hashlib.sha256()
    for file in files_below(path):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(path.parent)}\0{content}\n".encode())
    return whole.hexdigest()


def random_file(path: Path, size: int) -> Path:
    """Write *size* random octets to *path*."""
    with path.open("wb") as file:
        for start in range(0, size, 16 * MIB):
            file.write(os.urandom(min(16 * MIB, size - start)))
    return path


def random_files(folder: Path, count: int, size: int, *, per_folder: int = 500) -> Path:
    """Write *count* files of *size* random octets below *folder*."""
    for index in range(count):
        series = folder / f"series-{index // per_folder:03}"
        if index % per_folder == 0:
            series.mkdir(parents=True)
        (series / f"IM{index:06}.dcm").write_bytes(os.urandom(size))
    return folder


def study(folder: Path, source: Path, least: int) -> Path:
    """Repeat the DICOM images in *source* below *folder* until there are *least* octets."""
    images = [file.read_bytes() for file in files_below(source)]
    uids = [_uids(file) for file in files_below(source)]
    total = sum(map(len, images))
    for copy in range(max(1, -(-least // total))):
        series = folder / f"study-{copy:02}"
        series.mkdir(parents=True)
        for index, (image, own) in enumerate(zip(images, uids, strict=True)):
            (series / f"IM{index:06}.dcm").write_bytes(_with_fresh_uids(image, own, copy))
    return folder


def _uids(file: Path) -> list[bytes]:
    from pydicom import dcmread

    image = dcmread(file, stop_before_pixels=True, specific_tags=list(_UIDS))
    return [str(image[name].value).encode("ascii") for name in _UIDS if name in image]


def _with_fresh_uids(image: bytes, uids: list[bytes], copy: int) -> bytes:
    """Return *image* with each of its UIDs replaced by another of the same length."""
    if copy == 0:
        return image
    for uid in uids:
        image = image.replace(uid, _fresh(uid, copy))
    return image


def _fresh(uid: bytes, copy: int) -> bytes:
    """Return a UID as long as *uid*, the same for the same *uid* and *copy*."""
    keep = uid[: len(uid) // 2].rpartition(b".")[0] or uid[: len(uid) // 2]
    need = len(uid) - len(keep) - 1
    number = int.from_bytes(hashlib.sha256(uid + bytes([copy])).digest()) % 10**need
    return keep + b"." + str(number).rjust(need, "1").encode("ascii")


def make(
    root: Path, names: Mapping[str, int], *, corpus: Path = CORPUS
) -> Iterator[tuple[str, Input | str]]:
    """Yield each named input, made below *root* with about so many octets, or why it is not there.

    Known names: `random`, `ct`, `mr`, `slices` (files of 512 KiB) and `small` (of 10,000 octets).
    """
    for name, size in names.items():
        folder = root / name
        folder.mkdir()
        if name == "random":
            path = random_file(folder / "random.bin", size)
            yield name, measured(name, "random octets, one file", path)
        elif name == "slices":
            path = random_files(folder / "slices", max(1, size // (512 * 1024)), 512 * 1024)
            yield name, measured(name, "random octets, files of 512 KiB", path)
        elif name == "small":
            path = random_files(folder / "small", max(1, size // 10_000), 10_000)
            yield name, measured(name, "random octets, files of 10 KB", path)
        else:
            yield name, _real(name, folder, size, corpus)


def _real(name: str, folder: Path, size: int, corpus: Path) -> Input | str:
    known = {"ct": ("ct_head", "CT head, 12 of 16 bits"), "mr": ("mr_t1", "MR MPRAGE")}
    source, title = known[name]
    if not (corpus / source).is_dir():
        return f"no corpus at {corpus} (set MEDSHARE_CORPUS)"
    return measured(name, title, study(folder / name, corpus / source, size))
