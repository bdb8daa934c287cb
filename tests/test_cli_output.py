"""Progress for people, logs and programs, from the same events."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from medshare.commands import output
from medshare.commands.figures import Figures
from medshare.commands.lines import JsonOutput, Output, PlainOutput, event_record, plain_lines
from medshare.commands.live import LiveOutput, TransferView
from medshare.commands.options import Mode
from medshare.ids import ParcelId
from medshare.sharing import events
from medshare.sharing.events import (
    Event,
    Finished,
    Notice,
    Phase,
    Planned,
    Progress,
    Retrying,
    Waiting,
)

ROOT = Path(__file__).resolve().parent.parent
PARCEL = ParcelId(bytes(range(16)))
CHUNK = 4 << 20
HOSTILE = "dr\x1b[2J\u202ewang"


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def planned(chunks: int = 100, *, resumed: int = 0, peer: str = "dr-wang", **more: Any) -> Planned:
    """A transfer of full chunks that is about to begin."""
    facts: dict[str, Any] = {"direction": "send", "route": "relay https://r.example"} | more
    return Planned(
        parcel=PARCEL,
        peer=peer,
        files=140,
        total_bytes=chunks * CHUNK,
        total_chunks=chunks,
        resumed_chunks=resumed,
        resumed_bytes=resumed * CHUNK,
        **facts,
    )


def progress(done: int, total: int = 100, *, resumed: int = 0, ratio: float = 0.5) -> Progress:
    """The figures after *done* chunks."""
    moved = (done - resumed) * CHUNK
    wire = int(moved * ratio)
    return Progress(PARCEL, done, total, done * CHUNK, total * CHUNK, wire, moved)


def plain(clock: Clock, **how: Any) -> tuple[PlainOutput, io.StringIO, io.StringIO]:
    """A plain output with the two streams that it writes to."""
    errors, results = io.StringIO(), io.StringIO()
    return PlainOutput(errors, results, clock=clock, **how), errors, results


def test_a_log_gets_the_first_each_tenth_and_the_last() -> None:
    """A transfer of 1,000 chunks at an even pace leaves a dozen lines, not a thousand."""
    clock = Clock()
    out, errors, _ = plain(clock)
    with out:
        out.event(planned(1000))
        for done in range(1, 1001):
            clock.now += 0.0101
            out.event(progress(done, 1000))
    lines = errors.getvalue().splitlines()
    assert [line.split()[1] for line in lines[1:]] == [f"{n}%" for n in range(10, 101, 10)]
    assert lines[0] == (
        "medshare: sending 140 files, 3.91 GiB to dr-wang (relay https://r.example)"
    )
    assert lines[-1] == (
        "medshare: 100%  3.91 of 3.91 GiB, 1,000/1,000 chunks confirmed, 396.0 MiB/s, "
        "compression saved 1.95 GiB"
    )


def test_a_quick_transfer_leaves_two_lines() -> None:
    """What takes less than a second is not worth more than its beginning and its end."""
    clock = Clock()
    out, errors, _ = plain(clock)
    out.event(planned())
    for done in range(1, 101):
        clock.now += 0.005
        out.event(progress(done))
    assert len(errors.getvalue().splitlines()) == 2


def test_a_slow_transfer_shows_life_every_ten_seconds() -> None:
    """At three seconds a chunk, no two lines are more than twelve seconds apart."""
    clock = Clock()
    out, errors, _ = plain(clock)
    out.event(planned(1000))
    written = []
    for done in range(1, 50):
        clock.now += 3
        before = errors.tell()
        out.event(progress(done, 1000))
        if errors.tell() > before:
            written.append(clock.now)
    assert len(written) > 3
    assert all(b - a <= 12 for a, b in zip([100.0, *written], written, strict=False))


def test_a_pause_says_for_what() -> None:
    """Waiting and retrying are said at once with the reason, and then ever more rarely."""
    clock = Clock()
    out, errors, _ = plain(clock)
    out.event(planned())
    out.event(Retrying(PARCEL, "chunk 7", "transfer.unavailable", 2, 4.0))
    for seconds in range(60):
        clock.now += 1
        out.event(Waiting(PARCEL, "the receipt of dr-wang", float(seconds)))
    far_side = "the other side cannot be reached, or fails"
    assert errors.getvalue().splitlines()[1:] == [
        f"medshare: chunk 7: {far_side}; trying again in 4 s (attempt 2)",
        "medshare: waiting for the receipt of dr-wang",
        "medshare: waiting for the receipt of dr-wang, for 10 s already",
        "medshare: waiting for the receipt of dr-wang, for 25 s already",
        "medshare: waiting for the receipt of dr-wang, for 48 s already",
    ]


def test_a_resumed_transfer_starts_where_it_stopped() -> None:
    """What was there from before is neither counted as speed nor as still to come."""
    clock = Clock()
    figures = Figures(clock)
    figures.take(planned(100, resumed=50))
    assert figures.done == 0.5
    assert figures.savings() == ["resume saved 200.0 MiB"]
    clock.now += 10
    figures.take(progress(60, resumed=50))
    assert figures.speed == 4 * (1 << 20)
    assert figures.time_left == 40
    assert figures.chunks() == "60/100 chunks confirmed"


def test_a_check_without_sizes_counts_chunks() -> None:
    """A sealed parcel shows no octets of files; its chunks are what is counted."""
    figures = Figures(Clock())
    plan = planned(10, peer="", direction="verify", route="folder p")
    figures.take(replace(plan, files=0, total_bytes=0))
    figures.take(Progress(PARCEL, 5, 10, 0, 0, 5 * CHUNK, 0))
    assert figures.heading() == "verifying 10 chunks (folder p)"
    assert figures.done == 0.5
    assert figures.chunks() == "5/10 chunks verified"
    assert [figures.amounts(), *figures.pace(), *figures.savings()] == [""]


def test_a_checked_folder_counts_files() -> None:
    """A received folder is held against its receipt file by file."""
    figures = Figures(Clock())
    figures.take(planned(10, peer="", direction="verify", route="folder out"))
    figures.take(progress(5, 10))
    assert figures.heading() == "verifying 140 files, 40.0 MiB (folder out)"
    assert figures.chunks() == "5/10 files verified"


def test_speed_forgets_what_was_long_ago() -> None:
    """After a minute at another pace the old pace has no part in the time left."""
    clock = Clock()
    figures = Figures(clock)
    figures.take(planned(1000))
    for done in range(1, 100):
        clock.now += 0.1
        figures.take(progress(done, 1000))
    for done in range(100, 160):
        clock.now += 1
        figures.take(progress(done, 1000))
    assert figures.speed == pytest.approx(CHUNK, rel=0.1)


def test_a_stall_lowers_the_speed() -> None:
    """While nothing comes, the speed shown falls instead of standing still."""
    clock = Clock()
    figures = Figures(clock)
    figures.take(planned())
    clock.now += 1
    figures.take(progress(10))
    fast = figures.speed
    clock.now += 9
    slow = figures.speed
    assert fast is not None
    assert slow is not None
    assert slow == pytest.approx(fast / 10)


@pytest.mark.parametrize(
    "event",
    [
        Waiting(PARCEL, "the receipt", 0.0),
        Retrying(PARCEL, "sending chunk 3", "transfer.unavailable", 2, 1.0),
        Phase(PARCEL, "sealing"),
        None,
    ],
    ids=lambda event: type(event).__name__,
)
def test_no_speed_is_shown_while_nothing_moves(event: Event | None) -> None:
    """Neither rate nor time left while something is waited for, or nothing came for a while."""
    clock = Clock()
    figures = Figures(clock)
    figures.take(planned())
    clock.now += 1
    figures.take(progress(10))
    assert len(figures.pace()) == 2
    if event is None:
        clock.now += 11
    else:
        figures.take(event)
    assert figures.pace() == []
    figures.take(progress(11))
    assert len(figures.pace()) == 2


def test_an_ended_transfer_says_how_far_it_came() -> None:
    """A failure leaves one line with the confirmed chunks; success leaves none."""
    out, errors, _ = plain(Clock())
    out.event(planned())
    out.event(progress(14))
    with pytest.raises(KeyboardInterrupt), out:
        raise KeyboardInterrupt
    assert errors.getvalue().splitlines()[-1] == (
        "medshare: stopped at 14%: 14/100 chunks confirmed"
    )


ONE_OF_EACH: list[Event] = [
    planned(resumed=3),
    progress(50),
    Phase(PARCEL, "sealing"),
    Waiting(PARCEL, "the relay", 1.5),
    Retrying(PARCEL, "chunk 7", "transfer.unavailable", 1, 0.5),
    Notice("send.changed", "the files changed"),
    Finished(PARCEL, "delivered", 140, 100 * CHUNK),
]


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_a_program_gets_every_event_as_documented(event: Event) -> None:
    """Each event is one JSON line, and docs/json-events.md names it and all its keys."""
    stream = io.StringIO()
    JsonOutput(stream).event(event)
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    page = (ROOT / "docs" / "json-events.md").read_text(encoding="utf-8")
    section = page.partition(f"### `{record['event']}`")[2].partition("### ")[0]
    documented = {row.split("`")[1] for row in section.splitlines() if row.startswith("| `")}
    assert documented == record.keys() - {"event"}


def test_no_kind_of_event_was_forgotten() -> None:
    """The samples above cover all kinds of events that there are."""
    assert {type(event) for event in ONE_OF_EACH} == set(events.Event.__args__)


@given(st.text(st.characters(exclude_categories=[])))
def test_json_is_plain_ascii_on_one_line(peer: str) -> None:
    """Whatever a name holds, a line stays a line and holds no control character."""
    stream = io.StringIO()
    JsonOutput(stream).event(planned(peer=peer))
    text = stream.getvalue()
    assert text.endswith("\n")
    assert all(" " <= c <= "~" for c in text[:-1])
    assert json.loads(text)["peer"] == peer


def test_json_progress_is_thinned_but_ends() -> None:
    """1,000 chunks in a second give a few objects, and the last one always."""
    clock, stream = Clock(), io.StringIO()
    out = JsonOutput(stream, clock)
    for done in range(1, 1001):
        clock.now += 0.001
        out.event(progress(done, 1000))
    chunks = [json.loads(line)["chunks"] for line in stream.getvalue().splitlines()]
    assert len(chunks) <= 4
    assert chunks[-1] == 1000


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """With -q neither events nor results are written."""
    with output.choose(Mode(quiet=True)) as out:
        assert type(out) is Output
        for event in ONE_OF_EACH:
            out.event(event)
        out.say("a remark")
        out.result({"event": "result"}, lambda: Text("result"))
    assert capfd.readouterr() == ("", "")


def draw(figures: Figures, width: int = 80) -> list[str]:
    """What the live view shows on a terminal of this width."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False
    )
    with console.capture() as captured:
        console.print(TransferView(figures))
    return captured.get().splitlines()


def test_the_live_view_fits_80_columns() -> None:
    """Heading, bar, figures and status stand on one line each."""
    clock = Clock()
    figures = Figures(clock)
    figures.take(planned(1750, resumed=30, peer="dr-wang, dr-li, radiology-of-st-mary"))
    clock.now += 2
    figures.take(progress(610, 1750, resumed=30))
    figures.take(Waiting(PARCEL, "the relay to answer", 12))
    lines = draw(figures)
    assert len(lines) == 4
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("sending 140 files, 6.84 GiB to dr-wang, dr-li")
    assert "34%  2.38 of 6.84 GiB" in lines[1]
    assert "left" not in lines[1]
    assert lines[2] == (
        "  610/1,750 chunks confirmed · compression saved 1.13 GiB, resume 120.0 MiB"
    )
    assert lines[3].strip() == "waiting for the relay to answer, for 12 s already"
    figures.take(progress(610, 1750, resumed=30))
    assert "34%  2.38 of 6.84 GiB  1.13 GiB/s  4 s left" in draw(figures)[1]


@pytest.mark.parametrize("make", [Figures.heading, lambda figures: " ".join(draw(figures, 200))])
def test_a_hostile_name_is_harmless_in_progress(make: Any) -> None:
    """Names from cards and relays are escaped wherever progress shows them."""
    figures = Figures(Clock())
    figures.take(planned(peer=HOSTILE, route=f"relay {HOSTILE}"))
    figures.take(Waiting(PARCEL, HOSTILE, 3))
    shown = make(figures)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert r"dr\x1b[2J\u202ewang" in shown


def test_the_live_view_survives_a_whole_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    """All events pass through the live view; remarks stay above it, in order."""
    screen = io.StringIO()
    terminal = Console(file=screen, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr("medshare.commands.live.console", lambda **_: terminal)
    with LiveOutput(verbose=1) as out:
        for event in ONE_OF_EACH:
            out.event(event)
        out.say("a remark")
        out.result({}, lambda: Text("the result"))
    shown = screen.getvalue()
    assert shown.index("note: the files changed") < shown.index("a remark")
    assert shown.index("a remark") < shown.index("the result")


def test_a_result_in_a_file_has_no_colour_and_no_folds() -> None:
    """What goes to a pipe is text: no escape sequences, lines of any length, no padding."""
    long = "x" * 500
    assert plain_lines(Text(f"{long}\nshort  ", style="bold red")) == [long, "short"]


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
def test_no_event_is_too_much_for_any_output(event: Event) -> None:
    """Any event may come first: before the plan, the displays have nothing to divide by."""
    for out in (Output(), JsonOutput(io.StringIO()), plain(Clock())[0]):
        out.event(event)
    figures = Figures(Clock())
    figures.take(event)
    draw(figures)
    assert event_record(event)["event"] == type(event).__name__.lower()
