"""What programs that keep files compressed make of a kind: octets in their store, no speed.

Their own framing and encryption is counted, as it would lie on the server.
"""

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.tools.base import found, program

_WORDS: Final = "a passphrase for a comparison\n"


def restic(source: Path, root: Path) -> int:
    """Return the octets of the packs that `restic backup` makes of *source*."""
    password, store = root / "password", root / "store"
    password.write_text(_WORDS, encoding="ascii")
    words = [program("restic"), "-q", "-r", str(store), "--password-file", str(password)]
    words += ["--cache-dir", str(root / "cache")]
    for command in (["init"], ["backup", "."]):
        subprocess.run([*words, *command], cwd=source, check=True, capture_output=True)
    return _octets(store / "data")


def rclone_compress(source: Path, root: Path) -> int:
    """Return the octets that `rclone copy` to a compress remote stores for *source*."""
    store, config = root / "store", root / "rclone.conf"
    config.write_text(f"[small]\ntype = compress\nremote = {store}\n", encoding="ascii")
    words = [program("rclone"), "--config", str(config), "copy", str(source), "small:"]
    subprocess.run(words, check=True, capture_output=True)
    return _octets(store)


STORES: Final[Mapping[str, tuple[str, Callable[[Path, Path], int]]]] = {
    "restic": ("restic", restic),
    "rclone compress": ("rclone", rclone_compress),
}
"""By name: the program that must be installed, and what measures it."""


def stored(files: Sequence[bytes]) -> dict[str, int]:
    """Return what each store that is installed makes of *files*."""
    sizes: dict[str, int] = {}
    for name, (needed, measure) in STORES.items():
        if found(needed) is None:
            continue
        with tempfile.TemporaryDirectory(prefix="stored-") as temporary:
            source, root = Path(temporary, "source"), Path(temporary, "root")
            source.mkdir()
            root.mkdir()
            for number, data in enumerate(files):
                (source / f"{number:05}").write_bytes(data)
            sizes[name] = measure(source, root)
    return sizes


def _octets(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
