"""The confined writer: the one way by which received names reach the disk.

Files are made below a hidden part folder in the output folder, filled as chunks arrive
in any order, read back, and moved to their final names when everything is verified.

What holds against whoever can write to the output folder at any moment, and against any
manifest:

- no file or folder outside the output folder is made, changed or deleted;
- no symbolic or hard link is followed or written through: each folder is opened by its
  single name relative to its parent's descriptor, each file likewise;
- nothing that exists is overwritten, and nothing is deleted that was not made here;
- files are readable by owner and group at most, and never executable.
"""

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from blake3 import blake3

from medshare.disk import placing
from medshare.disk.atomic import (
    CREATE_FLAGS,
    FOLDER_FLAGS,
    WRITE_STEP,
    is_temporary,
    read_at,
    storage_errors,
    sync_folder,
    write_at,
)
from medshare.disk.confined import (
    DELETE_IT,
    FOLDER_MODE,
    is_plain,
    open_output,
    open_part,
    remove_file,
    remove_folder,
    status_of,
)
from medshare.disk.descriptors import DescriptorPool
from medshare.disk.space import require_space_at
from medshare.disk.syscalls import allocate, sync_data, sync_filesystem
from medshare.disk.tree import FOLDER, Tree
from medshare.errors import LimitError, StorageError
from medshare.ids import ParcelId
from medshare.manifest import Manifest

FILE_MODE: Final = 0o640
_PREPARED: Final = ".prepared"
_PLACING: Final = ".placing"
_OPEN_FILES: Final = 64
_OPEN_FOLDERS: Final = 40
_RESERVED_FROM: Final = 1 << 20
# Measured on ext4: from here on one syncfs is quicker than an fdatasync for each file.
_FEW_FILES: Final = 8
_STAMP_SIZE: Final = 64
_FILE_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `PartFolder.prepare` found; the journal's claims hold as far as this says."""

    kept: bool
    """Whether the files of an earlier run are there; if not, every chunk must come again."""
    renewed: tuple[int, ...] = ()
    """Files that are not there: chunks with octets of them must come, or come again."""
    placing: bool = False
    """Whether an earlier run began to place: nothing is to be fetched, `place` goes on."""


class PartFolder:
    """The files of one parcel while they arrive.  `read` and `write` work from any thread.

    Lives in `OUTPUT/.medshare-<16 hexadecimal digits of the parcel id>.part`, mode 0700,
    locked while it is open.  All methods raise StorageError.
    """

    def __init__(self, output: Path, parcel: ParcelId) -> None:
        self._parcel = parcel
        self._name = part_name(parcel)
        self._tree = Tree(())
        self._stamp = b""
        with storage_errors("open the output folder"):
            self._output = open_output(output)
        try:
            with storage_errors("make the part folder"):
                self._folder = open_part(self._output, self._name)
        except BaseException:
            os.close(self._output)
            raise
        self._folders = DescriptorPool(self._open_folder, _OPEN_FOLDERS)
        self._files = DescriptorPool(self._open_file, _OPEN_FILES)
        self._noted = False
        self._gone: set[int] = set()
        self._touched: set[int] = set()
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()

    def prepare(self, manifest: Manifest) -> Prepared:
        """Let every folder and large file exist; keep what earlier runs wrote.

        Large files are reserved on disk, so that a full disk is noticed now; then nothing
        is left behind.  Small ones come into being when they are written.  Raises FormatError,
        too, for a path that is not allowed.

        What is not kept counts as missing until the first `write`, also in a later run:
        until then the caller has time to withdraw, durably, what the journal claims.
        """
        self._tree = Tree(manifest.files, manifest.folders)
        self._stamp = _stamp(self._parcel, self._tree)
        with storage_errors("prepare the output folder"):
            note = self._note(_PREPARED)
            self._noted = note is not None
            if not self._noted:
                self._make_all()
                return Prepared(kept=False)
            if note != self._stamp:
                raise StorageError("another parcel's part folder is in the way", hint=DELETE_IT)
            if self._note(_PLACING) is not None:
                return Prepared(kept=True, placing=True)
            return Prepared(kept=True, renewed=self._renew())

    def _make_all(self) -> None:
        self._clear()
        require_space_at(self._output, sum(entry.size for entry in self._tree.files))
        try:
            for path in self._tree.folders():
                self._make_folder(path)
            for index, entry in enumerate(self._tree.files):
                if 0 < entry.size < _RESERVED_FROM:
                    self._gone.add(index)
                else:
                    self._make_file(index)
            sync_filesystem(self._folder)
        except BaseException:
            with suppress(OSError):
                self._clear()
            raise

    def _make_folder(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        with self._folders.lease(parent) as folder:
            os.mkdir(name, FOLDER_MODE, dir_fd=folder)

    def _make_file(self, index: int) -> None:
        """Create the file; one that exists differs in case only, as this file system sees it."""
        entry = self._tree.files[index]
        parent, _, name = entry.path.rpartition("/")
        with self._folders.lease(parent) as folder:
            file = os.open(name, CREATE_FLAGS, FILE_MODE, dir_fd=folder)
        try:
            if entry.size >= _RESERVED_FROM:
                allocate(file, entry.size)
            elif entry.size:
                os.ftruncate(file, entry.size)
        finally:
            os.close(file)

    def _renew(self) -> tuple[int, ...]:
        """Return the files that are not there, or not whole; `write` makes them (anew)."""
        for path in self._tree.folders():
            with suppress(FileExistsError):
                self._make_folder(path)
        renewed = []
        for index, entry in enumerate(self._tree.files):
            parent, _, name = entry.path.rpartition("/")
            with self._folders.lease(parent) as folder:
                status = status_of(folder, name)
                if status is not None and not is_plain(status, entry.size):
                    os.unlink(name, dir_fd=folder)
                    status = None
            if status is None and entry.size:
                renewed.append(index)
            elif status is None:
                self._make_file(index)
        self._gone = set(renewed)
        return tuple(renewed)

    def _note_prepared(self) -> None:
        with self._lock:
            if not self._noted:
                write_at(self._folder, _PREPARED, self._stamp)
                self._noted = True

    def write(self, index: int, offset: int, data: memoryview) -> None:
        """Put *data* into file *index* at *offset*."""
        size = self._tree.files[index].size
        if offset < 0 or offset + len(data) > size:
            raise ValueError("a piece lies outside its file")
        with storage_errors("write a received file"):
            if not self._noted:
                self._note_prepared()
            if index in self._gone and len(data) == size < _RESERVED_FROM:
                self._write_whole(index, data)
            else:
                with self._files.lease(index) as file:
                    _write_all(file, data, offset)
        # Only now: a flush that runs meanwhile must not think that it has seen these octets.
        with self._lock:
            self._touched.add(index)

    def _write_whole(self, index: int, data: memoryview) -> None:
        """Make a file with its octets in one go: half the system calls, of a great many files."""
        parent, _, name = self._tree.files[index].path.rpartition("/")
        with self._folders.lease(parent) as folder:
            file = os.open(name, CREATE_FLAGS, FILE_MODE, dir_fd=folder)
            try:
                _write_all(file, data, 0)
            except BaseException:
                os.unlink(name, dir_fd=folder)
                raise
            finally:
                os.close(file)
        self._gone.discard(index)

    def flush(self) -> None:
        """Make durable whatever a finished `write` wrote."""
        with self._flush_lock:
            with self._lock:
                touched, self._touched = self._touched, set()
            try:
                with storage_errors("make the received files durable"):
                    self._sync(touched)
            except BaseException:
                with self._lock:
                    self._touched |= touched
                raise

    def _sync(self, touched: set[int]) -> None:
        if len(touched) > _FEW_FILES and sync_filesystem(self._folder):
            return
        for index in touched:
            with self._files.lease(index) as file:
                sync_data(file)

    def read(self, index: int, offset: int, view: memoryview) -> None:
        """Fill *view* with the octets of file *index* from *offset* on, as the disk has them."""
        with storage_errors("read a received file back"), self._files.lease(index) as file:
            while view:
                count = os.preadv(file, [view], offset)
                if not count:
                    raise StorageError("a received file was cut off by somebody else")
                offset += count
                view = view[count:]

    def place(self) -> None:
        """Move everything to its final name in the output folder.

        All of it must have been verified.  Nothing moves when a different file is in the
        way.  Interrupted at any point, it is completed by calling it again.  Afterwards
        every file is durable under its final name.  Record that, then `discard`.
        """
        if not self._stamp:
            raise RuntimeError("a part folder is prepared before its files are placed")
        with storage_errors("put the received files in place"):
            self._close_files()
            again = self._note(_PLACING) is not None
            if not again:
                self._note_prepared()
                placing.require_complete(self._tree, self._folder)
            placing.require_room(self._tree, self._folder, self._output)
            if not again:
                placing.set_times(self._tree, self._folder)
                self._sync_everything()
                write_at(self._folder, _PLACING, self._stamp)
            placing.move(self._tree, self._folder, self._output)
            sync_folder(self._folder)
            placing.require_placed(self._tree, self._output)

    def _sync_everything(self) -> None:
        if not sync_filesystem(self._folder):
            for index in range(len(self._tree.files)):
                with self._files.lease(index) as file:
                    os.fsync(file)
            for path in ["", *self._tree.folders()]:
                with self._folders.lease(path) as folder:
                    sync_folder(folder)
            self._close_files()

    def discard(self) -> None:
        """Remove the part folder with all that was made in it; whatever else is there stays."""
        with storage_errors("remove the part folder"):
            self._close_files()
            self._clear()
            there = status_of(self._output, self._name)
            if there is not None and os.path.samestat(there, os.fstat(self._folder)):
                remove_folder(self._output, self._name)
            sync_folder(self._output)

    def _clear(self) -> None:
        """Delete what was made, from the leaves to the top."""
        for path, children in reversed(self._tree.children.items()):
            gone = suppress(FileNotFoundError, NotADirectoryError)
            with gone, self._folders.lease(path) as folder:
                for name, index in children.items():
                    (remove_folder if index == FOLDER else remove_file)(folder, name)
        self._folders.close()
        for name in os.listdir(self._folder):
            if name in {_PREPARED, _PLACING} or is_temporary(name):
                remove_file(self._folder, name)

    def close(self) -> None:
        """Release lock and descriptors; a later run goes on from here."""
        self._close_files()
        for descriptor in (self._folder, self._output):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_files(self) -> None:
        self._files.close()
        self._folders.close()

    def _note(self, name: str) -> bytes | None:
        try:
            return read_at(self._folder, name, limit=_STAMP_SIZE, what="the part folder")
        except FileNotFoundError:
            return None
        except LimitError:
            return b""

    def _open_folder(self, path: str) -> int:
        if not path:
            return os.dup(self._folder)
        parent, _, name = path.rpartition("/")
        with self._folders.lease(parent) as folder:
            return os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=folder)

    def _open_file(self, index: int) -> int:
        if index in self._gone:
            self._make_file(index)
            self._gone.discard(index)
        entry = self._tree.files[index]
        parent, _, name = entry.path.rpartition("/")
        with self._folders.lease(parent) as folder:
            file = os.open(name, _FILE_FLAGS, dir_fd=folder)
        if not is_plain(os.fstat(file), entry.size):
            os.close(file)
            raise StorageError("a file in the part folder was replaced", hint=DELETE_IT)
        return file


def _write_all(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data[:WRITE_STEP], offset)
        offset += written
        data = data[written:]


def part_name(parcel: ParcelId) -> str:
    """Return the name of the part folder of *parcel*."""
    return f".medshare-{parcel.hex()[:16]}.part"


def discard_remains(output: Path, parcel: ParcelId) -> None:
    """Remove the part folder of a parcel whose files are all placed, if a crash left it there."""
    there = output / part_name(parcel)
    if there.is_dir() and not there.is_symlink():
        with PartFolder(output, parcel) as part:
            part.discard()


def abandon(output: Path, parcel: ParcelId, manifest: Manifest) -> None:
    """Remove the part folder of a parcel that will not be received into *output* after all."""
    there = output / part_name(parcel)
    if there.is_dir() and not there.is_symlink():
        with PartFolder(output, parcel) as part:
            part.prepare(manifest)
            part.discard()


def _stamp(parcel: ParcelId, tree: Tree) -> bytes:
    """Return what tells the files of this parcel from those of any other."""
    hasher = blake3(parcel)
    for entry in tree.files:
        hasher.update(f"{entry.path}\x00{entry.size}\x00".encode())
    return hasher.hexdigest().encode()
