"""Stations of both suites together: over a relay, at the command line, and where they mix."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medshare import cli
from medshare.errors import PolicyError, UsageError
from medshare.sharing.receive import ReceiveOptions, receive
from medshare.sharing.rotate import rotate_identity
from medshare.sharing.send import SendOptions, SendResult, send
from medshare.station import Station
from medshare.suites.signatures import SM2, scheme_named
from medshare.transport.base import Transport
from medshare.transport.relay import RelayTransport
from tests.conftest import ROOT
from tests.fakes import MemoryStore, MemoryTransport
from tests.people import CHEAP, PASSPHRASE, Person, make_person
from tests.running_relay import Relay, running_relay
from tests.running_server import Certificate

CHUNK = 4096
NOISE = os.urandom(3 * CHUNK)
SUITES = ("intl", "gm", "gm+intl")


class Pair:
    """Two stations that trust each other, and something to send."""

    def __init__(self, folder: Path, first: str, second: str) -> None:
        self.folder = folder
        self.a, self.b = (
            make_person(folder / "a", "A", first),
            make_person(folder / "b", "B", second),
        )
        self.a.trust(self.b, "b")
        self.b.trust(self.a, "a")
        (folder / "study").mkdir()
        (folder / "study" / "noise").write_bytes(NOISE)

    def send(self, transport: Transport, **options: object) -> SendResult:
        return send(
            [self.folder / "study"],
            to=[self.a.station.contacts.named("b")],
            identity=self.a.identity,
            station=self.a.station,
            transport=transport,
            options=SendOptions(chunk_size=CHUNK, give_up_after=2, **options),  # type: ignore[arg-type]  # test keywords
        )

    def receive(self, sent: SendResult, transport: Transport, **options: object) -> None:
        output = self.folder / sent.parcel.hex()
        receive(
            sent.parcel,
            identity=self.b.identity,
            station=self.b.station,
            transport=transport,
            output=output,
            options=ReceiveOptions(wait=2, give_up_after=2, **options),  # type: ignore[arg-type]  # test keywords
        )
        assert (output / "study" / "noise").read_bytes() == NOISE


# --- every pair of suites -----------------------------------------------------------------


@pytest.mark.parametrize("first", SUITES)
@pytest.mark.parametrize("second", SUITES)
def test_every_pair_of_stations(first: str, second: str, tmp_path: Path) -> None:
    """A parcel goes between stations that share a family, and else only where both allow it."""
    pair, store = Pair(tmp_path, first, second), MemoryStore()
    to, at = (MemoryTransport(store, one.station.id) for one in (pair.a, pair.b))
    if set(first.split("+")) & set(second.split("+")):
        sent = pair.send(to)
        pair.receive(sent, at)
        assert set(pair.send(to, wait=2).receipts) == {pair.b.station.id}
        return
    with pytest.raises(PolicyError):
        pair.send(to)
    assert not store.parcels
    for suite in ("intl", "gm"):
        allowed = {"suites": frozenset({suite}), "mixed": True}
        sent = pair.send(to, **allowed)
        with pytest.raises(PolicyError):
            pair.receive(sent, at)
        pair.receive(sent, at, **allowed)
        assert set(pair.send(to, wait=2, **allowed).receipts) == {pair.b.station.id}


# --- over a relay -------------------------------------------------------------------------


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """A relay over TLS at which nobody is enrolled yet."""
    with running_relay(tmp_path / "data", files=Certificate.issue(tmp_path)) as running:
        yield running


def connect(relay: Relay, person: Person) -> RelayTransport:
    """Return the relay as *person* sees it, which signs with its own keys."""
    assert relay.files is not None
    made = RelayTransport(relay.url, person.identity, ca_file=relay.files.ca)
    relay.transports.callback(made.close)
    return made


@pytest.mark.service
@pytest.mark.parametrize("suite", ["gm", "gm+intl"])
def test_a_parcel_goes_through_a_relay(suite: str, relay: Relay, tmp_path: Path) -> None:
    """All goes through TLS: also a chunk that rots and is made anew, and keys that rotate."""
    pair = Pair(tmp_path, suite, suite)
    for one in (pair.a, pair.b):
        relay.service.stations.enroll(one.station.card)
    to, at = connect(relay, pair.a), connect(relay, pair.b)
    sent = pair.send(to)
    rotten = relay.chunk(sent.parcel, 1)
    before = rotten.read_bytes()
    rotten.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    at.want_chunks(sent.parcel, (1,))
    assert pair.send(to).moved_chunks == 1
    after = rotten.read_bytes()
    assert (after[:-64], len(after)) == (before[:-64], len(before))
    assert after[-64:] != before[-64:]
    pair.receive(sent, at)
    assert set(pair.send(to, wait=5).receipts) == {pair.b.station.id}

    station = pair.a.station
    rotate_identity(station, station.keystore(PASSPHRASE, cost=CHEAP), now=2)
    renewed = Person(Station.open(station.home))
    pair.b.station.contacts.add(renewed.station.card, name=None, now=3)
    pair.a = renewed
    (tmp_path / "study" / "more").write_bytes(b"more")
    pair.receive(pair.send(connect(relay, renewed)), at)


# --- at the command line ------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs medshare as a station: `desk("a", "send", …)`."""
    monkeypatch.chdir(tmp_path)
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")

    def run(home: str, *words: str) -> Result:
        environment = {
            "MEDSHARE_HOME": str(tmp_path / home),
            "MEDSHARE_PASSPHRASE_FILE": str(passphrase),
        }
        return CliRunner().invoke(cli.cli, words, prog_name="medshare", env=environment)

    return run


def acquaint(desk: Callable[..., Result], **suites: str) -> None:
    """Make the stations named, of the suites given, and let each trust the others."""
    for name, suite in suites.items():
        assert desk(name, "init", "--name", name, "--suite", suite).exit_code == 0
        assert desk(name, "card", "export", "--output", f"{name}.card").exit_code == 0
    for name in suites:
        for other in suites:
            if name != other:
                done = desk(name, "card", "import", f"{other}.card", "--name", other, "--yes")
                assert done.exit_code == 0, done.output


def test_the_command_line_keeps_families_apart(desk: Callable[..., Result], tmp_path: Path) -> None:
    """`--suite` allows what is refused with exit code 7 otherwise, for sender and receiver."""
    acquaint(desk, a="gm", b="intl", c="gm+intl")
    (tmp_path / "note.txt").write_text("for everybody")
    words = ("send", "note.txt", "--folder", "share")
    assert desk("a", *words, "--to", "c").exit_code == 0
    assert desk("c", "receive", "--output", "c-out", "--folder", "share").exit_code == 0
    refused = desk("a", *words, "--to", "b")
    assert refused.exit_code == 7
    assert "'a' has gm, 'b' has intl" in refused.stderr
    assert "--suite" in refused.stderr
    assert desk("a", *words, "--to", "b", "--suite", "gm").exit_code == 0
    again = ("receive", "--output", "b-out", "--folder", "share")
    refused = desk("b", *again)
    assert refused.exit_code == 7
    assert "medshare receive --suite gm" in refused.stderr
    assert not (tmp_path / "b-out").exists()
    assert desk("b", *again, "--suite", "gm").exit_code == 0
    assert (tmp_path / "b-out" / "note.txt").read_text() == "for everybody"
    verified = desk("c", "verify", "c-out")
    assert verified.exit_code == 0, verified.output


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Without the library of the extra, a gm station cannot be made, and the extra is named."""
    program = (
        "import sys; sys.modules['gmssl_pyx'] = None\n"
        "from medshare.cli import main; main()"
    )  # fmt: skip
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")
    for suite, code in (("intl", 0), ("gm", 2)):
        done = subprocess.run(
            [sys.executable, "-c", program, "init", "--suite", suite],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "MEDSHARE_HOME": str(tmp_path / suite),
                "MEDSHARE_PASSPHRASE_FILE": str(passphrase),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert ("pip install 'medshare[gm]'" in done.stderr) == (suite == "gm")


def test_a_missing_library_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs the library of an extra says which to install, and not that a parcel is bad."""
    import medshare.suites

    monkeypatch.setitem(sys.modules, "medshare.suites.sm2", None)
    monkeypatch.delattr(medshare.suites, "sm2", raising=False)
    with pytest.raises(UsageError, match=r"medshare\[gm\]") as caught:
        scheme_named(SM2).backend()
    assert caught.value.hint == "install them with: pip install 'medshare[gm]'"
