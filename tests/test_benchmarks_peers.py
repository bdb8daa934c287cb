"""What the comparisons print is what was carried, counted and compared."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, hosts, inputs, tables
from benchmarks.carrying import Carrying, medians
from benchmarks.hosts import HERE, free_port, listens, received
from benchmarks.line import LINES
from benchmarks.peers import chosen
from benchmarks.tools.base import Tool
from tests.pictures import Image

BUSY = """
import time
end = time.process_time() + {seconds}
while time.process_time() < end:
    pass
"""
SERVER = """
import socket, sys, time
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(600)
"""


@pytest.mark.service
def test_the_start_of_a_server_does_not_count(tmp_path: Path) -> None:
    """A trip costs what its programs cost, and what servers did after the clock began."""
    port = free_port()
    with Carrying(tmp_path, None) as trip:
        trip.serve("server", [sys.executable, "-c", SERVER, str(port)], HERE, port=port)
        trip.begin()
        trip.run("client", [sys.executable, "-c", BUSY.format(seconds=0.2)], HERE)
        costs = trip.finish()
    assert 0.2 <= costs.cpu < 0.5
    assert costs.wire_bytes is None
    assert [one.name for one in costs.processes] == ["client", "server"]


@pytest.mark.service
def test_a_server_that_does_not_start_is_said_to(tmp_path: Path) -> None:
    """A server that ends at once is an error with what it said."""
    words = [sys.executable, "-c", "raise SystemExit('no such key')"]
    with Carrying(tmp_path, None) as trip, pytest.raises(TimeoutError, match="no such key"):
        trip.serve("server", words, HERE, port=free_port())


@pytest.mark.service
def test_a_tool_that_fails_is_no_figure(tmp_path: Path) -> None:
    """A trip whose program failed ends with an error that holds what it said."""
    words = [sys.executable, "-c", "raise SystemExit('lost the way')"]
    with Carrying(tmp_path, None) as trip:
        trip.begin()
        with pytest.raises(RuntimeError, match="lost the way"):
            trip.run("lost", words, HERE)


def test_a_port_that_nobody_listens_on_is_told_apart() -> None:
    """Only a socket that listens counts as a server that is ready."""
    import os
    import socket

    port = free_port()
    assert not listens(os.getpid(), port)
    with socket.create_server(("127.0.0.1", port)):
        assert listens(os.getpid(), port)


def test_octets_of_an_interface_are_those_received() -> None:
    """The first figure of an interface's line, and of no other interface."""
    text = "Inter-|   Receive\n face |bytes\n    lo: 123 4 0\n  eth0:  99 1 0\n"
    assert received(text, "lo") == 123
    with pytest.raises(KeyError):
        received(text, "line0")


def test_a_host_starts_programs_with_its_prefix() -> None:
    """A namespace is entered by the words before the command."""
    host = hosts.Host("far", "10.77.0.2", ("ip", "netns", "exec", "far"))
    assert host.command(["ls", Path("/")]) == ["ip", "netns", "exec", "far", "ls", "/"]


def test_medians_leave_out_what_was_not_counted() -> None:
    """Octets on the wire have a median only where they were counted."""
    run = {"wall": 1.0, "cpu": 2.0, "user": 1.0, "system": 1.0, "wire_bytes": None, "peak_rss": 5}
    found = medians([run, {**run, "wall": 4.0}, {**run, "wall": 2.0}])
    assert (found["wall"], found["wall_spread"]) == (2.0, [1.0, 4.0])
    assert "wire_bytes" not in found


def test_random_inputs_have_the_size_asked_for(tmp_path: Path) -> None:
    """One file, or many, of as many octets as were asked for."""
    one = inputs.measured("one", "", inputs.random_file(tmp_path / "one", 100_001))
    many = inputs.measured("many", "", inputs.random_files(tmp_path / "many", 7, 100, per_folder=3))
    assert (one.files, one.size) == (1, 100_001)
    assert (many.files, many.size) == (7, 700)


def test_a_repeated_study_has_fresh_uids_and_the_same_pixels(tmp_path: Path) -> None:
    """Copies of an image are as long, differ in their UIDs, and in nothing else."""
    pydicom = pytest.importorskip("pydicom")
    source = tmp_path / "source"
    source.mkdir()
    image = Image(64, 64, seed=1).file()
    (source / "a.dcm").write_bytes(image)
    made = inputs.files_below(inputs.study(tmp_path / "study", source, 3 * len(image)))
    copies = [pydicom.dcmread(path, force=True) for path in made]
    assert [path.stat().st_size for path in made] == [len(image)] * 3
    assert {bytes(copy.PixelData) for copy in copies} == {bytes(copies[0].PixelData)}
    if "SOPInstanceUID" in copies[0]:
        assert len({copy.SOPInstanceUID for copy in copies}) == 3


def test_a_digest_sees_names_and_contents(tmp_path: Path) -> None:
    """Another content, or the same under another name, is not what was sent."""
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    before = inputs.digest(folder)
    (folder / "x").write_bytes(b"2")
    changed = inputs.digest(folder)
    (folder / "x").write_bytes(b"1")
    (folder / "x").rename(folder / "y")
    assert len({before, changed, inputs.digest(folder)}) == 3


@pytest.mark.parametrize(
    ("now", "verdict"), [(1.0, "same"), (1.14, "same"), (1.2, "worse"), (0.5, "better")]
)
def test_a_ratio_may_grow_a_little(now: float, verdict: str) -> None:
    """Up to 15% counts as noise, more as worse, and as much less as better."""
    [found] = compare.changes({"cpu": 1.0}, {"cpu": now})
    assert found.verdict(compare.TOLERANCE) == verdict


def test_what_is_not_measured_any_more_fails(tmp_path: Path) -> None:
    """A ratio that has gone fails the comparison, a new one does not."""
    found = compare.changes({"old": 1.0}, {"new": 1.0})
    assert compare.failed(found, compare.TOLERANCE) == ["old"]
    text = compare.markdown(found, compare.TOLERANCE)
    assert "| old | 1.00 |  |  | missing |" in text
    assert "| new |  | 1.00 |  | new |" in text


def test_the_comparison_fails_when_something_got_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was written as baseline passes; a ratio half as large again fails."""
    after = {"cpu": "a", "cores": 2, "system": "b", "python": "c", "load": 0.1}
    report: dict[str, Any] = {"size": 1, "after": after, "ratios": {"cpu": 2.0}}
    path, baseline = tmp_path / "report.json", tmp_path / "baseline.json"
    words = ["compare", str(path), "--baseline", str(baseline)]
    for more, ratio, code in (["--write"], 2.0, 0), ([], 2.0, 0), ([], 3.0, 1):
        report["ratios"]["cpu"] = ratio
        path.write_text(json.dumps(report))
        monkeypatch.setattr(sys, "argv", [*words, *more])
        assert compare.main() == code
    assert "worse than the baseline by more than 15%: cpu" in capsys.readouterr().out


def test_tables_name_every_tool_and_what_was_skipped() -> None:
    """Tools are rows, even with a bar in their name; what did not run stands below."""
    figure = {"wall": 2.0, "wall_spread": [1.0, 3.0], "cpu": 1.0, "cpu_spread": [1.0, 1.0]}
    tool = {"legs": 2, "median": {**figure, "wire_bytes": 4 << 20}}
    found = {
        "title": "CT",
        "files": 1,
        "bytes": 4 << 20,
        "tools": {"medshare": tool, "a | b": tool},
    }
    text = tables.peers({"inputs": {"ct": found}, "skipped": {"croc": "not installed"}})
    assert r"| a \| b | 2.00 (1.00–3.00) | 1.00 (1.00–1.00) | 4 | 50% | 1.00 |" in text
    assert "| **medshare** |" in text
    assert "Skipped: croc (not installed)" in text


def test_a_line_is_described_in_words() -> None:
    """Rate, delay and losses stand in the title of a line."""
    assert [line.title for line in LINES] == [
        "20 Mbit/s, 40 ms there and back",
        "100 Mbit/s, 80 ms there and back, 0.5% lost",
        "1000 Mbit/s, 10 ms there and back",
    ]


def test_a_tool_that_is_not_installed_says_so() -> None:
    """What cannot run is skipped with the names of the programs it needs."""

    class Missing(Tool):
        name = "missing"
        way = "no way"
        needs = ("surely-not-a-program",)

        def carry(self, trip: Carrying, source: Path, target: Path) -> None:
            raise AssertionError

    assert Missing().absent() == "not installed: surely-not-a-program"


def test_tools_are_chosen_by_names_that_may_have_commas() -> None:
    """Commas stand between names, or semicolons where a name has a comma of its own."""
    assert {kind.name for kind in chosen("scp, medshare")} == {"scp", "medshare"}
    assert {kind.name for kind in chosen("scp; floor, relay")} == {"scp", "floor, relay"}
    with pytest.raises(SystemExit, match="no such tool"):
        chosen("no such tool")
