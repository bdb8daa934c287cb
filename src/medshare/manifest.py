"""The manifest: which files a parcel holds, in the order in which they are laid (format §4).

Names are hostile until `check_path` has seen them.  One rule for all operating systems,
applied by sender and receiver alike: what Windows, macOS or Linux could confuse, escape
with or hide, no parcel may carry.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.chunking import MAX_CHUNK_SIZE, MAX_CHUNKS
from medshare.errors import FormatError, LimitError

MAX_FILES: Final = 1 << 17
MAX_MANIFEST_SIZE: Final = 32 * 1024 * 1024
MAX_PATH: Final = 1024
MAX_NAME: Final = 255
MAX_DEPTH: Final = 32
MAX_NOTE: Final = 4096
MAX_FILE_SIZE: Final = MAX_CHUNKS * MAX_CHUNK_SIZE
MAX_MODIFIED: Final = 2**63 - 1
_MAX_ITEMS: Final = 5 * MAX_FILES + 4096

_WHAT: Final = "the manifest"
_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])( *\..*)?")
_BAD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_IGNORED: Final = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Joiners and variation selectors: needed to write Persian or emoji, but some file systems
take names that differ only in them for one (CVE-2014-9390)."""
_FILLERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
"""Further characters that show nothing."""


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
        """Return the deterministic encoding; raise FormatError for what no reader would accept."""
        _check(self)
        files: list[canonical.Value] = [[e.path, e.size, e.modified_ns] for e in self.files]
        data = canonical.encode(
            {
                "critical": {},
                "extra": self.extra,
                "files": files,
                "folders": list(self.folders),
                "note": self.note,
            }
        )
        if len(data) > MAX_MANIFEST_SIZE:
            raise LimitError("the list of files is too long for one parcel")
        return data


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in *data*; raise FormatError unless every part of it is allowed."""
    value = canonical.decode(data, limit=MAX_MANIFEST_SIZE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    files = tuple(_entry(item) for item in fields.items("files", maximum=MAX_FILES))
    folders = tuple(_folder(item) for item in fields.items("folders", maximum=MAX_FILES))
    note = fields.text("note", maximum=MAX_NOTE)
    manifest = Manifest(files, folders, note, fields.mapping("extra"))
    fields.finish()
    _check(manifest)
    return manifest


def _entry(item: object) -> FileEntry:
    match item:
        case [str() as path, int() as size, int() as modified]:
            return FileEntry(path, size, modified)
    raise FormatError("a file in the manifest is malformed")


def _folder(item: object) -> str:
    if not isinstance(item, str):
        raise FormatError("a folder in the manifest is malformed")
    return item


def _check(manifest: Manifest) -> None:
    if not manifest.files and not manifest.folders:
        raise FormatError("a manifest without any file")
    if len(manifest.files) > MAX_FILES or len(manifest.folders) > MAX_FILES:
        raise LimitError(f"a parcel holds at most {MAX_FILES} files")
    if len(manifest.note.encode(errors="replace")) > MAX_NOTE:
        raise LimitError(f"a note has at most {MAX_NOTE} bytes")
    for entry in manifest.files:
        if type(entry.size) is not int or type(entry.modified_ns) is not int:
            raise FormatError("a file in the manifest is malformed")
        if not (0 <= entry.size <= MAX_FILE_SIZE and 0 <= entry.modified_ns <= MAX_MODIFIED):
            raise LimitError("the size or time of a file is outside the format's range")
    _check_paths(manifest)


def check_path(path: str) -> None:
    """Raise FormatError unless *path* is safe to create under any folder on any system."""
    _check_extent(path)
    for name in path.split("/"):
        _check_name(name)


def _check_extent(path: str) -> None:
    depth = path.count("/") + 1
    if depth > MAX_DEPTH or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        raise FormatError("a path is too long or too deep")


def _check_name(name: str) -> None:
    reason = _fault_of_name(name) or ("" if name.isascii() else _fault_beyond_ascii(name))
    if reason:
        raise FormatError(f"a path is not allowed: {reason}")


def _fault_of_name(name: str) -> str:
    """Say why *name* may not be a file or folder name, or nothing when it may."""
    if not name:
        return "it is absolute, or has an empty part"
    if name[0] == ".":
        return "a name that begins with a dot could leave the folder or hide"
    if name[-1] in " .":
        return "a name that ends with a space or a dot is changed by Windows"
    if _FORBIDDEN.search(name):
        return 'it contains one of < > : " | ? *, a backslash or a control character'
    if _RESERVED.fullmatch(name):
        return "it contains a name that is reserved on Windows"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return "it contains a name longer than 255 bytes"
    return ""


def _fault_beyond_ascii(name: str) -> str:
    """Judge *name* as it looks, and as file systems that ignore or fold characters see it."""
    visible = _IGNORED.sub("", name)
    if any(unicodedata.category(c) in _BAD_CATEGORIES or c in _FILLERS for c in visible):
        return "it contains an invisible or control character"
    folded = unicodedata.normalize("NFKC", visible)
    if not folded or folded[0] == "." or "/" in folded or "\\" in folded:
        return "it contains a character that looks like a separator or a dot, or none to see"
    if visible[-1] in " ." or _RESERVED.fullmatch(folded):
        return "it contains a name that Windows changes or reserves"
    return ""


def check_label(text: str) -> None:
    """Raise FormatError when *text*, a name shown to people, is empty or could deceive them."""
    if not text.strip() or any(unicodedata.category(c) in _BAD_CATEGORIES for c in text):
        raise FormatError("a name is empty or holds invisible or control characters")


def collision_key(path: str) -> str:
    """Return what two paths share when some file system would take them for one."""
    if path.isascii():
        return path.lower()
    visible = _IGNORED.sub("", path)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", visible).casefold())


class _Tree:
    """The folders that the paths of one manifest need; each is checked once."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {"": ""}
        self.spellings: dict[str, str] = {}

    def key_of(self, path: str) -> str:
        """Return the collision key of *path* after checking its names; add its parents."""
        parent, _, name = path.rpartition("/")
        if "/" in path and not parent:
            _check_name("")
        if parent not in self._keys:
            key = self.key_of(parent)
            if self.spellings.setdefault(key, parent) != parent:
                raise FormatError(
                    "two folders differ only in case, accents or invisible characters"
                )
            self._keys[parent] = key
        _check_name(name)
        return f"{self._keys[parent]}/{collision_key(name)}"


def _check_paths(manifest: Manifest) -> None:
    tree = _Tree()
    seen: set[str] = set()
    for path in (*(entry.path for entry in manifest.files), *manifest.folders):
        _check_extent(path)
        key = tree.key_of(path)
        if key in seen:
            raise FormatError("two paths are the same, or differ only in case or accents")
        seen.add(key)
    if not seen.isdisjoint(tree.spellings):
        raise FormatError("a path is used both as a file and as a folder")
