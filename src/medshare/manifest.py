"""The manifest: which files a parcel holds, in the order in which they are laid (format §4).

Names are hostile until `check_path` has seen them.  One rule for all operating systems,
applied by sender and receiver alike: what Windows, macOS or Linux could confuse, escape
with or hide, no parcel may carry.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.errors import FormatError, LimitError

MAX_FILES: Final = 1 << 18
MAX_MANIFEST_SIZE: Final = 64 * 1024 * 1024
MAX_PATH: Final = 1024
MAX_NAME: Final = 255
MAX_DEPTH: Final = 32
MAX_NOTE: Final = 4096
MAX_FILE_SIZE: Final = 1 << 46

_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\]')
_RESERVED: Final = re.compile(
    r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?"
)
_BAD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: its relative path with `/`, its octets, and when it was last changed (ns)."""

    path: str
    size: int
    modified_ns: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files in the order in which they are laid into chunks, empty folders, and a note."""

    files: tuple[FileEntry, ...]
    folders: tuple[str, ...] = ()
    note: str = ""
    extra: dict[str, canonical.Value] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """Octets of each file, in order: the input of `chunking.Layout`."""
        return [entry.size for entry in self.files]

    def encode(self) -> bytes:
        """Return the deterministic encoding; raise FormatError when a path is not allowed."""
        _check_paths(self)
        files: list[canonical.Value] = [[e.path, e.size, e.modified_ns] for e in self.files]
        return canonical.encode(
            {
                "critical": {},
                "extra": self.extra,
                "files": files,
                "folders": list(self.folders),
                "note": self.note,
            }
        )


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in *data*; raise FormatError unless every part of it is allowed."""
    what = "the manifest"
    fields = Fields(canonical.decode(data, limit=MAX_MANIFEST_SIZE, what=what), what=what)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    files = tuple(_entry(item) for item in fields.items("files", maximum=MAX_FILES))
    folders = tuple(_folder(item) for item in fields.items("folders", maximum=MAX_FILES))
    note = fields.text("note", maximum=MAX_NOTE)
    manifest = Manifest(files, folders, note, fields.mapping("extra"))
    fields.finish()
    _check_paths(manifest)
    return manifest


def _entry(item: object) -> FileEntry:
    match item:
        case [str() as path, int() as size, int() as modified] if type(size) is int:
            if size > MAX_FILE_SIZE:
                raise LimitError("a file in the manifest is larger than the format allows")
            return FileEntry(path, size, modified)
    raise FormatError("a file in the manifest is malformed")


def _folder(item: object) -> str:
    if not isinstance(item, str):
        raise FormatError("a folder in the manifest is malformed")
    return item


def check_path(path: str) -> None:
    """Raise FormatError unless *path* is safe to create under any folder on any system."""
    names = path.split("/")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH or len(names) > MAX_DEPTH:
        raise FormatError("a path is too long or too deep")
    for name in names:
        reason = _fault_of_name(name)
        if reason:
            raise FormatError(f"a path is not allowed: {reason}")


def _fault_of_name(name: str) -> str | None:
    """Say why *name* may not be a file or folder name, or None when it may."""
    if not name:
        return "it is absolute, or has an empty part"
    if name.startswith("."):
        return "a name that begins with a dot could leave the folder or hide"
    if name[-1] in " .":
        return "a name that ends with a space or a dot is changed by Windows"
    if _FORBIDDEN.search(name):
        return 'it contains one of < > : " | ? * or a backslash'
    if _RESERVED.fullmatch(unicodedata.normalize("NFKC", name)):
        return "it contains a name that is reserved on Windows"
    if any(unicodedata.category(c) in _BAD_CATEGORIES and c not in _JOINERS for c in name):
        return "it contains an invisible or control character"
    if len(name.encode()) > MAX_NAME:
        return "it contains a name longer than 255 bytes"
    folded = unicodedata.normalize("NFKC", name)
    if folded.startswith(".") or "/" in folded or "\\" in folded:
        return "it contains a character that looks like a separator or a dot"
    return None


def check_label(text: str) -> None:
    """Raise FormatError when *text*, a name shown to people, is empty or could deceive them."""
    if not text.strip() or any(unicodedata.category(c) in _BAD_CATEGORIES for c in text):
        raise FormatError("a name is empty or holds invisible or control characters")


def collision_key(path: str) -> str:
    """Return what two paths share when some file system would take them for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _check_paths(manifest: Manifest) -> None:
    if not manifest.files and not manifest.folders:
        raise FormatError("a manifest without any file")
    seen: set[str] = set()
    for path in _all_paths(manifest):
        check_path(path)
        key = collision_key(path)
        if key in seen:
            raise FormatError("two paths are the same, or differ only in case or accents")
        seen.add(key)
    parents: set[str] = set()
    for key in seen:
        parent, _, _ = key.rpartition("/")
        while parent and parent not in parents:
            parents.add(parent)
            parent, _, _ = parent.rpartition("/")
    if parents & seen:
        raise FormatError("a path is used both as a file and as a folder")
    _check_folder_spelling(manifest)


def _check_folder_spelling(manifest: Manifest) -> None:
    spellings: dict[str, str] = {}
    for path in _all_paths(manifest):
        parent, _, _ = path.rpartition("/")
        while parent:
            known = spellings.setdefault(collision_key(parent), parent)
            if known != parent:
                raise FormatError("two folders differ only in case or accents")
            parent, _, _ = parent.rpartition("/")


def _all_paths(manifest: Manifest) -> Iterable[str]:
    yield from (entry.path for entry in manifest.files)
    yield from manifest.folders
