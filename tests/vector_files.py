"""Vector files: what a test vector says of itself, then the octets it is about.

    spec: medshare/1 §7.2
    expect: format                what opening it must end in
    public: format                what checking it without any key must end in
    sender: a
    recipient: b
    comment: one key of a recipient is named twice
    file: …                       BLAKE3, size and path of each file, when it opens
    base: two-chunks              objects not listed here are those of that vector,
    absent: seal                  except these
    octets: envelope 9441
    octets: …

After the first empty line follow the octets, in that order, without anything between.
`stations.json` has the secret keys and the card of each station, the keys by algorithm.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from medshare.suites.kem import opener_from_seed
from medshare.suites.signatures import signer_from_seed
from medshare.trust.card import parse_card
from tests.builder import Identity

FOLDER = Path(__file__).parent / "vectors"
STATIONS = FOLDER / "stations.json"
PATHS = FOLDER / "paths.json"
SUFFIX = ".vector"
MAX_LINES = 64
EXPECT = {
    "success",
    "format",
    "format.limit",
    "format.version",
    "integrity",
    "integrity.codec",
    "integrity.digest",
    "integrity.incomplete",
    "authenticity",
    "authenticity.signature",
    "authenticity.untrusted",
    "key.not-addressed",
}
"""How reading a vector may end: success, or the code of an error."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector: a parcel, a card or a receipt, and what must become of it."""

    name: str
    spec: str
    expect: str
    public: str
    comment: str
    objects: Mapping[str, bytes]
    sender: str = "a"
    recipient: str = "b"
    files: tuple[str, ...] = ()
    """BLAKE3, size and path of each file that comes out, as `listing_of` writes them."""

    @property
    def envelope(self) -> bytes:
        """The encoded envelope."""
        return self.objects["envelope"]

    @property
    def manifest(self) -> bytes:
        """The sealed manifest; empty where nothing beyond the envelope matters."""
        return self.objects.get("manifest", b"")

    @property
    def chunks(self) -> list[bytes]:
        """The sealed chunks."""
        names = sorted(name for name in self.objects if name.startswith("chunks/"))
        return [self.objects[name] for name in names]

    @property
    def seal(self) -> bytes:
        """The seal; empty when it is missing."""
        return self.objects.get("seal", b"")

    @property
    def kind(self) -> str:
        """What it is: `parcel`, `card` or `receipt`."""
        return next((kind for kind in ("card", "receipt") if kind in self.objects), "parcel")

    def encode(self, base: "Vector | None" = None) -> bytes:
        """Return the octets of the vector file; of *base*, say only what differs."""
        old = {} if base is None else base.objects
        new = {name: data for name, data in self.objects.items() if old.get(name) != data}
        lines = [
            f"spec: medshare/1 {self.spec}",
            f"expect: {self.expect}",
            f"public: {self.public}",
            f"sender: {self.sender}",
            f"recipient: {self.recipient}",
            f"comment: {self.comment}",
            *(f"base: {one.name}" for one in (base,) if one is not None),
            *(f"absent: {name}" for name in old if name not in self.objects),
            *(f"file: {line}" for line in self.files),
            *(f"octets: {name} {len(data)}" for name, data in new.items()),
        ]
        return "\n".join([*lines, "", ""]).encode() + b"".join(new.values())

    def write_folder(self, folder: Path) -> None:
        """Write the parcel folder of docs/format.md §11."""
        for name, data in self.objects.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


def listing_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the lines that tell what *files* hold; of very many, one line for all."""
    lines = [f"{blake3(data).hexdigest()} {len(data)} {path}" for path, data in files.items()]
    if len(lines) > MAX_LINES:
        lines = [f"{blake3(chr(10).join(lines).encode()).hexdigest()} {len(lines)} in all"]
    return tuple(lines)


def load(file: Path) -> Vector:
    """Return the vector in *file*."""
    head, _, rest = file.read_bytes().partition(b"\n\n")
    one: dict[str, str] = {}
    files: list[str] = []
    objects: dict[str, bytes] = {}
    at = 0
    for line in head.decode().split("\n"):
        key, _, value = line.partition(": ")
        if key == "file":
            files.append(value)
        elif key == "octets":
            name, _, count = value.partition(" ")
            objects[name] = rest[at : at + int(count)]
            at += int(count)
        elif key == "base":
            objects = dict(load(file.with_name(value + SUFFIX)).objects)
        elif key == "absent":
            del objects[value]
        else:
            one[key] = value
    assert at == len(rest)
    spec = one.pop("spec").removeprefix("medshare/1 ")
    return Vector(name=file.stem, spec=spec, objects=objects, files=tuple(files), **one)


def all_vectors() -> Iterator[Vector]:
    """Yield every vector in the folder."""
    for file in sorted(FOLDER.glob(f"*{SUFFIX}")):
        yield load(file)


def stations() -> dict[str, Identity]:
    """Return the stations of the vectors, with their secret keys."""
    found = json.loads(STATIONS.read_text())
    return {name: _identity(name, values) for name, values in found.items()}


def _identity(name: str, values: Mapping[str, Any]) -> Identity:
    signers = tuple(
        signer_from_seed(one, bytes.fromhex(key)) for one, key in values["sign"].items()
    )
    openers = tuple(
        opener_from_seed(one, bytes.fromhex(key)) for one, key in values["open"].items()
    )
    return Identity(name, parse_card(bytes.fromhex(values["card"])), signers, openers)
