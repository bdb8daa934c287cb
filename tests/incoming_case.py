"""One parcel's files on their way into an output folder: what several tests need."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medshare.disk import syscalls
from medshare.disk.incoming import PartFolder
from medshare.ids import ParcelId
from medshare.manifest import FileEntry, Manifest
from tests.fault import Countdown, killed_at

PARCEL = ParcelId(bytes(range(16)))
PART = ".medshare-0001020304050607.part"
MODIFIED = 1_234_567_890_123_456_789

FILES = {
    "study/series 1/IM1": b"first" * 100,
    "study/series 1/IM2": b"second" * 300,
    "study/series 2/IM1": b"",
    "study/report.txt": "Größe ✓".encode(),
    "alone.dcm": b"alone" * 50,
}
FOLDERS = ("study/empty", "void")


def manifest_of(files: Mapping[str, bytes] = FILES, folders: tuple[str, ...] = FOLDERS) -> Manifest:
    """Return the manifest of *files*; nothing in it is checked here."""
    return Manifest(
        tuple(FileEntry(path, len(data), MODIFIED) for path, data in files.items()), folders
    )


def fill(part: PartFolder, files: Mapping[str, bytes] = FILES) -> None:
    """Write all octets of *files*."""
    for index, data in enumerate(files.values()):
        if data:
            part.write(index, 0, memoryview(data))


def receive(
    output: Path,
    files: Mapping[str, bytes] = FILES,
    folders: tuple[str, ...] = FOLDERS,
    parcel: ParcelId = PARCEL,
) -> None:
    """Go all the way, as a receiver does: prepare, write, flush, place, discard."""
    with PartFolder(output, parcel) as part:
        if not part.prepare(manifest_of(files, folders)).placing:
            fill(part, files)
            part.flush()
        part.place()
        part.discard()


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """Return everything below *folder*: octets of files, None for folders, targets of links."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def expected(files: Mapping[str, bytes] = FILES, folders: tuple[str, ...] = FOLDERS) -> Any:
    """Return what `contents` finds after everything has been received."""
    found: dict[str, bytes | None] = dict(files)
    for path in (*files, *folders):
        parent = path if path in folders else path.rpartition("/")[0]
        while parent:
            found[parent] = None
            parent = parent.rpartition("/")[0]
    return dict(sorted(found.items()))


@contextmanager
def crashing_at(last: int | None) -> Iterator[Countdown]:
    """Kill what runs inside before its change number *last* of the disk; count them for None."""
    with killed_at(last) as countdown, pytest.MonkeyPatch.context() as patch:

        def guard(owner: Any, name: str) -> None:
            original = getattr(owner, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                countdown.tick()
                return original(*args, **kwargs)

            patch.setattr(owner, name, call)

        for name in ("pwrite", "ftruncate", "fdatasync", "utime"):
            guard(os, name)
        guard(syscalls, "_call")
        yield countdown
