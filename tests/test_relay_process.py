"""The relay as a process: its commands, its folder, its end by signal and by kill -9."""

import json
import math
import os
import random
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.errors import MedshareError, StorageError, TransferError, UntrustedSignerError
from medshare.relay.folder import DataFolder
from medshare.relay.names import names_of
from medshare.trust.card import armor
from tests.builder import make_parcel, octets
from tests.relay_case import Case, check_consistency, open_case
from tests.relay_process import relay_process, run
from tests.running_relay import enroll
from tests.running_server import Certificate
from tests.suites.transport_suite import ALICE, BOB, CAROL, announce, get_chunk, study, upload

pytestmark = pytest.mark.service


def write_card(path: Path) -> Path:
    """Write Alice's card as it comes by mail."""
    path.write_text(armor(ALICE.card))
    return path


def test_a_station_is_enrolled_listed_and_removed(tmp_path: Path) -> None:
    """The commands do what they say, say it, and can be repeated."""
    data, card = str(tmp_path / "relay"), str(write_card(tmp_path / "alice.card"))
    done = run("enroll", card, "--data", data, "--yes")
    assert (done.returncode, done.stdout) == (0, "alice may use this relay\n")
    assert "already" in run("enroll", card, "--data", data, "--yes").stdout
    listed = json.loads(run("list", "--data", data, "--json").stdout)
    assert [one["station"] for one in listed["stations"]] == [ALICE.station.hex()]
    assert ALICE.card.fingerprint in run("list", "--data", data).stdout
    assert run("remove", ALICE.station.hex()[:8], "--data", data).returncode == 0
    assert "no station" in run("list", "--data", data).stdout
    assert run("remove", "alice", "--data", data).returncode == 5


def test_a_card_comes_from_stdin_too(tmp_path: Path) -> None:
    """`-` reads the card from a pipe, and the answer for programs is one JSON object."""
    done = run(
        "enroll", "-", "--data", str(tmp_path / "r"), "--yes", "--json", stdin=ALICE.card.encoded
    )
    record = json.loads(done.stdout)
    assert (record["event"], record["changed"], record["name"]) == ("enrolled", True, "alice")
    assert record["fingerprint"] == ALICE.card.fingerprint


def test_nobody_is_enrolled_unseen(tmp_path: Path) -> None:
    """Without --yes and without a terminal the fingerprint is shown and nothing is changed."""
    data = tmp_path / "relay"
    done = run("enroll", str(write_card(tmp_path / "card")), "--data", str(data))
    assert done.returncode == 2
    assert ALICE.card.fingerprint in done.stderr
    assert "no station" in run("list", "--data", str(data)).stdout


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN MEDSHARE CARD-----\n"])
def test_what_is_no_card_is_not_enrolled(tmp_path: Path, content: bytes) -> None:
    """A file that holds no card is refused with one sentence."""
    (tmp_path / "card").write_bytes(content)
    done = run("enroll", str(tmp_path / "card"), "--data", str(tmp_path / "relay"), "--yes")
    assert done.returncode not in {0, 1}
    assert done.stderr.count("\n") <= 2


def test_listing_makes_no_folder(tmp_path: Path) -> None:
    """A mistyped folder is an error, not a new empty relay."""
    for words in (("list",), ("remove", "x")):
        assert run(*words, "--data", str(tmp_path / "typo")).returncode == 2
    assert not (tmp_path / "typo").exists()


def test_the_folder_is_private(tmp_path: Path) -> None:
    """It is made for its owner alone whatever the umask, and refused when others can read it."""
    old = os.umask(0o000)
    try:
        folder = DataFolder(tmp_path / "relay")
    finally:
        os.umask(old)
    for path in (folder.path, folder.cards, folder.parcels):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for mode in (0o701, 0o710, 0o740, 0o755):
        folder.path.chmod(mode)
        with pytest.raises(StorageError, match="open to others"):
            DataFolder(folder.path)


def test_files_of_the_relay_are_private(tmp_path: Path) -> None:
    """Database, cards and parcels have mode 0600, folders 0700, whatever the umask."""
    enroll(tmp_path / "relay", ALICE, BOB)
    old = os.umask(0o000)
    try:
        with relay_process(tmp_path / "relay") as relay:
            upload(relay.transport(ALICE), study("private"))
            modes = {
                (path.is_dir(), stat.S_IMODE(path.stat().st_mode))
                for path in (tmp_path / "relay").rglob("*")
            }
    finally:
        os.umask(old)
    assert modes == {(True, 0o700), (False, 0o600)}


def test_one_relay_serves_a_folder(tmp_path: Path) -> None:
    """A second relay on the same folder ends at once with one sentence; the first goes on."""
    enroll(tmp_path / "relay", ALICE)
    with relay_process(tmp_path / "relay") as relay:
        second = run("serve", "--data", str(tmp_path / "relay"), "--listen", "127.0.0.1:0")
        assert second.returncode == 6
        assert "another relay" in second.stderr
        assert relay.transport(ALICE).inbox() == ()


def test_plain_http_is_for_this_machine_alone(tmp_path: Path) -> None:
    """Listening for others without a certificate is refused."""
    done = run("serve", "--data", str(tmp_path / "relay"), "--listen", "0.0.0.0:0")
    assert done.returncode == 2
    assert "--tls-cert" in done.stderr


@pytest.mark.parametrize("listen", ["", "8000", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_to_listen_on_has_a_port(tmp_path: Path, listen: str) -> None:
    """Anything but HOST:PORT is a usage error."""
    assert run("serve", "--data", str(tmp_path / "r"), "--listen", listen).returncode == 2


def test_a_relay_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0, in JSON with the octets that it keeps."""
    enroll(tmp_path / "relay", ALICE, BOB)
    with relay_process(tmp_path / "relay") as relay:
        parcel = study("ends")
        upload(relay.transport(ALICE), parcel)
        code, out, err = relay.terminate()
    assert (code, err) == (0, "")
    kept = len(parcel.envelope + parcel.manifest + parcel.seal) + sum(map(len, parcel.chunks))
    assert json.loads(out) == {"event": "relay_stopped", "bytes": kept}


def test_stations_come_and_go_while_it_runs(tmp_path: Path) -> None:
    """Enrolling and removing need no restart."""
    data = tmp_path / "relay"
    card = str(write_card(tmp_path / "card"))
    with relay_process(data) as relay:
        transport = relay.transport(ALICE)
        with pytest.raises(MedshareError):
            transport.inbox()
        assert run("enroll", card, "--data", str(data), "--yes").returncode == 0
        assert transport.inbox() == ()
        assert run("remove", "alice", "--data", str(data)).returncode == 0
        with pytest.raises(MedshareError):
            transport.inbox()


def test_the_log_names_no_names(tmp_path: Path) -> None:
    """With -v each request is one line with route, status and a short key id; no more."""
    enroll(tmp_path / "relay", ALICE, BOB)
    parcel = study("logged")
    with relay_process(tmp_path / "relay", "-v") as relay:
        upload(relay.transport(ALICE), parcel)
        _, _, err = relay.terminate()
    lines = err.splitlines()
    assert len(lines) == 2 + len(parcel.chunks) + 1
    assert all(ALICE.station.hex()[:8] in line for line in lines)
    assert sum("PUT /v1/parcels/{parcel}/chunks/{index} 204" in line for line in lines) == 5
    for secret in ("alice", "ct/1.dcm", ALICE.station.hex(), "nonce", "medshare=:"):
        assert secret not in err


def test_over_tls_it_answers_to_the_names_of_its_certificate(tmp_path: Path) -> None:
    """A certificate gives the names; by another address the same relay is not addressed."""
    files = Certificate.issue(tmp_path)
    enroll(tmp_path / "relay", ALICE)
    words = ("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    with relay_process(tmp_path / "relay", *words) as relay:
        assert relay.url.startswith("https://127.0.0.1:")
        for host in ("127.0.0.1", "localhost"):
            named = replace(relay, url=relay.url.replace("127.0.0.1", host))
            assert named.transport(ALICE, ca_file=files.ca).inbox() == ()
        with pytest.raises(UntrustedSignerError):
            relay.transport(ALICE).inbox()
    names = names_of(files.cert)
    assert names.authority("localhost:8443", scheme="https", port=8443) == "localhost:8443"
    with pytest.raises(MedshareError):
        names_of(files.key)


@pytest.mark.slow
def test_a_relay_that_is_killed_again_and_again_keeps_what_it_claimed(tmp_path: Path) -> None:
    """After kill -9 in mid-upload each claimed chunk is there, whole, and none half."""
    data = tmp_path / "relay"
    enroll(data, ALICE, BOB, CAROL)
    parcel = make_parcel(
        {"a": octets("killed", 40 * 65536)},
        sender=ALICE,
        recipients=[BOB],
        chunk_size=65536,
        label="killed",
    )
    chance = random.Random(5)
    claimed: set[int] = set()
    interrupted = 0
    for _ in range(6):
        with relay_process(data) as relay:
            transport = relay.transport(ALICE)
            killer = threading.Timer(chance.uniform(0.01, 0.15), relay.kill)
            killer.start()
            try:
                transport.announce(parcel.id, parcel.envelope, parcel.manifest)
                missing = set(range(40)) - {r.index for r in transport.stored(parcel.id).chunks}
                assert not claimed & missing
                for index in sorted(missing):
                    transport.put_chunk(parcel.id, index, memoryview(parcel.chunks[index]))
                    claimed.add(index)
                time.sleep(0.2)
            except TransferError:
                interrupted += 1
            killer.join()
        with Case(data).open() as case:
            check_consistency(case)
            assert not list(data.rglob(".medshare-*"))
    assert interrupted
    with relay_process(data) as relay:
        a, b = relay.transport(ALICE), relay.transport(BOB)
        upload(a, parcel)
        assert [get_chunk(b, parcel, index) for index in range(40)] == parcel.chunks
        assert b.inbox() == (parcel.id,)
    with open_case(data) as case:
        check_consistency(case)


def test_an_empty_inbox_is_answered_when_a_parcel_comes(tmp_path: Path) -> None:
    """Who stays at an inbox hears of a parcel at once, long before the time is over."""
    enroll(tmp_path / "data", ALICE, BOB, CAROL)
    parcel = study("awaited")
    with relay_process(tmp_path / "data") as relay:
        a, b = relay.transport(ALICE), relay.transport(BOB)
        assert b.inbox(seconds=1.0) == ()
        announcing = threading.Timer(0.5, announce, (a, parcel))
        begun = time.monotonic()
        announcing.start()
        assert b.inbox(seconds=math.inf) == (parcel.id,)
        assert 0.5 <= time.monotonic() - begun < 10.0
        announcing.join()
        assert b.inbox(seconds=10.0) == (parcel.id,)
