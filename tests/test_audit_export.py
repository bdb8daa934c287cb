"""audit.fhir and audit.atna: entries as hospitals' archives take them, valid and complete."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given, settings

from medshare.audit import atna, fhir
from medshare.audit.codes import EVENTS
from medshare.audit.entries import Act, Detail, Entry, Event, Outcome, parcel, station
from medshare.audit.merkle import leaf_hash
from medshare.ids import ParcelId, StationId
from tests.test_audit_entries import ENTRIES

ORIGIN = f"medshare/log/{'ab' * 32}"
RULES = Path(__file__).parent / "atna.rng"
SENT = Entry(
    7,
    bytes(32),
    1_800_000_000,
    Event(
        Act.EXPORT,
        station(StationId(b"s" * 32)),
        parcel(ParcelId(b"p" * 16)),
        Outcome.REFUSED,
        role="consultant",
        tier="restricted",
        code="policy.tier",
        parties=(StationId(b"r" * 32),),
        details={Detail.FILES: 3, Detail.DIGEST: b"d" * 32},
    ),
)


def test_every_act_has_its_codes() -> None:
    """There is no act without an event of DICOM and an action."""
    assert set(EVENTS) == set(Act)
    assert {action for _, _, action in EVENTS.values()} <= set("CRUDE")


@pytest.mark.parametrize("act", Act)
def test_each_act_is_a_valid_audit_event(act: Act) -> None:
    """The FHIR models of R4B accept the event of every act, and lose nothing of it."""
    models = pytest.importorskip("fhir.resources.R4B.auditevent")
    entry = Entry(7, bytes(32), 1_800_000_000, Event(act, station(StationId(b"s" * 32))))
    resource = fhir.audit_event(entry, origin=ORIGIN)
    read = models.AuditEvent.model_validate_json(json.dumps(resource))
    again = json.loads(read.model_dump_json())
    assert again.pop("recorded") in {"2027-01-15T08:00:00Z", "2027-01-15T08:00:00+00:00"}
    assert again == {key: value for key, value in resource.items() if key != "recorded"}


def test_an_emergency_has_the_purpose_of_breaking_the_glass() -> None:
    """It alone states a purpose of use, BTG of HL7 v3, and is DICOM's emergency override."""
    for act in Act:
        entry = Entry(7, bytes(32), 1_800_000_000, Event(act, station(StationId(b"s" * 32))))
        resource = fhir.audit_event(entry, origin=ORIGIN)
        if act is not Act.EMERGENCY:
            assert "purposeOfEvent" not in resource
            continue
        assert resource["purposeOfEvent"][0]["coding"][0]["code"] == "BTG"
        assert resource["subtype"][0]["code"] == "110127"
        assert b"110127" in atna.audit_message(entry, origin=ORIGIN)


@settings(max_examples=30)
@given(ENTRIES)
def test_any_entry_is_a_valid_audit_event(entry: Entry) -> None:
    """Whatever can be recorded can be exported as FHIR has it."""
    models = pytest.importorskip("fhir.resources.R4B.auditevent")
    models.AuditEvent.model_validate_json(json.dumps(fhir.audit_event(entry, origin=ORIGIN)))


def test_an_audit_event_says_what_the_entry_says() -> None:
    """Who, what, when, how it ended and why are where FHIR has them, and so is the proof's hash."""
    made = fhir.audit_event(SENT, origin=ORIGIN)
    assert made["id"] == f"{'ab' * 20}-7"
    assert made["recorded"] == "2027-01-15T08:00:00Z"
    assert (made["outcome"], made["outcomeDesc"], made["action"]) == ("4", "policy.tier", "R")
    assert made["type"]["code"] == "110106"
    assert made["agent"][0]["who"]["identifier"]["value"] == "73" * 32
    assert made["agent"][0]["role"][0]["coding"][0]["code"] == "consultant"
    assert made["agent"][1]["who"]["identifier"]["value"] == "72" * 32
    what, record = made["entity"]
    assert what["what"]["identifier"]["value"] == "70" * 16
    assert what["securityLabel"][0]["code"] == "restricted"
    assert {"type": "files", "valueString": "3"} in what["detail"]
    assert record["detail"][1]["valueString"] == leaf_hash(SENT.encode()).hex()


def valid(message: bytes) -> bool:
    """Say whether the rules of DICOM accept a message."""
    etree = pytest.importorskip("lxml.etree")
    schema = etree.RelaxNG(etree.parse(str(RULES)))
    return bool(schema.validate(etree.fromstring(message)))


@pytest.mark.parametrize("act", Act)
def test_each_act_is_a_valid_audit_message(act: Act) -> None:
    """The schema of DICOM PS3.15 accepts the message of every act."""
    entry = Entry(7, bytes(32), 1_800_000_000, Event(act, station(StationId(b"s" * 32))))
    assert valid(atna.audit_message(entry, origin=ORIGIN))


@settings(max_examples=30)
@given(ENTRIES)
def test_any_entry_is_a_valid_audit_message(entry: Entry) -> None:
    """Whatever can be recorded can be exported as DICOM has it."""
    assert valid(atna.audit_message(entry, origin=ORIGIN))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'EventActionCode="R"', b'EventActionCode="X"'),
        (b'EventOutcomeIndicator="4"', b'EventOutcomeIndicator="5"'),
        (b'EventDateTime="2027', b'EventDateTime="x027'),
        (b"EventID ", b"EventId "),
        (b'UserIsRequestor="true"', b'UserIsRequestor="maybe"'),
        (b'originalText="Export"', b'original="Export"'),
        (b"<ParticipantObjectName>parcel " + b"70" * 16 + b"</ParticipantObjectName>", b""),
        (b'ParticipantObjectTypeCodeRole="3"', b'ParticipantObjectTypeCodeRole="99"'),
    ],
)
def test_the_rules_refuse_what_is_wrong(good: bytes, bad: bytes) -> None:
    """The check above can fail: a message that breaks one rule is not accepted."""
    message = atna.audit_message(SENT, origin=ORIGIN)
    assert message.count(good) == 1
    assert not valid(message.replace(good, bad))


def attribute(parent: Element, path: str, name: str) -> str | None:
    """An attribute of the first element at *path*."""
    found = parent.find(path)
    return None if found is None else found.get(name)


def test_an_audit_message_says_what_the_entry_says() -> None:
    """Who, what, when, how it ended and why are where DICOM has them."""
    message = fromstring(atna.audit_message(SENT, origin=ORIGIN))
    assert attribute(message, "EventIdentification", "EventOutcomeIndicator") == "4"
    assert attribute(message, "EventIdentification/EventID", "csd-code") == "110106"
    assert message.findtext("EventIdentification/EventOutcomeDescription") == "policy.tier"
    users = [one.get("UserID") for one in message.findall("ActiveParticipant")]
    assert users == ["73" * 32, "72" * 32]
    assert attribute(message, "AuditSourceIdentification", "AuditSourceID") == ORIGIN
    what, record = message.findall("ParticipantObjectIdentification")
    assert what.get("ParticipantObjectID") == "70" * 16
    assert what.get("ParticipantObjectSensitivity") == "restricted"
    details = {
        one.get("type"): base64.b64decode(one.get("value") or "").decode()
        for one in record.findall("ParticipantObjectDetail")
    }
    assert details == {"number": "7", "leaf-hash": leaf_hash(SENT.encode()).hex()}


def test_a_syslog_message_has_its_head() -> None:
    """Priority, time, host and message id are where RFC 5424 has them, the length before."""
    message = atna.syslog_message(SENT, origin=ORIGIN, host="gw.example.org", process=42)
    head, mark, body = message.partition(b"\xef\xbb\xbf")
    assert head == b"<84>1 2027-01-15T08:00:00Z gw.example.org medshare 42 DICOM+RFC3881 - "
    assert mark
    assert fromstring(body).tag == "AuditMessage"
    frame = atna.framed(message)
    length, _, rest = frame.partition(b" ")
    assert int(length) == len(rest)
    assert rest == message


@pytest.mark.parametrize("host", ["", "two words", "höst", "x" * 256])
def test_a_host_without_a_usable_name_has_none(host: str) -> None:
    """What cannot stand in the head of a syslog message is left out."""
    message = atna.syslog_message(SENT, origin=ORIGIN, host=host, process=1)
    assert message.startswith(b"<84>1 2027-01-15T08:00:00Z - medshare 1 ")


def test_times_are_those_of_the_entry() -> None:
    """The time that is exported is the time of the entry, in UTC."""
    made = fhir.audit_event(SENT, origin=ORIGIN)
    assert datetime.fromisoformat(made["recorded"]) == datetime.fromtimestamp(SENT.time, UTC)
