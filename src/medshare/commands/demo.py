"""`medshare demo`: a study travels from hospital A to hospital B, and one byte goes wrong.

Every command that is shown is run, as it is shown, by the program itself.
"""

import shlex
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medshare.commands import text
from medshare.commands.options import examples
from medshare.errors import IntegrityError, MedshareError, UsageError

if TYPE_CHECKING:
    from medshare.commands.stage import Place

_DAMAGED: Final = 3
_NOTE: Final = "second opinion, please"


@click.command(
    epilog=examples(
        """
        medshare demo                    # with the images of pydicom-data
        medshare demo ~/studies/ct_head  # with a study of yours; it is only read
        """
    )
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
def demo(path: Path | None) -> None:
    """Watch a study travel between two hospitals.

    In a temporary folder: a relay with TLS and two stations, each with keys of its own.
    They exchange cards, a study is sent, received and verified. Then one byte in the
    relay's store is flipped, noticed, and mended. Nothing leaves this machine, and nothing
    stays behind.
    """
    if path is not None and not path.exists():
        raise UsageError(f"there is nothing at {path}")
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="medshare-demo-"))
        Story(Path(root).resolve(), path, stack).tell()


@dataclass(slots=True)
class Summary:
    """What was seen, to be shown at the end: claim, evidence."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, claim: str, evidence: str) -> None:
        """Note that *claim* was seen to hold."""
        self.rows.append((claim, evidence))


class Story:
    """The demo in four acts; any surprise ends it with an error."""

    def __init__(self, root: Path, path: Path | None, stack: ExitStack) -> None:
        from medshare.commands.live import console
        from medshare.commands.stage import Relay, gather_study, hospital

        self._console = console()
        self._summary = Summary()
        self._begun = time.monotonic()
        self._relay = Relay(root)
        stack.callback(self._relay.stop)
        url, ca_file = self._relay.url, self._relay.ca_file
        self._a = hospital("hospital-a", root, relay=url, ca_file=ca_file)
        self._b = hospital("hospital-b", root, relay=url, ca_file=ca_file)
        if path is None:
            gather_study(self._a.folder / "study")
            self._sent = "study"
        else:
            self._sent = str(path.resolve())
        self._source = self._a.folder / self._sent
        self._files = _files_in(self._source)

    def tell(self) -> None:
        """Run all of it."""
        self._meet()
        parcel = self._deliver()
        self._look_into_relay()
        self._damage(parcel)
        self._finish()

    # --- the acts ------------------------------------------------------------------------

    def _meet(self) -> None:
        self._act("1", "Two hospitals and a relay meet")
        self._remark(f"a relay runs at {self._relay.url}; it holds no key that opens anything")
        self._run(self._a, "init", "--name", "hospital-a")
        self._run(self._b, "init", "--name", "hospital-b", quiet=True)
        self._remark("each gives its public card to the other and to the relay")
        for place in (self._a, self._b):
            self._run(place, "card", "export", "--output", f"../{place.name}.card", silent=True)
        self._remark("each imports the other's card; in earnest, compare fingerprints by telephone")
        self._run(self._a, "card", "import", "../hospital-b.card", "--yes", quiet=True)
        self._run(self._b, "card", "import", "../hospital-a.card", "--yes", quiet=True)
        for card in ("../hospital-a.card", "../hospital-b.card"):
            self._run(
                self._relay.place, "relay", "enroll", card, "--data", "data", "--yes", quiet=True
            )

    def _deliver(self) -> str:
        """Send, receive, verify; return the parcel's id."""
        total = sum(file.stat().st_size for file in self._files)
        amount = f"{text.count(len(self._files), 'file')}, {text.size(total)}"
        self._act("2", f"A study travels: {amount}")
        before = self._relay.parcels()
        send = ("send", self._sent, "--to", "hospital-b")
        self._run(self._a, *send)
        (parcel,) = self._relay.parcels() - before
        self._run(self._b, "receive", "--list")
        self._run(self._b, "receive", "--output", "inbox")
        self._run(self._b, "verify", "inbox")
        self._remark("hospital A asks again: nothing is sent twice, and now there is a receipt")
        self._run(self._a, *send, "--wait", "30s")
        self._run(self._a, "receipt")
        self._require_same("inbox")
        chunks = self._relay.chunks(parcel)
        moved = text.size(sum(chunk.stat().st_size for chunk in chunks))
        self._summary.add("arrived whole, byte for byte", f"{len(self._files)} of {amount}")
        self._summary.add("compressed and sealed on the way", f"{moved} in {len(chunks)} chunks")
        self._summary.add("proof of delivery", "receipt of hospital-b, kept by hospital-a")
        return parcel

    def _look_into_relay(self) -> None:
        self._act("3", "What the relay knows")
        names = [file.name.encode() for file in self._files if len(file.name) > 5]
        if self._relay.holds(b"DICM", *names):
            raise IntegrityError("the relay holds a file name or an image in the clear")
        self._remark(f"no file name of {len(names)}, and no DICOM header, is in its store")
        self._summary.add("the relay sees only ciphertext", "no name and no image in its store")

    def _damage(self, parcel: str) -> None:
        from medshare.commands.stage import flip_byte

        self._act("4", "One byte in the relay's store is flipped")
        before = self._relay.parcels()
        send = ("send", self._sent, "--to", "hospital-b", "--note", _NOTE)
        self._run(self._a, *send)
        (parcel,) = self._relay.parcels() - before
        chunks = self._relay.chunks(parcel)
        victim = chunks[len(chunks) // 2]
        flip_byte(victim)
        self._remark(
            f"chunk {int(victim.name)} of {len(chunks)} is no longer what was sent", bad=True
        )
        receive = ("receive", parcel[:12], "--output", "second")
        self._run(self._b, *receive, "--wait", "3s", expect=_DAMAGED)
        if (self._b.folder / "second").exists() and _files_in(self._b.folder / "second"):
            raise IntegrityError("files of a damaged parcel have got their names")
        self._summary.add("damage is refused", f"exit code {_DAMAGED}, nothing under a final name")
        self._remark("hospital A runs the same command again, and sends that one chunk anew")
        mended = time.time()
        self._run(self._a, *send)
        renewed = [file for file in self._relay.chunks(parcel) if file.stat().st_mtime >= mended]
        self._remark("hospital B runs the same command again, and fetches only what it lacks")
        self._run(self._b, *receive)
        self._run(self._b, "verify", "second")
        self._require_same("second")
        self._summary.add(
            "and mended", f"{len(renewed)} of {len(chunks)} chunks sent again, the rest kept"
        )

    def _finish(self) -> None:
        from rich.table import Table

        self._act("✓", "What you have seen")
        table = Table.grid(padding=(0, 2, 0, 0))
        for claim, evidence in self._summary.rows:
            table.add_row(f"  {claim}", evidence)
        seconds = time.monotonic() - self._begun
        table.add_row("  in all", f"{text.span(seconds)}; the temporary folder is gone")
        self._console.print(table)
        self._console.print()
        self._console.print("  Begin for yourself: medshare init, then medshare --help")

    # --- how it is told ------------------------------------------------------------------

    def _act(self, number: str, title: str) -> None:
        from rich.text import Text

        self._console.print()
        self._console.print(Text.assemble((f" {number} ", "bold reverse"), (f"  {title}", "bold")))
        self._console.print()

    def _remark(self, remark: str, *, bad: bool = False) -> None:
        from rich.text import Text

        style = "bold red" if bad else "italic dim"
        self._console.print(Text(f"  {remark}", style=style))

    def _run(
        self,
        place: "Place",
        *words: str,
        expect: int = 0,
        quiet: bool = False,
        silent: bool = False,
    ) -> None:
        """Show a command, run it, and see that it ends as it should.

        *quiet* asks the command to say nothing; one that is *silent* has nothing to say.
        """
        from rich.text import Text

        asked = [*words, "--quiet"] if quiet else list(words)
        shown = shlex.join(["medshare", *asked])
        prompt = Text.assemble((f"{place.name}$ ", "bold cyan"), (shown, "bold"))
        self._console.print(prompt, soft_wrap=True)
        code = place.run(asked)
        if code == 130:
            raise KeyboardInterrupt
        if code != expect:
            raise MedshareError(f"a step of the demo ended with {code} instead of {expect}")
        if code:
            self._console.print(Text(f"exit code {code}", style="bold red"))
        if not (quiet or silent):
            self._console.print()

    def _require_same(self, folder: str) -> None:
        """Compare what arrived with what was sent, octet by octet."""
        base = self._source.parent
        for file in self._files:
            arrived = self._b.folder / folder / file.relative_to(base)
            if not arrived.is_file() or arrived.read_bytes() != file.read_bytes():
                raise IntegrityError(f"{file.name} did not arrive as it was sent")


def _files_in(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = (file for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    return sorted(file for file in found if not _is_hidden(file.relative_to(place)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
