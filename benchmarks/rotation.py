"""What a rotation of keys costs: a vault full of parcels, new keys, and kills on the way.

    python -m benchmarks.rotation --parcels 1000 --size 10MiB --kills 50
    python -m benchmarks.rotation --parcels 100000 --light --kills 0
    python -m benchmarks.rotation --parcels 200 --size 10MiB --kills 0 --compromised

A station is made below `--folder`, with a policy by which its keys are due at once, and a vault
of sealed parcels.  Then `medshare rotate-key --due` runs as a program of its own, again and
again, and is killed (SIGKILL) after a random time, each rotation up to three times before it
may finish, until there were as many kills as asked; a last rotation runs undisturbed.  Before
and after, every file of every parcel but `wrap` is hashed and its time of change noted; at the
end every parcel is opened, chunk by chunk.

With `--light`, parcels share sealed files by hard links, and each has a `wrap` of its own: enough
for what a rotation looks at, and hardly any of them opens.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from benchmarks.measure import MIB, machine
from medshare.chunking import DEFAULT_CHUNK_SIZE, Layout
from medshare.disk.atomic import is_temporary
from medshare.envelope import encode_envelope
from medshare.ids import ParcelId
from medshare.keys.sealed import KdfCost
from medshare.manifest import FileEntry, Manifest
from medshare.packing import ChunkPacker, ChunkSealer
from medshare.seal import Seal, encode_seal
from medshare.sealing import ParcelKey, seal_manifest
from medshare.sharing.outgoing import Secrets, SendOptions, facts_of
from medshare.sharing.wrapped import WRAP_FILE, encode_wrap, parse_wrap
from medshare.station import Identity, Station
from medshare.station.key_book import Happened, KeyBook
from medshare.station.tier_keys import TierKeys
from medshare.suites.intl import INTL
from medshare.vault.store import Vault
from medshare.vault.stored import open_stored

PASSPHRASE = b"a passphrase for measuring only"
POLICY = 'version = 1\n[identity]\nrotate_after = "never"\n[tiers.routine]\nrotate_after = "1s"\n'
_PARTS = ("envelope", "manifest", "seal")
_LINKS = 50_000
"""So many parcels share their files: ext4 allows 65,000 names for one."""


class Desk:
    """A station with a vault below *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.root = folder / "home", folder / "vault"
        self.passphrase = folder / "passphrase"
        if not self.home.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.passphrase.write_bytes(PASSPHRASE)
            self.passphrase.chmod(0o600)
            Station.create(self.home, name="bench", passphrase=PASSPHRASE, now=1, cost=KdfCost())
            (self.home / "policy.toml").write_text(POLICY)
            (self.home / "policy.toml").chmod(0o600)
        self.environ = {
            **os.environ,
            "MEDSHARE_HOME": str(self.home),
            "MEDSHARE_VAULT": str(self.root),
            "MEDSHARE_PASSPHRASE_FILE": str(self.passphrase),
        }

    def unlocked(self) -> tuple[Vault, Identity]:
        """Return vault and identity, opened anew."""
        station = Station.open(self.home)
        return Vault.make(self.root, station), station.unlock(PASSPHRASE)

    def command(self, *words: str) -> list[str]:
        """Return the command line of `medshare` with these words."""
        return [sys.executable, "-m", "medshare", *words]


class Making:
    """Puts parcels into a vault, without waiting for the disk; the content is random."""

    def __init__(self, desk: Desk, size: int) -> None:
        self._vault, self._identity = desk.unlocked()
        assert self._identity.tiers is not None  # for the type checker
        self._tiers: TierKeys = self._identity.tiers
        self._layout = Layout((size,), DEFAULT_CHUNK_SIZE)
        self._content = memoryview(os.urandom(size))
        self._label = self._tiers.make_first("routine")

    def whole(self) -> ParcelId:
        """Seal one parcel in full."""
        secrets = Secrets.new(INTL)
        manifest = Manifest((FileEntry("image.dcm", len(self._content), 0),), (), "")
        sealed_manifest = seal_manifest(manifest, secrets.key, INTL, secrets.parcel)
        facts = facts_of(
            secrets, INTL, self._layout, sealed_manifest, (), self._identity, SendOptions(), 2
        )
        envelope, octets = encode_envelope(facts, self._identity.signers)
        folder = self._vault.folder(secrets.parcel)
        (folder / "chunks").mkdir(parents=True)
        sealer = ChunkSealer(
            INTL, secrets.parcel, envelope.chunk_count, secrets.key, secrets.signer
        )
        packer, digests, at = ChunkPacker(sealer, self._layout), [], 0
        for index in range(envelope.chunk_count):
            view = packer.plain(index)
            view[:] = self._content[at : at + len(view)]
            at += len(view)
            packed = packer.pack(index)
            (folder / "chunks" / f"{index:08d}").write_bytes(packed.sealed)
            digests.append(packed.record.digest)
        draft = Seal(
            envelope.parcel, envelope.digest, envelope.manifest_digest, tuple(digests), 2,
            envelope.digest,
        )  # fmt: skip
        seal = encode_seal(draft, envelope, self._identity.signers)[1]
        for name, data in zip(_PARTS, (octets, sealed_manifest, seal), strict=True):
            (folder / name).write_bytes(data)
        self._wrap(folder, secrets.parcel, secrets.key)
        return secrets.parcel

    def light(self, like: Path) -> None:
        """Make a folder with the sealed files of *like*, and a wrapped key of its own."""
        parcel = ParcelId(os.urandom(16))
        folder = self._vault.folder(parcel)
        folder.mkdir()
        for name in _PARTS:
            os.link(like / name, folder / name)
        self._wrap(folder, parcel, ParcelKey(os.urandom(32)))

    def _wrap(self, folder: Path, parcel: ParcelId, key: ParcelKey) -> None:
        wrapped = self._tiers.wrap_counted(self._label, key.value)
        (folder / WRAP_FILE).write_bytes(encode_wrap(parcel, wrapped))


def make(desk: Desk, parcels: int, size: int, *, light: bool) -> float:
    """Fill the vault; return the seconds that it took."""
    begun = time.perf_counter()
    making = Making(desk, size)
    vault, _ = desk.unlocked()
    whole = ParcelId(b"")
    for number in range(parcels):
        if light and number % _LINKS:
            making.light(vault.folder(whole))
        else:
            whole = making.whole()
    os.sync()
    return time.perf_counter() - begun


def fingerprint(root: Path) -> tuple[int, int, str]:
    """Return number and octets of the files that no rotation may touch, and what they are.

    What they are is a hash over names, times of change and content.  What a killed run left
    half written is no part of any parcel; it goes an hour later.
    """
    whole, count, octets = blake3(), 0, 0
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if name == WRAP_FILE or is_temporary(name):
                continue
            path = Path(folder) / name
            status = path.stat()
            whole.update(
                f"{path.relative_to(root)} {status.st_mtime_ns} {status.st_size} ".encode()
            )
            whole.update(path.read_bytes())
            count, octets = count + 1, octets + status.st_size
    return count, octets, whole.hexdigest()


def rotate(desk: Desk, *, kill_after: float | None = None) -> tuple[float, int]:
    """Run `rotate-key --due`, perhaps killed after some seconds; return seconds and exit code."""
    words = desk.command("rotate-key", "--due", "--json")
    begun = time.perf_counter()
    with subprocess.Popen(words, env=desk.environ, stdout=subprocess.PIPE) as program:
        try:
            program.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGKILL)
            program.communicate()
    return time.perf_counter() - begun, program.returncode


def kill_often(desk: Desk, kills: int, whole: float, seed: int) -> dict[str, Any]:
    """Kill rotations at random moments of their whole length, until *kills* were; say where.

    One rotation is killed at most three times and then completed, so that the kills are spread
    over many rotations, and over the beginning, the middle and the end of each.
    """
    draw, killed, finished = random.Random(seed), 0, 0
    where: Counter[str] = Counter()
    while killed < kills:
        time.sleep(1.1)  # so that the keys are due again
        for _ in range(min(draw.randint(1, 3), kills - killed)):
            _, code = rotate(desk, kill_after=draw.uniform(0, whole))
            finished += code == 0
            if code != -signal.SIGKILL:
                break
            killed += 1
            where[where_killed(desk)] += 1
        else:
            finished += rotate(desk)[1] == 0
    return {
        "killed": killed,
        "rotations_finished": finished,
        "share_of_keys_wrapped_when_killed": dict(sorted(where.items())),
    }


def where_killed(desk: Desk) -> str:
    """Return how far a killed rotation had come: which tenth of the keys is wrapped anew."""
    entries = KeyBook(desk.home).entries()
    newest = [one.key for one in entries if one.what == Happened.MADE][-1]
    if newest in {one.key for one in entries if one.what == Happened.ROTATION_DONE}:
        return "starting, or ending"
    labels = [parse_wrap(path.read_bytes())[1].label for path in desk.root.glob(f"*/{WRAP_FILE}")]
    done = labels.count(newest)
    return "all wrapped" if done == len(labels) else f"{10 * done // len(labels)}0 %"


def open_all(desk: Desk) -> tuple[int, int]:
    """Open every parcel, chunk by chunk; return how many there are, and octets of plaintext.

    Each must open by the wrapped key alone, without identity keys.
    """
    vault, identity = desk.unlocked()
    identity = replace(identity, openers=())
    count = octets = 0
    for parcel in vault.parcels():
        stored = open_stored(vault, parcel, identity)
        stored.read_all(lambda index, plain: None)  # noqa: ARG005
        count, octets = count + 1, octets + stored.layout.total_size
    return count, octets


def measure_rotation(desk: Desk, arguments: argparse.Namespace) -> dict[str, Any]:
    """Rotate, killed and whole; return the figures."""
    before = fingerprint(desk.root)
    seconds, code = rotate(desk)
    dry = time.perf_counter()
    subprocess.run(
        desk.command("rotate-key", "--tier", "routine", "--dry-run", "--json"),
        env=desk.environ, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    dry = time.perf_counter() - dry
    kills = kill_often(desk, arguments.kills, seconds, arguments.seed)
    time.sleep(1.1)  # so that the keys are due again
    last, last_code = rotate(desk)
    after = fingerprint(desk.root)
    figures: dict[str, Any] = {
        "rotate_due_seconds": round(seconds, 2),
        "dry_run_seconds": round(dry, 2),
        "exit_codes": [code, last_code],
        "kills": kills,
        "last_run_seconds": round(last, 2),
        "files_hashed": before[0],
        "bytes_hashed": before[1],
        "untouched": before == after,
        "temporary_files_left": sum(is_temporary(path.name) for path in desk.root.glob("*/*")),
        "keys_left": [kek.label for kek in desk.unlocked()[1].tiers.all()],  # type: ignore[union-attr]  # made above
    }
    if not arguments.light:
        begun = time.perf_counter()
        opened, octets = open_all(desk)
        figures |= {
            "opened": opened,
            "opened_bytes": octets,
            "open_seconds": round(time.perf_counter() - begun, 2),
        }
    return figures


def measure_compromise(desk: Desk) -> dict[str, Any]:
    """Answer a compromised key; return the figures."""
    before = set(desk.unlocked()[0].parcels())
    begun = time.perf_counter()
    done = subprocess.run(
        desk.command("rotate-key", "--compromised", "routine", "--json"),
        env=desk.environ, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    record = json.loads(done.stdout.splitlines()[-1])
    after = set(desk.unlocked()[0].parcels())
    opened, octets = open_all(desk)
    return {
        "compromised_seconds": round(seconds, 2),
        "resealed": len(record["resealed"]),
        "old_parcels_left": len(before & after),
        "destroyed": record["destroyed"],
        "opened": opened,
        "mib_per_second": round(octets / MIB / seconds, 1),
    }


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parcels", type=int, default=1000)
    parser.add_argument("--size", default="10MiB", help="of each parcel: 10MiB, 4KiB")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--light", action="store_true", help="share sealed files by hard links")
    parser.add_argument("--compromised", action="store_true", help="seal everything anew instead")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder, on a real disk")
    arguments = parser.parse_args()
    desk = Desk(arguments.folder.absolute())
    size = int(arguments.size[:-3]) * {"KiB": 1024, "MiB": MIB}[arguments.size[-3:]]
    made = make(desk, arguments.parcels, size, light=arguments.light)
    time.sleep(1.5)  # so that the keys are due
    figures = (
        measure_compromise(desk) if arguments.compromised else measure_rotation(desk, arguments)
    )
    result = {
        "parcels": arguments.parcels,
        "size": arguments.size,
        "light": arguments.light,
        "make_seconds": round(made, 1),
        **figures,
        "machine": machine(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
