"""What many small files cost on disk alone: list, read, write, make durable, place.

No encryption and no network: the price of names.  Prints one JSON object; run it as
`python -m benchmarks.small_files --files 20000`.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medshare.disk.incoming import PartFolder
from medshare.disk.scan import scan
from medshare.disk.sources import SourceReader, Sources
from medshare.ids import ParcelId
from medshare.manifest import Manifest

FILES_A_FOLDER = 200
PARCEL = ParcelId(bytes(16))


def run(files: int, size: int, folder: Path) -> dict[str, Any]:
    """Move *files* files of *size* octets from one folder to another; return seconds a step."""
    seconds: dict[str, float] = {}
    source = folder / "study"
    with timed(seconds, "make_sources"):
        make_sources(source, files, size)
    with timed(seconds, "scan"):
        sources = scan([source], follow_symlinks=False, skip_hidden=False)
    with timed(seconds, "describe_and_match"):
        same = sources.matches(sources.describe())
    manifest = Manifest(tuple(sources.entries()), sources.folders)
    with PartFolder(folder / "out", PARCEL) as part:
        with timed(seconds, "prepare"):
            part.prepare(manifest)
        with timed(seconds, "read_and_write"):
            copy(sources, part)
        with timed(seconds, "flush"):
            part.flush()
    with PartFolder(folder / "out", PARCEL) as part:
        with timed(seconds, "prepare_again"):
            kept = part.prepare(manifest).kept
        with timed(seconds, "place"):
            part.place()
        with timed(seconds, "discard"):
            part.discard()
    if not (same and kept):
        raise RuntimeError("the second look found other files than the first")
    return {
        "files": files,
        "size": size,
        "seconds": seconds,
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long the block takes."""
    began = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - began, 3)


def make_sources(source: Path, files: int, size: int) -> None:
    """Make files named as a CT scanner names them."""
    for index in range(files):
        folder = source / f"series {index // FILES_A_FOLDER}"
        if index % FILES_A_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"IM-{index % FILES_A_FOLDER:04}.dcm").write_bytes(bytes(size))


def copy(sources: Sources, part: PartFolder) -> None:
    """Read every file, and write it to its place in the part folder."""
    block = memoryview(bytearray(max(sources.sizes)))
    with SourceReader(sources) as reader:
        for index, size in enumerate(sources.sizes):
            reader.read_into(index, 0, block[:size])
            part.write(index, 0, block[:size])


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=1024, help="octets of each file")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(json.dumps(run(options.files, options.size, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
