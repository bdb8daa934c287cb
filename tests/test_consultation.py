"""docs/consultation.md, run as it stands: stations, an authority, a real relay, an auditor."""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshare import cli
from medshare.relay.enrolment import Stations
from medshare.relay.folder import DataFolder
from medshare.station import Station
from tests.conftest import ROOT
from tests.running_relay import running_relay
from tests.test_cli_credentials import Town

pytestmark = [pytest.mark.service]

PAGE = ROOT / "docs" / "consultation.md"
PEOPLE = {
    "tech": ("radiology", "technician", "radiology"),
    "wang": ("Dr Wang Li", "specialist", "neurology"),
    "novak": ("Dr Jana Novák", "specialist", "dermatology"),
    "okafor": ("Dr Ada Okafor", "physician", "neurology"),
}
CALLED = {"tech": "radiology"}
"""How others call a station, where that is not its folder."""
_TYPED = re.compile(r"(\w+)\$ (medshare|cp) (.*)")
_EXIT = re.compile(r"\[exit ([0-9]+)\]")
_NAMED = re.compile(r"<([a-z]+)>")


@dataclass
class Step:
    """One line that somebody types, what is shown, and how it ends."""

    who: str
    program: str
    words: str
    shown: list[str] = field(default_factory=list)
    exit_code: int = 0


def steps() -> Iterator[Step]:
    """Every line of the page that somebody types."""
    step: Step | None = None
    fence = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        inside = fence == "```"
        if line.startswith("```"):
            fence = "" if fence else line
        elif inside and (typed := _TYPED.fullmatch(line)):
            if step is not None:
                yield step
            step = Step(typed[1], typed[2], typed[3])
        elif inside and step is not None and (end := _EXIT.fullmatch(line)):
            step.exit_code = int(end[1])
        elif inside and step is not None:
            step.shown.append(line)
    if step is not None:
        yield step


def policy() -> str:
    """The policy that the page shows."""
    return PAGE.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]


class Hospital(Town):
    """The stations of the page, at one relay."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.relay = ""
        self.known: dict[str, str] = {}
        (root / "study" / "report.txt").write_text("no haemorrhage, secret-of-the-study")
        (root / "psychiatric").mkdir()
        (root / "psychiatric" / "notes.txt").write_text("notes")
        (root / "opinion.txt").write_text("seen, no melanoma")
        (root / "revised.txt").write_text("report, revised")

    def run(self, who: str, line: str, *more: str) -> Result:
        """Let *who* type *line* at the relay."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            environment = {
                "MEDSHARE_HOME": str(self.root / who),
                "MEDSHARE_PASSPHRASE_FILE": str(self.root / "passphrase"),
                "MEDSHARE_AUTHORITY": str(self.root / "office"),
                "MEDSHARE_RELAY": self.relay,
                "COLUMNS": "250",
            }
            words = [*shlex.split(line), *more]
            return CliRunner().invoke(cli.cli, words, prog_name="medshare", env=environment)

    def found(self) -> None:
        """Make the authority and all stations; exchange cards, and issue certificates."""
        self.do("officer", "authority init --name", "Health Commission")
        for number, (who, (name, role, department)) in enumerate(PEOPLE.items()):
            self.do(who, "init --name", name)
            self.do(who, f"card request --output {who}.csr")
            line = f"authority issue {who}.csr --licence {number} --role {role} --yes"
            more = ("--department", department, "--output", f"{who}.pem", "--name", name)
            self.known[who] = str(self.json("officer", line, *more)["serial"])
            self.do(who, f"card attach {who}.pem")
            self.do(who, f"card export --output {who}.card")
        self.do("officer", "authority crl --output lists-1.pem")
        for who in PEOPLE:
            for other in PEOPLE.keys() - {who}:
                name = CALLED.get(other, other)
                self.do(who, f"card import {other}.card --name {name} --yes")
            self.do(who, "trust add office/ca.pem --name commission --yes")
            self.do(who, "trust update lists-1.pem")
            if who != "tech":
                rules = self.root / who / "policy.toml"
                rules.touch(mode=0o600)
                rules.write_text(policy())

    def named(self, line: str) -> str:
        """Return *line* with what the names in it stand for."""
        return _NAMED.sub(lambda name: self.known[name[1]], line)

    def take(self, step: Step) -> None:
        """Run *step*; assert that it ends and shows as the page says, and learn new names."""
        if step.program == "cp":
            source, target = self.named(step.words).split()[1:]
            shutil.copytree(self.root / source, self.root / target)
            return
        done = self.run(step.who, self.named(step.words))
        assert done.exit_code == step.exit_code, (step, done.output)
        lines = iter(done.output.splitlines())
        for expected in step.shown:
            pattern = self.pattern(expected)
            match = next((m for line in lines if (m := pattern.fullmatch(line))), None)
            assert match is not None, f"{step.who}$ {step.words}\n{expected}\n{done.output}"
            self.known |= match.groupdict()

    def pattern(self, expected: str) -> re.Pattern[str]:
        """Return what a line must look like: blanks in any number, `…` for anything."""
        parts = []
        for word in expected.split():
            pieces = re.split(r"(…|<[a-z]+>)", word)
            parts.append("".join(self._piece(one) for one in pieces if one))
        return re.compile(r"\s*" + r"\s+".join(parts) + r"\s*")

    def _piece(self, piece: str) -> str:
        if piece == "…":
            return ".*"
        name = _NAMED.fullmatch(piece)
        if name is None:
            return re.escape(piece)
        known = self.known.get(name[1])
        return rf"(?P<{name[1]}>\w+)" if known is None else re.escape(known)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """Everybody, before the first study."""
    hospital = Hospital(tmp_path_factory.mktemp("consultation"))
    hospital.found()
    return hospital


def test_the_consultation_goes_as_the_page_says(hospital: Hospital) -> None:
    """Every line of docs/consultation.md is run; what is shown, and how it ends, agree."""
    data = hospital.root / "relay"
    stations = Stations(DataFolder(data).cards)
    for who in PEOPLE:
        stations.enroll(Station.open(hospital.root / who).card)
    script = list(steps())
    assert len(script) > 30
    with running_relay(data) as relay:
        hospital.relay = relay.url
        for step in script:
            hospital.take(step)
    kept = [path for path in (hospital.root / "novak").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"secret-of-the-study" in path.read_bytes()]
