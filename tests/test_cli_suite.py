"""A station goes from one suite to another at the command line, and its contacts follow."""

from pathlib import Path

import pytest

from medshare.keys.sealed import parse_sealed
from medshare.station import Station
from tests.test_cli_transfer import FILES, Hospital

SUITES = {"gm": ["sm2"], "gm+intl": ["ed25519", "ml-dsa-65", "sm2"]}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Hospital, Hospital]:
    """Two stations of suite `intl` that trust each other; the first has a study."""
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")
    environ: dict[str, str | None] = {"MEDSHARE_PASSPHRASE_FILE": str(passphrase)}
    first, second = (Hospital(tmp_path / name, tmp_path, environ) for name in "ab")
    for one in (first, second):
        name = one.home.name
        assert one.run("init", "--name", f"hospital-{name}").exit_code == 0
        assert one.run("card", "export", "--output", f"{name}.card").exit_code == 0
    assert first.run("card", "import", "b.card", "--yes").exit_code == 0
    assert second.run("card", "import", "a.card", "--yes").exit_code == 0
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return first, second


@pytest.mark.parametrize("suite", SUITES)
def test_a_station_changes_its_suite_and_is_followed(
    pair: tuple[Hospital, Hospital], suite: str
) -> None:
    """No telephone call, no lost parcel: what was on its way arrives, and so does what follows."""
    a, b = pair
    waiting = b.json("send", "study", "--to", "hospital-a", "--folder", "usb")[-1]["parcel"]
    before = Station.open(a.home).id
    done = a.run("rotate-key", "--identity", "--suite", suite)
    assert f"suite         {suite}, before it was intl" in done.stdout
    assert "rotate-key --due" in done.stdout
    assert a.run("rotate-key", "--due").exit_code == 0
    assert a.run("keys", "check").exit_code == 0
    station = Station.open(a.home)
    assert station.id == before
    assert [key.algorithm for key in station.card.current.sign_keys] == SUITES[suite]
    header = parse_sealed((a.home / "keys" / "keystore").read_bytes()).header
    assert header.suite == ("gm" if suite == "gm" else "intl")
    assert a.run("card", "export", "--output", "a2.card").exit_code == 0
    (imported,) = b.json("card", "import", "a2.card")
    assert imported["change"] == "rotated"
    received = a.run("receive", waiting, "--output", "in", "--folder", "usb", "--suite", "intl")
    assert received.exit_code == 0, received.output
    sent = a.json("send", "study", "--to", "hospital-b", "--folder", "usb", "--suite", "intl")
    back = b.run("receive", sent[-1]["parcel"], "--output", "out", "--folder", "usb")
    assert back.exit_code == (0 if suite == "gm+intl" else 7)


@pytest.mark.parametrize(
    "words",
    [("--tier", "routine"), ("--due",), ("--compromised", "identity")],
    ids=lambda words: words[0],
)
def test_a_suite_is_that_of_new_identity_keys(
    pair: tuple[Hospital, Hospital], words: tuple[str, ...]
) -> None:
    """Asked for with anything else, it is refused before anything is done."""
    done = pair[0].run("rotate-key", *words, "--suite", "gm")
    assert done.exit_code == 2
    assert "add --identity" in done.stderr
