"""Dishonest manifests: well sealed, but not what a reader may accept."""

from typing import Any

import cbor2
import zstandard

from medshare.suites.intl import INTL
from tests.builder import CREATED
from tests.forger import Forger, cbor
from tests.scenarios import FILES, Bad, Change, another

PATH, SIZE = "ct/0001.dcm", len(FILES["ct/0001.dcm"])


def listing(*files: object, **fields: object) -> dict[str, Any]:
    """Return the map of a manifest with *files* and other *fields*."""
    return {"critical": {}, "extra": {}, "files": list(files), "folders": [], "note": ""} | fields


def manifest(value: object) -> Change:
    """Seal *value* as the manifest."""
    return lambda forger: forger.set_manifest(value)


def packed(data: bytes) -> Change:
    """Seal *data* in the place of the manifest's Zstandard frame."""
    return lambda forger: forger.set_packed_manifest(data)


def frame(data: bytes, **options: Any) -> bytes:
    """Return *data* in one Zstandard frame."""
    return zstandard.ZstdCompressor(**options).compress(data)


def raw(data: bytes) -> Change:
    """Let the envelope name *data* as the sealed manifest."""

    def forge(forger: Forger) -> None:
        forger.manifest = data
        forger.envelope["manifest_size"] = len(data)
        forger.envelope["manifest_digest"] = INTL.digest(data).value

    return forge


def swapped(change: Any) -> Change:
    """Exchange the sealed manifest behind the envelope's back; the seal stays right."""

    def forge(forger: Forger) -> None:
        forger.seal["manifest"] = INTL.digest(forger.manifest).value
        forger.manifest = change(forger.manifest)

    return forge


HONEST = cbor(listing([PATH, SIZE, CREATED]))
SEALING = (
    Bad("manifest-flipped", "§12.1", "integrity.digest", "one bit of the sealed manifest is wrong",
        swapped(lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
    Bad("manifest-truncated", "§12.1", "integrity", "the sealed manifest lacks an octet",
        swapped(lambda data: data[:-1])),
    Bad("manifest-of-another-parcel", "§12.1", "integrity.digest", "the manifest of another parcel",
        swapped(lambda data: another().manifest)),
    Bad("manifest-under-another-key", "§4.4", "integrity", "sealed under the key for receipts",
        lambda forger: forger.set_packed_manifest(frame(HONEST), purpose="receipt"),
        public="success"),
    Bad("manifest-too-short", "§4.4", "format", "a sealed manifest of ten octets",
        raw(bytes(10)), public="success"),
    Bad("manifest-not-compressed", "§4.4", "format", "CBOR without a Zstandard frame",
        packed(HONEST), public="success"),
    Bad("manifest-without-size", "§4.4", "format", "the frame does not state its content size",
        packed(frame(HONEST, write_content_size=False)), public="success"),
    Bad("manifest-two-frames", "§4.4", "format", "a second frame follows",
        packed(frame(HONEST) * 2), public="success"),
    Bad("manifest-frame-cut", "§4.4", "format", "the frame lacks its last octet",
        packed(frame(HONEST)[:-1]), public="success"),
    Bad("manifest-bomb", "§4.4", "format.limit", "a small frame that unpacks to 33 MiB",
        packed(frame(bytes(33 << 20), level=19)), public="success"),
    Bad("manifest-bomb-of-items", "§2.3", "format.limit",
        "a small frame that unpacks to 8 million empty arrays, or 700 MiB in memory",
        packed(frame(b"\x9a" + (8 << 20).to_bytes(4) + b"\x80" * (8 << 20), level=19)),
        public="success"),
)  # fmt: skip

FIELDS = (
    Bad("manifest-empty", "§4.1", "format", "neither file nor folder", manifest(listing()),
        public="success"),
    Bad("manifest-field-missing", "§2.4", "format", "no note",
        manifest({k: v for k, v in cbor2.loads(HONEST).items() if k != "note"}), public="success"),
    Bad("manifest-field-unknown", "§2.4", "format", "a field that does not exist",
        manifest(listing([PATH, SIZE, 0], colour="blue")), public="success"),
    Bad("manifest-critical", "§2.5", "format.version", "an unknown extension must be understood",
        manifest(listing([PATH, SIZE, 0], critical={"links": []})), public="success"),
    Bad("manifest-file-of-two", "§4.1", "format", "a file without time",
        manifest(listing([PATH, SIZE])), public="success"),
    Bad("manifest-size-true", "§4.1", "format", "a file of size true",
        manifest(listing([PATH, True, 0])), public="success"),
    Bad("manifest-time-true", "§4.1", "format", "a file changed at true",
        manifest(listing([PATH, SIZE, True])), public="success"),
    Bad("manifest-size-negative", "§2.1", "format", "a file of size -1",
        manifest(listing([PATH, -1, 0])), public="success"),
    Bad("manifest-size-2-60", "§14", "format.limit", "a file that claims 2^60 octets",
        manifest(listing([PATH, 1 << 60, 0])), public="success"),
    Bad("manifest-time-2-63", "§4.1", "format.limit", "a time that no file system can store",
        manifest(listing([PATH, SIZE, 1 << 63])), public="success"),
    Bad("manifest-name-octets", "§4.1", "format", "a path that is a byte string",
        manifest(listing([PATH.encode(), SIZE, 0])), public="success"),
    Bad("manifest-note-too-long", "§4.1", "format.limit", "a note of 4097 octets",
        manifest(listing([PATH, SIZE, 0], note="n" * 4097)), public="success"),
    Bad("manifest-too-many-files", "§14", "format.limit", "131073 files",
        manifest(listing(*[["a", 0, 0]] * 131073)), public="success"),
    Bad("manifest-calls-for-less", "§5.2", "integrity", "files for one chunk, but there are two",
        manifest(listing([PATH, 1024, 0])), public="success"),
    Bad("manifest-calls-for-more", "§5.2", "integrity", "files for three chunks, but there are two",
        manifest(listing([PATH, 2049, 0])), public="success"),
    Bad("manifest-calls-for-more-than-can-be", "§5.2", "format.limit",
        "files for more chunks than a parcel may have",
        manifest(listing(*[[f"{i}", (1 << 41) - 1, 0] for i in range(2)])), public="success"),
    Bad("manifest-other-sizes", "§6.2", "integrity", "the same two chunks, but a shorter last one",
        manifest(listing([PATH, SIZE - 1, 0])), public="success"),
    Bad("manifest-cut-elsewhere", "§6.2", "integrity", "the same octets, said to be two files",
        manifest(listing(["a", 500, 0], ["b", SIZE - 500, 0])), public="success"),
)  # fmt: skip

PATHS = {
    "parent": "../x",
    "parent-inside": "a/../../x",
    "current": "./x",
    "absolute": "/etc/x",
    "empty": "",
    "empty-part": "a//b",
    "slash-at-end": "a/",
    "hidden": ".bashrc",
    "hidden-folder": "a/.ssh/authorized_keys",
    "backslash": "a\\..\\x",
    "drive": "C:/x",
    "stream": "a.dcm:hidden",
    "wildcard": "*.dcm",
    "space-at-end": "x ",
    "dot-at-end": "x.",
    "nul": "a\0b",
    "newline": "a\nb",
    "escape": "a\x1b]52;c;x\x07b",
    "delete": "a\x7fb",
    "device": "CON",
    "device-with-suffix": "a/aux.tar.gz",
    "device-with-space": "Lpt1 .txt",
    "device-superscript": "com\u00b9.dcm",
    "device-full-width": "\uff43\uff4f\uff4e",
    "device-with-selector": "nul\ufe0f",
    "bidi": "scan\u202egpj.exe",
    "zero-width-space": "a\u200bb",
    "byte-order-mark": "\ufeffa",
    "soft-hyphen": "a\u00adb",
    "line-separator": "a\u2028b",
    "private-use": "a\ue000b",
    "filler": "a\u3164b",
    "joiner-before-dot": "\u200d.ssh/authorized_keys",
    "joiner-only": "a/\u200d",
    "selector-after-dot": "a.\ufe0f",
    "full-width-dots": "\uff0e\uff0e/x",
    "two-dot-leader": "\u2025/x",
    "full-width-slash": "a\uff0fb",
    "full-width-backslash": "a\uff3cx",
    "part-too-long": "n" * 256,
    "part-too-long-in-utf8": "\u5f71" * 86,
    "too-long": "/".join(["n" * 200] * 6),
    "too-deep": "/".join("d" * 33),
}

COLLISIONS: dict[str, tuple[str, ...]] = {
    "same": ("x", "x"),
    "case": ("Scan", "scan"),
    "case-folding": ("stra\u00dfe", "STRASSE"),
    "composition": ("M\u00fcller", "Mu\u0308ller"),
    "joiner": ("ab", "a\u200db"),
    "selector": ("a\u2764", "a\u2764\ufe0f"),
    "file-and-folder": ("a", "a/b"),
    "file-and-folder-case": ("A", "a/b"),
    "folders-in-two-cases": ("a/x", "A/y"),
    "folders-composed-and-not": ("M\u00fc/x", "Mu\u0308/y"),
    "folders-far-apart": ("a/b/x", "a/c/y", "A/d/z"),
}


SHOWN = ("parent", "absolute", "backslash", "nul", "device", "bidi", "joiner-before-dot")
"""The paths that get a parcel of their own; all are in `paths.json`."""

ALLOWED = (
    "CT/0001.dcm",
    "console/COM10.txt",
    "a..b/~c/-d",
    " leading space",
    "n" * 255,
    "/".join("d" * 32),
    "\u5f71\u50cf/\u80f8\u90e8 CT.dcm",
    "Mu\u0308ller.dcm",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
    "\u2764\ufe0f.txt",
    "\U0001f468\u200d\u2695\ufe0f.txt",
)


def listed() -> dict[str, object]:
    """Return what `paths.json` holds: paths that a reader must refuse, and some it must not."""
    return {"refused": PATHS, "collide": COLLISIONS, "allowed": ALLOWED}


def path_scenario(name: str, comment: str, spec: str, *paths: str) -> Bad:
    """Return the scenario in which the one-file parcel lists *paths*."""
    value = listing(*[[path, 0, 0] for path in paths[:-1]], [paths[-1], 1, 0])
    return Bad(name, spec, "format", comment, manifest(value), public="success", base="one-file")


PARCELS_WITH_PATHS = (
    *(path_scenario(f"path-{name}", "a forbidden name", "§4.2", PATHS[name]) for name in SHOWN),
    path_scenario("collision-case", "names that differ in case", "§4.3", "Scan", "scan"),
    path_scenario("collision-folder", "a folder that is a file as well", "§4.3", "a", "a/b"),
    Bad("path-of-folder", "§4.2", "format", "an empty folder with a forbidden name",
        manifest(listing(["x", 1, 0], folders=["../x"])), public="success", base="one-file"),
    Bad("collision-empty-folder", "§4.3", "format", "an empty folder that is not empty",
        manifest(listing(["a/x", 1, 0], folders=["A"])), public="success", base="one-file"),
)  # fmt: skip

MANIFESTS = (*SEALING, *FIELDS, *PARCELS_WITH_PATHS)
