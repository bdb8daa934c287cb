"""Signing in at the command line, at a real relay with TLS: codes, security keys, certificates."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from click.testing import CliRunner, Result
from fido2.hid import CtapHidDevice

from medshare import cli
from medshare.keys.sealed import KdfCost
from medshare.relay import codes
from medshare.station import Station
from tests.conftest import ROOT
from tests.relay_process import PATIENCE, relay_process
from tests.running_server import Certificate
from tests.soft_authenticator import SoftAuthenticator

pytestmark = pytest.mark.service
PASSPHRASE = "a very long passphrase"


@dataclass
class Desk:
    """A station, and a relay that demands something of it."""

    root: Path
    relay: str = ""

    @property
    def data(self) -> str:
        """The folder of the relay."""
        return str(self.root / "relay")

    def environment(self) -> dict[str, str]:
        """Return what tells the program where everything is."""
        return {
            "MEDSHARE_HOME": str(self.root / "home"),
            "MEDSHARE_PASSPHRASE_FILE": str(self.root / "passphrase"),
            "MEDSHARE_RELAY": self.relay,
            "MEDSHARE_RELAY_CA": str(self.root / "ca.pem"),
        }

    def run(self, *words: str) -> Result:
        """Run medshare as this station."""
        env: dict[str, str | None] = dict(self.environment())
        return CliRunner().invoke(cli.cli, words, prog_name="medshare", env=env)

    def json(self, *words: str, exit_code: int = 0) -> dict[str, Any]:
        """Run medshare with --json; return the last object that it wrote."""
        done = self.run(*words, "--json")
        assert done.exit_code == exit_code, done.output
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def secret_file(self, name: str, text: str) -> str:
        """Write something that only this user may read."""
        path = self.root / name
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)

    def enrol(self, *profile: str) -> dict[str, Any]:
        """Enrol the station at the relay."""
        return self.operate("enroll", str(self.root / "card"), "--yes", *profile)

    def operate(self, *words: str, exit_code: int = 0) -> dict[str, Any]:
        """Run `medshare relay …` as the operator; return the object that it wrote."""
        return self.json("relay", *words, "--data", self.data, exit_code=exit_code)

    def add_totp(self, secret: str) -> tuple[bytes, dict[str, Any]]:
        """Add a code, as a program does; return its secret and the last record."""
        words = ["second-factor", "add", "totp", "--json"]
        words += ["--secret-file", self.secret_file("secret", secret)]
        with subprocess.Popen(
            [sys.executable, "-m", "medshare", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **self.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            begun = json.loads(process.stdout.readline())
            text = parse_qs(urlsplit(begun["otpauth"]).query)["secret"][0]
            key = base64.b32decode(text + "=" * (-len(text) % 8))
            out, _ = process.communicate(code_of(key) + "\n", timeout=PATIENCE)
        assert process.returncode == 0, out
        return key, json.loads(out.splitlines()[-1])


def code_of(key: bytes, steps: int = 0) -> str:
    """Return the code of now, or of a step later, which is accepted as well."""
    return codes.code_at(key, int(time.time()) // codes.STEP + steps)


Serve = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A station with its card exported, and no relay yet."""
    found = Desk(tmp_path)
    found.secret_file("passphrase", PASSPHRASE)
    station = Station.create(
        tmp_path / "home",
        name="dr-wang",
        passphrase=PASSPHRASE.encode(),
        now=int(time.time()),
        cost=KdfCost(64, 1, 1),
    )
    (tmp_path / "card").write_bytes(station.card.encoded)
    return found


@pytest.fixture
def serve(desk: Desk) -> Iterator[Serve]:
    """What starts the relay, with TLS."""
    with ExitStack() as stack:

        def start(*options: str) -> Desk:
            files = Certificate.issue(desk.root)
            words = ("--tls-cert", str(files.cert), "--tls-key", str(files.key), *options)
            desk.relay = stack.enter_context(relay_process(Path(desk.data), *words)).url
            return desk

        yield start


def test_a_person_signs_in_with_a_code(desk: Desk, serve: Serve) -> None:
    """From enrolment to sign-out, everything at the command line and over TLS."""
    enrolled = desk.enrol("--profile", "person")
    assert enrolled["profile"] == "person"
    serve()
    refused = desk.run("receive", "--list")
    assert refused.exit_code == 4
    assert f"run: medshare sign-in --relay {desk.relay}" in refused.stderr
    key, added = desk.add_totp(enrolled["secret"])
    assert len(added["recovery_codes"]) == 10
    signed_in = desk.json("sign-in", "--code", code_of(key, 1))
    assert (signed_in["relay"], signed_in["failures"], signed_in["idle"]) == (desk.relay, 0, 1800)
    assert desk.run("receive", "--list").exit_code == 0
    (kept,) = (desk.root / "home" / "sessions").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    listed = desk.json("second-factor", "list")
    assert [one["kind"] for one in listed["factors"]] == ["totp"]
    assert listed["recovery_codes_left"] == 10
    assert len(desk.json("second-factor", "recovery-codes")["recovery_codes"]) == 10
    assert desk.run("second-factor", "remove", listed["factors"][0]["factor"]).exit_code == 4
    assert desk.run("sign-out").exit_code == 0
    assert desk.json("receive", "--list", exit_code=4)["code"] == "access.denied.second-factor"


def test_a_recovery_code_signs_in_at_the_command_line(desk: Desk, serve: Serve) -> None:
    """Whoever has lost the phone types a recovery code; a second time it is refused."""
    enrolled = desk.enrol("--profile", "person")
    serve()
    _, added = desk.add_totp(enrolled["secret"])
    file = desk.secret_file("recovery", added["recovery_codes"][0] + "\n")
    words = ("sign-in", "--recovery-code", "--code-file", file)
    assert desk.run(*words).exit_code == 0
    assert desk.json(*words, exit_code=4)["code"] == "access.denied.factor"


def test_a_person_signs_in_with_a_security_key(
    desk: Desk, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is added with the operator's secret, and a touch signs in."""
    device = SoftAuthenticator()
    monkeypatch.setattr(CtapHidDevice, "list_devices", lambda: iter([device]))
    enrolled = desk.enrol("--profile", "person", "--factor", "fido2")
    serve()
    secret = desk.secret_file("secret", enrolled["secret"])
    added = desk.json("second-factor", "add", "fido2", "--secret-file", secret)
    assert (added["kind"], len(added["recovery_codes"])) == ("fido2", 10)
    done = desk.run("sign-in", "--fido2")
    assert done.exit_code == 0
    assert "touch the security key now" in done.stderr
    assert desk.run("receive", "--list").exit_code == 0
    assert desk.json("sign-in", "--code", "123456", exit_code=4)["code"] == "access.denied.profile"


def test_a_lost_phone_is_answered_by_the_operator(desk: Desk, serve: Serve) -> None:
    """While the relay runs a reset ends the session at once, and its secret enrols anew."""
    enrolled = desk.enrol("--profile", "person")
    serve()
    key, _ = desk.add_totp(enrolled["secret"])
    desk.json("sign-in", "--code", code_of(key, 1))
    assert desk.run("receive", "--list").exit_code == 0
    done = desk.operate("second-factor", "reset", "dr-wang")
    assert desk.run("receive", "--list").exit_code == 4
    key, _ = desk.add_totp(done["secret"])
    assert desk.run("sign-in", "--code", code_of(key, 1)).exit_code == 0
    assert desk.operate("second-factor", "unlock", "dr-wang")["failures"] == 0


def issue_client(authority: trustme.CA, folder: Path, name: str) -> tuple[str, str]:
    """Write a client certificate and its key; return where."""
    issued = authority.issue_cert(f"{name}.example.org")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    issued.cert_chain_pems[0].write_to_path(cert)
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)
    return str(cert), str(key)


def test_an_unattended_station_shows_its_certificate(desk: Desk, serve: Serve) -> None:
    """TLS demands one of the authority, the profile this one, and an address that fits."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(desk.root / "clients.pem")
    cert, key = issue_client(authority, desk.root, "gateway")
    other, other_key = issue_client(authority, desk.root, "other")
    foreign, foreign_key = issue_client(stranger, desk.root, "foreign")
    unattended = ("--profile", "unattended", "--client-cert", cert)
    desk.enrol(*unattended, "--from", "127.0.0.0/8")
    serve("--client-ca", str(desk.root / "clients.pem"), "--require-client-cert")
    listing = ("receive", "--list")
    assert desk.run(*listing, "--client-cert", cert, "--client-key", key).exit_code == 0
    Path(key).chmod(0o644)
    record = desk.json(*listing, "--client-cert", cert, "--client-key", key, exit_code=6)
    assert record["code"] == "storage.permissions"
    Path(key).chmod(0o600)
    assert desk.run(*listing).exit_code == 5, "TLS refuses who shows none"
    with_foreign = (*listing, "--client-cert", foreign, "--client-key", foreign_key)
    assert desk.run(*with_foreign).exit_code == 5, "TLS refuses one of another authority"
    record = desk.json(*listing, "--client-cert", other, "--client-key", other_key, exit_code=4)
    assert record["code"] == "access.denied.certificate"
    assert desk.run(*listing, "--client-cert", cert).exit_code == 2
    desk.operate("profile", "dr-wang", *unattended, "--from", "10.0.0.0/8")
    record = desk.json(*listing, "--client-cert", cert, "--client-key", key, exit_code=4)
    assert record["code"] == "access.denied.address"


def test_the_configuration_names_a_certificate(desk: Desk, serve: Serve) -> None:
    """What is in config.toml need not be typed."""
    cert, key = issue_client(trustme.CA(), desk.root, "gateway")
    desk.enrol("--profile", "unattended", "--client-cert", cert, "--from", "127.0.0.0/8")
    serve()
    assert desk.json("receive", "--list", exit_code=4)["code"] == "access.denied.certificate"
    config = desk.root / "home" / "config.toml"
    config.write_text(f'client_cert = "{cert}"\nclient_key = "{key}"\n')
    config.chmod(0o600)
    assert desk.run("receive", "--list").exit_code == 0


def test_a_relay_can_demand_a_profile_of_everybody(desk: Desk, serve: Serve) -> None:
    """A station enrolled as of old is refused by a relay with --require-profile."""
    desk.enrol()
    serve("--require-profile")
    assert desk.json("receive", "--list", exit_code=4)["code"] == "access.denied.profile"
    desk.operate("profile", "dr-wang", "--profile", "open")
    assert desk.run("receive", "--list").exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--profile", "person", "--from", "10.0.0.0/8"),
        ("--profile", "unattended", "--from", "10.0.0.0/8"),
        ("--profile", "open", "--factor", "totp"),
        ("--factor", "totp"),
        ("--profile", "unattended", "--from", "10.0.0.1/8"),
    ],
)
def test_options_of_another_profile_make_no_sense(desk: Desk, words: tuple[str, ...]) -> None:
    """They are refused as usage, and nobody is enrolled."""
    desk.operate("enroll", str(desk.root / "card"), "--yes", *words, exit_code=2)
    desk.operate("profile", "dr-wang", "--profile", "open", exit_code=5)
