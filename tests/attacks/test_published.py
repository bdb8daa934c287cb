"""Published faults of programs like this one: each is held by tests, or cannot concern us."""

import ast
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE
from medshare.sharing.receive import ReceiveResult, receive
from medshare.sharing.send import SendOptions, send
from medshare.transport.relay import RelayTransport
from tests.attacks.lying_relay import Exchange, Said, honest
from tests.attacks.published import PUBLISHED, published_page
from tests.attacks.stage import CALM, Stage, opened_stage
from tests.conftest import ROOT
from tests.people import Person
from tests.test_secrets_hygiene import FILE, FOLDER, NOTE, PATIENT, found

NAMES = (PATIENT, FILE, FOLDER, NOTE)
FORBIDDEN_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "pickle.loads", "yaml.load"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "csv", "PIL", "pydicom", "pylibjpeg"}
WRITES_XML = {"Element", "SubElement", "tostring"}
POLYGLOTS = {
    "windows.dcm": b"MZ\x90\x00" + bytes(124) + b"DICM" + bytes(300),
    "linux.dcm": b"\x7fELF\x02\x01\x01" + bytes(121) + b"DICM" + bytes(300),
    "page.dcm": b"<script>alert(1)</script>".ljust(128, b"\x00") + b"DICM" + bytes(300),
    "shell.dcm": b"#!/bin/sh\nid\n".ljust(128, b"\x00") + b"DICM" + bytes(300),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Stations, a relay, and somebody on the line before it."""
    with opened_stage(tmp_path_factory.mktemp("published")) as opened:
        yield opened


def defined_tests() -> set[str]:
    """The name of every test in tests/."""
    files = (ROOT / "tests").rglob("*.py")
    return {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}


def sources() -> Iterator[tuple[Path, ast.AST]]:
    """Every node of every module of the package."""
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield file, node


def travelled(stage: Stage, study: Path) -> ReceiveResult:
    """Let *study* travel through the relay and come out whole."""

    def line(person: Person) -> RelayTransport:
        made = RelayTransport(stage.liar.url, person.identity, stall_seconds=20)
        stage.transports.callback(made.close)
        return made

    sent = send(
        [study],
        to=[stage.alice.station.contacts.named("bob")],
        identity=stage.alice.identity,
        station=stage.alice.station,
        transport=line(stage.alice),
        options=SendOptions(chunk_size=1 << 20, workers=2, note=NOTE),
    )
    return receive(
        sent.parcel,
        identity=stage.bob.identity,
        station=stage.bob.station,
        transport=line(stage.bob),
        output=stage.folder / f"out-{study.name}",
        options=CALM,
    )


def test_all_forty_nine_are_answered() -> None:
    """T01 to T49 are there in order; each has tests, or a reason why it cannot concern us."""
    assert [one.number for one in PUBLISHED] == [f"T{number:02}" for number in range(1, 50)]
    for one in PUBLISHED:
        assert one.advisory
        assert one.concern
        assert one.tests or one.reason, one.number


def test_every_test_that_is_named_exists() -> None:
    """A fault whose test was renamed or removed is found here."""
    named = {test for one in PUBLISHED for test in one.tests}
    assert len(named) > 100
    assert named - defined_tests() == set()


def test_the_page_of_published_faults_is_the_generated_one() -> None:
    """docs/published-faults.md is what `python tools/write_docs.py` writes."""
    page = (ROOT / "docs" / "published-faults.md").read_text(encoding="utf-8")
    assert page == published_page()


@pytest.mark.service
def test_t24_t48_the_line_shows_no_name(stage: Stage) -> None:
    """All that passes over a plain line, in both directions, names no file, patient or note."""
    passed: list[bytes] = []

    def listen(exchange: Exchange) -> Said:
        asked, said = exchange.asked, exchange.honest()
        fields = "\n".join(f"{name}: {value}" for name, value in asked.fields)
        passed.extend((f"{asked.method} {asked.path}\n{fields}\n".encode(), asked.body))
        passed.append(said.encoded())
        return said

    study = stage.folder / FOLDER
    study.mkdir()
    (study / FILE).write_bytes(b"DICM" + PATIENT.encode() * 50)
    stage.liar.be(listen)
    try:
        result = travelled(stage, study)
    finally:
        stage.liar.be(honest)
    assert (result.output / FOLDER / FILE).read_bytes().count(PATIENT.encode()) == 50
    assert len(passed) > 15
    assert sum(map(len, passed)) > 10_000
    assert found(b"\n".join(passed), *NAMES) == []


@pytest.mark.service
def test_t46_a_file_that_is_also_a_program_arrives_as_it_is_and_does_not_run(stage: Stage) -> None:
    """A DICOM preamble that makes a program of the file is neither changed nor made executable."""
    study = stage.folder / "polyglots"
    study.mkdir()
    for name, content in POLYGLOTS.items():
        (study / name).write_bytes(content)
        (study / name).chmod(0o777)
    result = travelled(stage, study)
    for name, content in POLYGLOTS.items():
        arrived = result.output / "polyglots" / name
        assert arrived.read_bytes() == content
        assert not stat.S_IMODE(arrived.stat().st_mode) & 0o111


@pytest.mark.service
@pytest.mark.slow
def test_t49_every_kind_of_study_arrives_byte_for_byte(stage: Stage, corpus: Path) -> None:
    """CT, MR, radiographs, ultrasound, 16-bit waveforms and whole slides are as they were."""
    study = stage.folder / "kinds"
    kinds = sorted(folder for folder in corpus.iterdir() if folder.is_dir())
    assert len(kinds) >= 5
    before = {}
    for kind in kinds:
        files = sorted(file for file in kind.rglob("*") if file.is_file())
        smallest = min(files, key=lambda file: file.stat().st_size)
        before[f"{kind.name}/{smallest.name}"] = smallest.read_bytes()[: 8 << 20]
    for name, content in before.items():
        (study / name).parent.mkdir(parents=True)
        (study / name).write_bytes(content)
    result = travelled(stage, study)
    after = {name: (result.output / "kinds" / name).read_bytes() for name in before}
    assert {name: after[name] == before[name] for name in before} == dict.fromkeys(before, True)


def test_t22_t23_ids_cannot_be_guessed_and_follow_from_no_secret() -> None:
    """There are no short codes: a parcel has 128 random bits, a station a digest of its keys."""
    assert PARCEL_ID_SIZE * 8 >= 128
    assert STATION_ID_SIZE * 8 >= 256


def test_t25_no_key_comes_from_a_generator_that_can_be_repeated() -> None:
    """Nothing of `random` is used but the generator of the system."""
    for file, node in sources():
        if isinstance(node, ast.Import):
            assert "random" not in {alias.name for alias in node.names}, file
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            assert [alias.name for alias in node.names] == ["SystemRandom"], file


def test_t38_no_text_reaches_an_interpreter() -> None:
    """No shell, no eval, no pickle, no spreadsheet, and XML is written, never read."""
    for file, node in sources():
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in FORBIDDEN_CALLS, file
            assert not any(one.arg == "shell" for one in node.keywords), file
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {alias.name.split(".")[0] for alias in node.names}
            modules |= {(getattr(node, "module", None) or "").split(".")[0]}
            allowed = {"pydicom"} if file.parent.name == "viewing" else set()
            assert not modules & FORBIDDEN_MODULES - allowed, file
            if "xml" in modules:  # written, for systems that read the record; never read
                assert {alias.name for alias in node.names} <= WRITES_XML, file


def test_t08_no_archive_is_ever_unpacked() -> None:
    """No module can open a zip or tar archive, or have one unpacked."""
    for file, node in sources():
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            assert not names & {"zipfile", "tarfile", "unpack_archive", "gzip", "bz2", "lzma"}, file
        if isinstance(node, ast.Attribute):
            assert node.attr != "unpack_archive", file


def test_t37_nothing_is_written_as_a_page_for_a_browser() -> None:
    """No module writes HTML; what is served as such is one page, which is a file of the package."""
    served = []
    for file, node in sources():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"<(html|script|body)\b", node.value), file
            served += [file.name] if "text/html" in node.value else []
    assert served == ["server.py"]


def test_t47_no_decoder_of_images_is_part_of_medshare() -> None:
    """Without the extra to look at files, nothing can decode JPEG, or read DICOM with a library."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    needed = text.partition("\ndependencies = [")[2].partition("]\n")[0]
    assert "cryptography" in needed
    for name in ("pydicom", "pillow", "pylibjpeg", "gdcm", "openslide", "imagecodecs"):
        assert name not in needed.lower()
