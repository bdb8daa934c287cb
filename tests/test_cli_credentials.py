"""Credentials at the command line: an authority, three doctors, and one who is revoked."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from medshare import cli

PASSPHRASE = "a very long passphrase"
DOCTORS = {
    "wang": ("Dr Wang Li", "110023", "specialist"),
    "novak": ("Dr Jana Novák", "CZ-7781", "physician"),
    "okafor": ("Dr Ada Okafor", "NG/2201", "specialist"),
}


class Town:
    """Stations and an authority in one folder; everybody has the same passphrase."""

    def __init__(self, root: Path) -> None:
        self.root = root
        passphrase = root / "passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_text(PASSPHRASE)
        (root / "study").mkdir()
        (root / "study" / "1.dcm").write_bytes(b"\x00" * 128 + b"DICM" + b"pixels" * 300)

    def run(self, who: str, line: str, *more: str) -> Result:
        """Let *who* type *line*, and *more* words with spaces in them."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            return CliRunner().invoke(
                cli.cli,
                [*line.split(), *more],
                prog_name="medshare",
                env={
                    "MEDSHARE_HOME": str(self.root / who),
                    "MEDSHARE_PASSPHRASE_FILE": str(self.root / "passphrase"),
                    "MEDSHARE_AUTHORITY": str(self.root / "office"),
                },
            )

    def do(self, who: str, line: str, *more: str) -> str:
        """Let *who* type *line*, which works; return what is shown."""
        done = self.run(who, line, *more)
        assert done.exit_code == 0, (line, done.output)
        return done.stdout

    def json(self, who: str, line: str, *more: str, exit_code: int = 0) -> dict[str, Any]:
        """Let a program of *who* call *line*; return the last record."""
        done = self.run(who, f"{line} --json", *more)
        assert done.exit_code == exit_code, (line, done.output)
        record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return record

    def certify(self, who: str) -> str:
        """Take a doctor's request to the authority; return the number of the certificate."""
        name, licence, role = DOCTORS[who]
        self.do(who, f"card request --output {who}.csr")
        line = (
            f"authority issue {who}.csr --licence {licence} --role {role} --output {who}.pem --yes"
        )
        record = self.json("officer", line, "--name", name)
        self.do(who, f"card attach {who}.pem")
        self.do(who, f"card export --output {who}.card")
        return str(record["serial"])


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """An authority, three doctors whom it has certified, and a sender who trusts it."""
    town = Town(tmp_path_factory.mktemp("town"))
    town.do("officer", "authority init --name", "Health Commission")
    town.do("sender", "init --name radiology")
    for who, (name, _, _) in DOCTORS.items():
        town.do(who, "init --name", name)
        town.certify(who)
        town.do("sender", f"card import {who}.card --name {who} --yes")
    town.do("officer", "authority crl --output lists-1.pem")
    town.do("sender", "trust add office/ca.pem --name commission --yes")
    town.do("sender", "trust update lists-1.pem")
    return town


SEND = "send study --to {} --folder usb --require licensed"


def test_a_revoked_doctor_is_refused_from_then_on(town: Town) -> None:
    """All three are licensed; one is revoked, and only to that one nothing goes any more."""
    for who in DOCTORS:
        town.do("sender", SEND.format(who))
    listed = town.do("officer", "authority list")
    (serial,) = (line.split()[0] for line in listed.splitlines() if "Novák" in line)
    done = town.do("officer", f"authority revoke {serial} --reason privilege-withdrawn")
    assert done.startswith(
        "✓ revoked: Dr Jana Novák, physician, licence CZ-7781, Health Commission"
    )
    town.do("officer", "authority crl --output lists-2.pem")
    town.do("sender", "trust update lists-2.pem")

    refused = town.run("sender", SEND.format("novak"))
    assert refused.exit_code == 4
    assert refused.stderr.splitlines()[0] == (
        "medshare: error: novak has no valid credential: the credential was revoked by its "
        "authority (privilegeWithdrawn)"
    )
    both = town.json("sender", SEND.format("wang --to novak"), exit_code=4)
    assert both["code"] == "credential.revoked"
    assert town.json("sender", SEND.format("wang --to okafor"))["event"] == "sent"
    assert town.json("sender", "send study --to novak --folder usb")["event"] == "sent"

    back = town.json("sender", "trust update lists-1.pem", exit_code=4)
    assert back["code"] == "credential.rollback"
    listing = town.do("sender", "card list").splitlines()
    assert sum("vetted by commission" in line for line in listing) == 2
    assert sum("not vetted: the credential was revoked" in line for line in listing) == 1


def test_a_receiver_sees_who_sent_it_and_who_vetted_that(town: Town) -> None:
    """`receive`, with --list and without, shows name, role, licence, authority and validity."""
    town.do("sender", "card export --output sender.card")
    town.do("wang", "card import sender.card --yes")
    town.do("wang", "send study --to radiology --folder post")
    town.do("sender", "send study --to wang --folder usb")
    who = "Dr Wang Li, specialist, licence 110023, Health Commission; vetted by commission, valid"
    assert who in town.do("sender", "receive --list --folder post")
    record = town.json("sender", "receive --list --folder post")
    (waiting,) = record["parcels"]
    assert waiting["credential"]["licence"] == "110023"
    assert waiting["credential"]["authority"] == "commission"
    assert who in town.do("sender", "receive --output inbox --folder post")
    plain = town.do("wang", "receive --list --folder usb")
    assert "vetted" not in plain


def test_without_a_credential_nothing_goes_to_the_licensed(town: Town) -> None:
    """A contact without a certificate is refused, with the code and a hint."""
    town.do("guest", "init --name guest")
    town.do("guest", "card export --output guest.card")
    record = town.json("sender", "card import guest.card --yes")
    assert record["credential"] is None
    refused = town.json("sender", SEND.format("guest"), exit_code=4)
    assert refused["code"] == "credential.missing"
    assert "medshare card export" in refused["hint"]


def test_a_rotation_asks_for_a_new_certificate(town: Town) -> None:
    """After rotate-key the old certificate covers nothing; a new one, with the new card, does."""
    town.do("okafor", "rotate-key")
    town.do("okafor", "card export --output rotated.card")
    assert "CERTIFICATE" not in (town.root / "rotated.card").read_text()
    town.do("sender", "card import rotated.card")
    refused = town.json("sender", SEND.format("okafor --new"), exit_code=4)
    assert refused["code"] == "credential.card"
    (town.root / "okafor.csr").unlink()
    town.certify("okafor")
    town.do("officer", "authority crl --output lists-3.pem")
    town.do("sender", "trust update lists-3.pem")
    imported = town.do("sender", "card import okafor.card")
    assert "vetted by commission" in imported
    town.do("sender", SEND.format("okafor --new"))


def test_a_certificate_does_not_travel_with_another_card(town: Town) -> None:
    """A card followed by somebody else's certificate is refused, and nobody is trusted."""
    mixed = (town.root / "guest.card") if (town.root / "guest.card").exists() else None
    card = mixed or town.root / "sender.card"
    if not card.exists():
        town.do("sender", f"card export --output {card.name}")
    text = card.read_text() + (town.root / "wang.pem").read_text()
    (town.root / "mixed.card").write_text(text)
    refused = town.json("novak", "card import mixed.card --yes", exit_code=4)
    assert refused["code"] == "credential.station"
    assert town.json("novak", "card list")["contacts"] == []


def test_who_calls_itself_like_somebody_else_is_refused(town: Town) -> None:
    """A licensed nurse whose card imitates a vetted doctor, in look-alike letters, is refused."""
    town.do("imitator", "init --name", "Dr W\u0430ng Li")
    town.do("imitator", "card request --output imitator.csr")
    line = "authority issue imitator.csr --licence 9 --role nurse --output imitator.pem --yes"
    town.do("officer", line, "--name", "Mal Ory")
    town.do("imitator", "card attach imitator.pem")
    town.do("imitator", "card export --output imitator.card")
    town.do("officer", "authority crl --output lists-4.pem")
    town.do("sender", "trust update lists-4.pem")
    town.do("sender", "card import imitator.card --yes --name mal")
    refused = town.json("sender", SEND.format("mal"), exit_code=4)
    assert refused["code"] == "credential.imitation"


def test_names_of_others_are_harmless(town: Town) -> None:
    """What cannot be shown cannot stand in a certificate of ours."""
    town.do("mallory", "init --name mallory")
    town.do("mallory", "card request --output mallory.csr")
    line = "authority issue mallory.csr --licence 1 --role nurse --output mallory.pem --yes"
    done = town.run("officer", line, "--name", "Dr \u202eil")
    assert done.exit_code == 2
    assert not (town.root / "mallory.pem").exists()


def test_nobody_is_certified_or_trusted_unseen(town: Town) -> None:
    """Without --yes and without a terminal, what is to be compared is named, and nothing done."""
    line = "authority issue wang.csr --licence 1 --role nurse --output x.pem --name x"
    assert "fingerprint is" in town.json("officer", line, exit_code=2)["hint"]
    assert "SHA-256 is" in town.json("wang", "trust add office/ca.pem", exit_code=2)["hint"]
    assert town.json("wang", "trust list")["authorities"] == []


def test_an_authority_can_be_forgotten(town: Town) -> None:
    """Whom a removed authority has vetted is vetted no more."""
    town.do("wang", "trust add office/ca.pem --yes")
    assert town.json("wang", "trust list")["authorities"][0]["name"] == "Health Commission"
    town.do("wang", "trust remove", "health commission")
    assert "no authority is trusted here yet" in town.do("wang", "trust list")


def test_a_certificate_is_renewed(town: Town) -> None:
    """The same person gets a new certificate, which is listed beside the old one."""
    listed = town.json("officer", "authority list")["certificates"]
    first = next(one for one in listed if one["name"] == "Dr Wang Li")
    renewed = town.json("officer", f"authority renew {first['serial']} --output renewed.pem")
    assert renewed["event"] == "certificate_renewed"
    assert renewed["licence"] == first["licence"]
    attached = town.json("wang", "card attach renewed.pem")
    assert attached["credential"]["serial"] == renewed["serial"]
