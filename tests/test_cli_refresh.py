"""`medshare trust refresh`: a hospital's authority with a responder, on the loopback."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from medshare.errors import TransferError
from medshare.transport.responder import ask_responder
from medshare.trust.ocsp import MAX_ANSWER
from tests.certifier import DAY, SUBJECT, authority_certificate, credential, doctor_parts
from tests.responders import Running, access, answer, running
from tests.test_cli_credentials import SEND, Town

NOW = int(time.time())
CA = authority_certificate(since=NOW - DAY, until=NOW + 365 * DAY)
STATUS = ocsp.OCSPCertStatus


class Hospital(Town):
    """A sender, a doctor whose certificate names a responder, and that responder."""

    def __init__(self, root: Path, responder: Running) -> None:
        super().__init__(root)
        self.responder = responder
        self.do("sender", "init --name radiology")
        self.do("wang", "init --name", "Dr Wang")
        self.do("wang", "card request --output wang.csr")
        self.leaf = self._certified((root / "wang.csr").read_bytes())
        (root / "wang.pem").write_bytes(self.leaf.public_bytes(Encoding.PEM))
        (root / "ca.pem").write_bytes(CA.public_bytes(Encoding.PEM))
        self.do("wang", "card attach wang.pem")
        self.do("wang", "card export --output wang.card")
        self.do("sender", "card import wang.card --name wang --yes")
        self.do("sender", "trust add ca.pem --name hospital --yes")

    def _certified(self, request: bytes) -> x509.Certificate:
        csr = x509.load_pem_x509_csr(request)
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return credential(
            subject=SUBJECT,
            public=csr.public_key(),
            parts=doctor_parts() | {"names": (names, False)} | access(self.responder.url),
            since=NOW - DAY,
            until=NOW + 30 * DAY,
        )

    def says(self, status: ocsp.OCSPCertStatus, *, age: int = 60) -> None:
        """Let the responder say this from now on."""
        octets = answer(self.leaf, issuer=CA, status=status, since=NOW - age, until=NOW + DAY)
        self.replies(200, octets)

    def replies(self, status: int, body: bytes) -> None:
        """Let the responder answer just that from now on."""
        self.responder.reply = lambda _: (status, body)

    def refresh(self, line: str = "wang", exit_code: int = 0) -> dict[str, Any]:
        """Let the sender ask; return the record of the answers."""
        done = self.run("sender", f"trust refresh {line} --json")
        assert done.exit_code == exit_code, done.output
        record: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        assert record["event"] == "credentials_refreshed"
        return record

    def kept(self) -> list[Path]:
        """The answers that the sender keeps."""
        return list((self.root / "sender" / "answers").glob("*"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """The hospital, built once."""
    with running() as responder:
        yield Hospital(tmp_path_factory.mktemp("hospital"), responder)


@pytest.fixture
def hospital(built: Hospital) -> Hospital:
    """The hospital, with nothing asked yet."""
    for path in built.kept():
        path.unlink()
    built.responder.asked.clear()
    built.responder.reply = lambda _: (500, b"")
    return built


def test_a_good_answer_makes_a_contact_licensed(hospital: Hospital) -> None:
    """Refused with a hint; asked, answered, kept for its owner alone; sent."""
    before = hospital.json("sender", SEND.format("wang"), exit_code=4)
    assert before["code"] == "credential.no-crl"
    assert "medshare trust refresh NAME" in before["hint"]
    assert hospital.responder.asked == []
    hospital.says(STATUS.GOOD)
    shown = hospital.do("sender", "trust refresh")
    assert shown.startswith("✓ wang: good\n")
    assert hospital.responder.url in shown
    (path,) = hospital.kept()
    assert path.stat().st_mode & 0o777 == 0o600
    assert hospital.json("sender", SEND.format("wang --new"))["event"] == "sent"
    (one,) = hospital.refresh()["answers"]
    assert (one["contact"], one["status"], one["fault"]) == ("wang", "good", None)
    assert (one["this_update"], one["good_until"]) == (NOW - 60, NOW + DAY)


def test_a_revoked_contact_is_refused_and_stays_so(hospital: Hospital) -> None:
    """Revoked is shown with when and why; an older good answer that is replayed changes nothing."""
    hospital.says(STATUS.REVOKED)
    shown = hospital.do("sender", "trust refresh wang")
    assert shown.startswith("✗ wang: revoked at ")
    assert "(keyCompromise)" in shown
    assert hospital.json("sender", SEND.format("wang"), exit_code=4)["code"] == "credential.revoked"
    hospital.says(STATUS.GOOD, age=3600)
    (one,) = hospital.refresh(exit_code=4)["answers"]
    assert one["fault"]["code"] == "credential.rollback"
    assert hospital.json("sender", SEND.format("wang"), exit_code=4)["code"] == "credential.revoked"
    hospital.says(STATUS.UNKNOWN, age=1)
    assert "unknown to its responder" in hospital.do("sender", "trust refresh wang")
    assert hospital.json("sender", SEND.format("wang"), exit_code=4)["code"] == "credential.unknown"


def test_what_is_no_answer_is_not_kept(hospital: Hospital) -> None:
    """Garbage, an error, too much and a redirect are faults; what was known stays as it was."""
    hospital.says(STATUS.GOOD)
    hospital.refresh()
    (path,) = hospital.kept()
    known = path.read_bytes()
    for reply, code in (
        ((200, b"garbage"), "credential.answer"),
        ((500, b""), "transfer.responder"),
        ((302, hospital.responder.url.encode()), "transfer.responder"),
        ((302, b"file:///etc/passwd"), "transfer.responder"),
        ((200, bytes(MAX_ANSWER + 1)), "transfer.responder"),
    ):
        hospital.responder.asked.clear()
        hospital.replies(*reply)
        exit_code = hospital.run("sender", "trust refresh wang").exit_code
        assert exit_code == (4 if code == "credential.answer" else 5), code
        (one,) = hospital.refresh(exit_code=exit_code)["answers"]
        assert one["fault"]["code"] == code
        assert len(hospital.responder.asked) == 2, "no redirect is followed"
    assert [one.read_bytes() for one in hospital.kept()] == [known]


def test_a_question_says_nothing_of_who_asks(hospital: Hospital) -> None:
    """The responder is told number and hashes; neither the body nor a header names anybody."""
    hospital.says(STATUS.GOOD)
    hospital.refresh()
    (question,) = hospital.responder.asked
    assert ocsp.load_der_ocsp_request(question).serial_number == hospital.leaf.serial_number
    head = hospital.responder.heads[-1]
    assert head["content-type"] == "application/ocsp-request"
    told = question + json.dumps(head).encode()
    for secret in (b"wang", b"Wang", b"radiology", b"cookie", b"authorization"):
        assert secret not in told


def test_who_has_no_responder_is_not_asked_about(hospital: Hospital) -> None:
    """Named, a contact without certificate is a fault; among all, it is passed over."""
    hospital.do("guest", "init --name guest")
    hospital.do("guest", "card export --output guest.card")
    hospital.do("sender", "card import guest.card --yes")
    (one,) = hospital.refresh("guest", exit_code=4)["answers"]
    assert one["fault"]["code"] == "credential.no-responder"
    hospital.says(STATUS.GOOD)
    assert [one["contact"] for one in hospital.refresh("")["answers"]] == ["wang"]
    assert "nobody was asked" in hospital.do("guest", "trust refresh")


def test_a_station_asks_about_itself_too(hospital: Hospital) -> None:
    """Without names, a station learns how its own certificate stands, which rules may demand."""
    hospital.do("wang", "trust add ca.pem --name hospital --yes")
    hospital.says(STATUS.GOOD)
    (one,) = hospital.json("wang", "trust refresh")["answers"]
    assert (one["contact"], one["status"]) == (None, "good")
    assert hospital.do("wang", "trust refresh").startswith("✓ this station: good\n")


def test_no_stranger_makes_a_station_call_anywhere(hospital: Hospital) -> None:
    """The address in a certificate counts only when a trusted authority has signed it."""
    hospital.do("sender", "trust remove hospital")
    try:
        (one,) = hospital.refresh(exit_code=4)["answers"]
    finally:
        hospital.do("sender", "trust add ca.pem --name hospital --yes")
    assert one["fault"]["code"] == "credential.chain"
    assert hospital.responder.asked == []


def test_answers_about_nobody_are_forgotten(hospital: Hospital) -> None:
    """The folder holds one answer for each certificate of a contact, and no others."""
    hospital.says(STATUS.GOOD)
    hospital.refresh()
    stray = hospital.root / "sender" / "answers" / ("0" * 64)
    stray.write_bytes(b"an answer of before")
    hospital.refresh("")
    assert len(hospital.kept()) == 1
    assert not stray.exists()


def test_a_responder_that_is_not_there_is_a_failed_transfer() -> None:
    """No connection, and an address that is none, end in the same documented way."""
    for url in ("http://127.0.0.1:9/", "http://[::1/"):
        with pytest.raises(TransferError) as caught:
            ask_responder(url, b"", limit=1)
        assert caught.value.code == "transfer.responder"
