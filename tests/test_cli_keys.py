"""`medshare keys`, and stations whose keys live in a token or under the OS keyring."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medshare.keys.shares import WORDS
from medshare.keys.shares import check as check_share
from medshare.station import Station
from tests import softhsm
from tests.rings import ring_in_place
from tests.test_cli_station import PASSPHRASE, Desk, Terminal

PAGE = Path(__file__).resolve().parent.parent / "docs" / "json-events.md"
TOKEN = "pkcs11:token=medshare"


@pytest.fixture(autouse=True)
def rings() -> Iterator[None]:
    """A keyring of our own in place of that of the system."""
    with ring_in_place():
        yield


def desk_in(folder: Path, *, init: tuple[str, ...] = ()) -> Desk:
    """Return a machine in *folder* that is a station."""
    folder.mkdir()
    desk = Desk(folder)
    made = desk.run("init", "--name", folder.name, *init)
    assert made.exit_code == 0, made.output
    return desk


def token_desk(folder: Path) -> Desk:
    """Return a machine whose keys are in the token."""
    softhsm.token()
    folder.mkdir()
    desk = Desk(folder)
    desk.passphrase.write_bytes(softhsm.PIN)
    desk.environ["MEDSHARE_PKCS11_MODULE"] = str(softhsm.module())
    made = desk.run("init", "--name", folder.name, "--keystore", TOKEN)
    assert made.exit_code == 0, made.output
    return desk


def documented(event: str) -> set[str]:
    """Return the words in code type in the section of *event*."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition(f"### `{event}`")[2].partition("\n### ")[0].partition("\n## ")[0]
    return set(section.split("`")[1::2])


def test_list_shows_age_place_and_what_is_due(tmp_path: Path) -> None:
    """Each key has its line, a rotation shows, and the record is documented."""
    desk = desk_in(tmp_path / "us")
    assert desk.run("rotate-key").exit_code == 0
    record = desk.json("keys", "list")
    assert record["backend"] == "file"
    assert [(one["name"], one["purpose"], one["state"]) for one in record["keys"]] == [
        ("identity/0", "sign", "old"),
        ("identity/0", "sign", "old"),
        ("identity/0", "open", "old"),
        ("identity/1", "sign", "current"),
        ("identity/1", "sign", "current"),
        ("identity/1", "open", "current"),
    ]
    assert record["due"] == []
    assert all(one["next_rotation"] for one in record["keys"] if one["state"] == "current")
    assert {*record, *record["keys"][0]} - {"event"} <= documented("keys")
    shown = desk.run("keys", "list").stdout
    assert "an encrypted file" in shown
    assert "x25519+ml-kem-768" in shown
    assert "due in" in shown


def test_list_warns_of_what_is_due(tmp_path: Path) -> None:
    """A key past its time is named, with the command that replaces it."""
    desk = desk_in(tmp_path / "us")
    store = Station.open(desk.home).keystore(PASSPHRASE.encode())
    store.make_kek("routine/0", created=1)
    store.make_kek("routine/1", created=2)
    record = desk.json("keys", "list")
    assert record["due"] == ["routine/1"]
    keks = {one["name"]: one for one in record["keys"] if one["purpose"] == "wrap"}
    assert [keks[name]["state"] for name in ("routine/0", "routine/1")] == ["old", "current"]
    assert keks["routine/1"]["uses"] == 0
    shown = desk.run("keys", "list").stdout
    assert "rotation is due" in shown
    assert "medshare rotate-key" in shown


def test_check_uses_each_key_once(tmp_path: Path) -> None:
    """All keys are counted, those of each generation and KEKs."""
    desk = desk_in(tmp_path / "us")
    store = Station.open(desk.home).keystore(PASSPHRASE.encode())
    store.make_kek("routine/0", created=1)
    record = desk.json("keys", "check")
    assert record == {"event": "keys_checked", "backend": "file", "keys": 4}
    assert {"backend", "keys"} <= documented("keys_checked")
    assert "4 keys" in desk.run("keys", "check").stdout


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    """A keystore that does not belong to the card does not pass."""
    desk, other = desk_in(tmp_path / "us"), desk_in(tmp_path / "other")
    (desk.home / "keys" / "keystore").write_bytes((other.home / "keys" / "keystore").read_bytes())
    done = desk.run("keys", "check")
    assert done.exit_code == 4
    assert "does not hold the keys" in done.stderr


# --- backups --------------------------------------------------------------------------------


NAMES = ("us", "anna", "ben", "chen")


class Custody:
    """A station, and the desks of three custodians, in a folder that has them."""

    def __init__(self, folder: Path) -> None:
        self.us, *self.custodians = (Desk(folder / name) for name in NAMES)
        self.cards = [folder / f"{name}.card" for name in NAMES[1:]]
        self.file = folder / "keys.backup"

    def back_up(self, *words: str) -> dict[str, Any]:
        """Make the backup."""
        to = [word for card in self.cards for word in ("--to", str(card))]
        return self.us.json("keys", "backup", *to, "--output", str(self.file), *words)

    def release(self, number: int) -> Path:
        """Let a custodian release its share."""
        desk = self.custodians[number]
        share = desk.folder / "share.words"
        record = desk.json("keys", "release", str(self.file), "--output", str(share), "--yes")
        assert record["station"] == Station.open(self.us.home).id.hex()
        return share


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four stations, and the cards of the custodians: made once, then copied."""
    folder = tmp_path_factory.mktemp("custody")
    for name in NAMES:
        desk = desk_in(folder / name)
        assert desk.run("card", "export", "--output", str(folder / f"{name}.card")).exit_code == 0
    return folder


@pytest.fixture
def custody(tmp_path: Path, template: Path) -> Custody:
    """A station, and three custodians."""
    shutil.copytree(template, tmp_path / "custody")
    return Custody(tmp_path / "custody")


def test_backups_are_remembered(custody: Custody) -> None:
    """After a rotation the backup from before is named as stale, until it is said to be gone."""
    custody.us.json("rotate-key", "--tier", "routine")
    custody.back_up()
    record = custody.us.json("keys", "backups")
    (made,) = record["backups"]
    assert set(record) - {"event"} <= documented("key_backups")
    assert (made["note"], made["stale"], made["lacks"]) == ("2 of anna, ben, chen", [], [])
    rotated = custody.us.json("rotate-key", "--tier", "routine")
    assert rotated["stale_backups"] == [made["backup"]]
    done = custody.us.run("keys", "backups")
    assert "still holds" in done.stdout
    assert "routine/0" in done.stdout
    gone = custody.us.json("keys", "backups", "--destroyed", made["backup"][:6])
    assert gone["backups"] == []
    assert custody.us.run("keys", "backups", "--destroyed", "77").exit_code == 2


def test_a_station_is_lost_and_brought_back(custody: Custody, tmp_path: Path) -> None:
    """Two of three custodians bring it back, with another passphrase and the same fingerprint."""
    before = Station.open(custody.us.home)
    made = custody.back_up()
    assert (made["threshold"], len(made["custodians"])) == (2, 3)
    assert set(made) - {"event"} <= documented("keys_backed_up")
    first, second = custody.release(0), custody.release(2)
    new = Desk(custody.us.folder)
    new.environ["MEDSHARE_HOME"] = str(tmp_path / "again")
    new.passphrase.write_text("another passphrase altogether")
    words = ("keys", "restore", str(custody.file), "--share", str(first), "--share", str(second))
    record = new.json(*words)
    assert set(record) - {"event"} <= documented("keys_restored")
    assert record["fingerprint"] == before.card.fingerprint
    assert new.json("keys", "check")["keys"] == 3
    again = new.run(*words)
    assert again.exit_code == 2
    assert "not overwritten" in again.stderr


def test_one_share_is_not_enough(custody: Custody, tmp_path: Path) -> None:
    """Too few shares are counted, and nothing is made."""
    custody.back_up()
    new = Desk(custody.us.folder)
    new.environ["MEDSHARE_HOME"] = str(tmp_path / "again")
    done = new.run("keys", "restore", str(custody.file), "--share", str(custody.release(1)))
    assert done.exit_code == 3
    assert "2 different shares are needed" in done.stderr
    assert not (tmp_path / "again").exists()


def test_a_mistyped_share_is_named_as_such(custody: Custody, tmp_path: Path) -> None:
    """A word that is wrong is noticed, and no word is repeated in the error."""
    custody.back_up()
    first, second = custody.release(0), custody.release(1)
    *notes, text = first.read_text().splitlines()
    words = text.split()
    words[20] = "academic" if words[20] != "academic" else "acid"
    first.write_text("\n".join([*notes, " ".join(words)]))
    new = Desk(custody.us.folder)
    new.environ["MEDSHARE_HOME"] = str(tmp_path / "again")
    done = new.run(
        "keys", "restore", str(custody.file), "--share", str(first), "--share", str(second)
    )
    assert done.exit_code == 3
    assert "mistyped" in done.stderr
    assert not set(words) & set(done.stderr.split())


def test_a_share_is_a_private_file_of_words(custody: Custody) -> None:
    """Only its owner reads it, people see what it is for, and it is never overwritten."""
    custody.back_up()
    share = custody.release(0)
    assert share.stat().st_mode & 0o777 == 0o600
    *notes, text = share.read_text().splitlines()
    assert all(note.startswith("#") for note in notes)
    assert "2 of 3" in notes[1]
    assert len(check_share(text).split()) == WORDS
    done = custody.custodians[0].run(
        "keys", "release", str(custody.file), "--output", str(share), "--yes"
    )
    assert done.exit_code == 2


def test_a_share_is_not_released_unseen(custody: Custody) -> None:
    """Without a person who looks, or --yes, nothing is written."""
    custody.back_up()
    desk = custody.custodians[0]
    done = desk.run("keys", "release", str(custody.file), "--output", str(desk.folder / "s"))
    assert done.exit_code == 2
    assert "looked" in done.stderr
    assert not (desk.folder / "s").exists()


def test_who_is_no_custodian_releases_nothing(custody: Custody) -> None:
    """The station itself has no share of its own backup."""
    custody.back_up()
    done = custody.us.run("keys", "release", str(custody.file), "--output", "/nowhere/s", "--yes")
    assert done.exit_code == 4
    assert "no share for this station" in done.stderr


def test_a_contact_can_be_a_custodian(custody: Custody) -> None:
    """Custodians are named by their card's file, or as contacts are."""
    for card in custody.cards[:2]:
        assert custody.us.run("card", "import", str(card), "--yes").exit_code == 0
    record = custody.us.json(
        "keys", "backup", "--to", "anna", "--to", "ben", "--output", str(custody.file)
    )
    assert [one["name"] for one in record["custodians"]] == ["anna", "ben"]


def test_a_backup_never_overwrites_and_needs_two(custody: Custody) -> None:
    """A file in the way stays, and one custodian is not enough."""
    custody.back_up()
    before = custody.file.read_bytes()
    to = [word for card in custody.cards for word in ("--to", str(card))]
    assert custody.us.run("keys", "backup", *to, "--output", str(custody.file)).exit_code == 2
    assert custody.file.read_bytes() == before
    alone = custody.us.run("keys", "backup", *to[:2], "--output", str(custody.file) + "2")
    assert alone.exit_code == 2
    assert "one alone could otherwise read everything" in alone.stderr


# --- keyring and token ------------------------------------------------------------------------


def test_a_station_under_the_keyring_asks_for_nothing(tmp_path: Path, custody: Custody) -> None:
    """Neither init nor use needs a passphrase; a backup can bring it back under a keyring."""
    (tmp_path / "desk").mkdir()
    desk = Desk(tmp_path / "desk")
    del desk.environ["MEDSHARE_PASSPHRASE_FILE"]
    assert desk.run("init", "--name", "ring", "--keystore", "keyring").exit_code == 0
    assert desk.json("keys", "list")["backend"] == "keyring"
    assert desk.json("keys", "check")["keys"] == 3
    custody.us = desk
    custody.back_up()
    shares = [word for number in (0, 1) for word in ("--share", str(custody.release(number)))]
    desk.environ["MEDSHARE_HOME"] = str(tmp_path / "again")
    words = ("keys", "restore", str(custody.file), *shares, "--keystore", "keyring")
    assert desk.run(*words).exit_code == 0
    assert desk.json("keys", "check")["backend"] == "keyring"


@pytest.mark.service
def test_a_station_in_a_token(tmp_path: Path, custody: Custody) -> None:
    """init, list with RFC 7512 names, check and rotate-key work; a backup is refused kindly."""
    desk = token_desk(tmp_path / "hsm")
    record = desk.json("keys", "list")
    assert record["backend"] == "pkcs11"
    assert {one["algorithm"] for one in record["keys"]} == {"ecdsa-p256", "p256"}
    assert all(one["uri"].startswith("pkcs11:token=medshare;") for one in record["keys"])
    assert desk.run("rotate-key").exit_code == 0
    assert desk.json("keys", "check")["keys"] == 4
    to = [word for card in custody.cards for word in ("--to", str(card))]
    done = desk.run("keys", "backup", *to, "--output", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert "cannot leave it" in done.stderr


@pytest.mark.service
def test_a_station_in_a_token_comes_back_from_its_card(tmp_path: Path) -> None:
    """With the token, its PIN and a card that somebody has kept, `adopt` finds the keys again."""
    desk = token_desk(tmp_path / "hsm")
    card = tmp_path / "hsm.card"
    assert desk.run("card", "export", "--output", str(card)).exit_code == 0
    fingerprint = Station.open(desk.home).card.fingerprint
    desk.environ["MEDSHARE_HOME"] = str(tmp_path / "again")
    record = desk.json("keys", "adopt", str(card), "--keystore", TOKEN)
    assert (record["event"], record["fingerprint"]) == ("keys_restored", fingerprint)
    assert desk.json("keys", "check")["keys"] == 2


@pytest.mark.service
def test_a_custodian_in_a_token_releases_its_share(tmp_path: Path, custody: Custody) -> None:
    """A share is opened inside a token like anything else that is sent to it."""
    desk = token_desk(tmp_path / "hsm")
    card = tmp_path / "hsm.card"
    assert desk.run("card", "export", "--output", str(card)).exit_code == 0
    custody.custodians[1], custody.cards[1] = desk, card
    custody.back_up()
    assert len(check_share(custody.release(1).read_text().splitlines()[-1]).split()) == WORDS


@pytest.mark.service
@pytest.mark.parametrize(
    "uri",
    ["pkcs11:token=medshare?module-path=/tmp/evil.so", "pkcs11:", "pkcs11:token=a;object=b", "usb"],
)
def test_init_refuses_what_names_no_token(tmp_path: Path, uri: str) -> None:
    """A module path, no token, a key or another word: a usage error, and no station."""
    desk = Desk(tmp_path)
    done = desk.run("init", "--keystore", uri)
    assert done.exit_code == 2
    assert not desk.home.exists()


@pytest.mark.service
def test_the_configuration_may_name_token_and_module(tmp_path: Path) -> None:
    """In config.toml, and only there, the URI may hold the path of the module."""
    softhsm.token()
    desk = Desk(tmp_path)
    desk.passphrase.write_bytes(softhsm.PIN)
    desk.home.mkdir(mode=0o700)
    uri = f"{TOKEN}?module-path={softhsm.module()}"
    (desk.home / "config.toml").write_text(f"keystore = {json.dumps(uri)}\n")
    made = desk.run("init", "--name", "hsm")
    assert made.exit_code == 0, made.output
    assert Station.open(desk.home).backend == "pkcs11"
    assert desk.json("keys", "check")["keys"] == 2


@pytest.mark.service
def test_a_person_types_the_pin(tmp_path: Path) -> None:
    """The PIN is asked for, never shown; a wrong one is said to be wrong, with what is left."""
    desk = token_desk(tmp_path / "hsm")
    terminal = Terminal(
        desk,
        "keys",
        "check",
        SOFTHSM2_CONF=os.environ["SOFTHSM2_CONF"],
        MEDSHARE_PKCS11_MODULE=str(softhsm.module()),
    )
    terminal.wait_for("PIN of the token")
    terminal.type("000000")
    terminal.wait_for("is wrong; a token allows few tries")
    terminal.wait_for("PIN of the token")
    terminal.type(softhsm.PIN.decode())
    assert terminal.end() == 0, terminal.shown
    assert softhsm.PIN.decode() not in terminal.shown
