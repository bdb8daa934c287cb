"""A second implementation, written from docs/format.md alone, agrees with the first."""

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medshare.codecs import Effort
from tests import independent_keys
from tests.builder import Parcel, make_identity, make_parcel, octets, write_folder
from tests.independent_decoder import content, paths
from tests.independent_values import RefusedError
from tests.vector_files import PATHS, STATIONS, Vector, all_vectors, listing_of

ROOT = Path(__file__).resolve().parents[1]
VECTORS = {vector.name: vector for vector in all_vectors() if vector.kind == "parcel"}
KEYS = json.loads(STATIONS.read_text(encoding="utf-8"))
LISTED = json.loads(PATHS.read_text(encoding="utf-8"))
KEM = independent_keys.KEM
ALLOWED = {"blake3", "cbor2", "cryptography", "gmalglib", "numpy", "zstandard", "tests"}


def test_it_shares_no_code() -> None:
    """The decoder imports the standard library, six packages and its own parts."""
    for file in (ROOT / "tests").glob("independent_*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            match node:
                case ast.Import(names=names):
                    roots = {name.name.partition(".")[0] for name in names}
                case ast.ImportFrom(module=str(module)):
                    assert not module.startswith("tests.") or "independent" in module
                    roots = {module.partition(".")[0]}
                case _:
                    continue
            assert roots <= ALLOWED | sys.stdlib_module_names


def read(vector: Vector, folder: Path) -> str:
    """Return how reading *vector* ends: `success`, or the kind of fault."""
    vector.write_folder(folder)
    reader, sender = KEYS[vector.recipient], KEYS[vector.sender]
    station = bytes.fromhex(reader["station"])
    kem, seed = next(iter(reader["open"].items()))
    try:
        card = bytes.fromhex(sender["card"])
        files, _ = content(folder, card, station, bytes.fromhex(seed), kem)
    except RefusedError as error:
        return str(error).partition(":")[0]
    assert listing_of(dict(files)) == vector.files
    return "success"


@pytest.mark.parametrize("name", VECTORS)
def test_it_agrees_on_every_vector(name: str, tmp_path: Path) -> None:
    """It reads each vector, or refuses it with the same kind of fault, as stated."""
    vector = VECTORS[name]
    assert read(vector, tmp_path) == vector.expect


@pytest.mark.parametrize("kind", ["refused", "collide"])
def test_it_refuses_the_listed_paths(kind: str) -> None:
    """It refuses every path, and every set of paths, that the list says must be refused."""
    for listed in LISTED[kind].values():
        with pytest.raises(RefusedError):
            paths([listed] if isinstance(listed, str) else listed)


def test_it_accepts_the_listed_paths() -> None:
    """It accepts the unusual names that must be accepted."""
    paths(LISTED["allowed"])


def decode(
    parcel: Parcel, folder: Path, reader: Mapping[str, Any], kem: str = KEM
) -> tuple[int, str]:
    """Run the decoder as a program of its own; return its exit code and what it said."""
    write_folder(parcel, folder / "parcel")
    (folder / "card").write_bytes(parcel.sender.card.encoded)
    command = [
        sys.executable, "-m", "tests.independent_decoder", str(folder / "parcel"),
        "--card", str(folder / "card"), "--output", str(folder / "out"),
        "--station", reader["station"], "--kem", kem, "--seed", reader["open"][kem],
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


A, B = make_identity("a"), make_identity("b")
FILES = {
    "ct/0001.dcm": octets("slice", 5000),
    "ct/0002.dcm": b"zeros" * 3000,
    "leer": b"",
    "影像/x": b"x" * 1024,
}


@pytest.mark.parametrize(
    ("suite", "reader", "kem"), [("intl", "b", KEM), ("p256", "tb", "p256"), ("gm", "gb", "sm2")]
)
def test_it_decodes_a_fresh_parcel(suite: str, reader: str, kem: str, tmp_path: Path) -> None:
    """A parcel that was sealed just now comes out of the program as the files that went in."""
    parcel = make_parcel(
        FILES,
        sender=make_identity("a", suite),
        recipients=[make_identity(reader, suite)],
        effort=Effort.SMALLEST,
        folders=["empty"],
        pad=True,
    )
    code, said = decode(parcel, tmp_path, KEYS[reader], kem)
    assert (code, said) == (0, "")
    out = tmp_path / "out"
    found = {str(f.relative_to(out)): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    assert found == FILES
    assert (out / "empty").is_dir()


def test_it_writes_nothing_of_a_damaged_parcel(tmp_path: Path) -> None:
    """One flipped bit in the last chunk, and the program says so and writes no file."""
    parcel = make_parcel(FILES, sender=A, recipients=[B])
    last = bytearray(parcel.chunks[-1])
    last[50] ^= 1
    parcel.chunks[-1] = bytes(last)
    code, said = decode(parcel, tmp_path, KEYS["b"])
    assert code == 3
    assert said.startswith("authenticity.signature: ")
    assert not (tmp_path / "out").exists()
