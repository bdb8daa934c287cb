"""Entries as DICOM audit messages (PS3.15 §A.5, as IHE ATNA has them), and as syslog lines.

A syslog message is RFC 5424 with the facility `authpriv` and the message id `DICOM+RFC3881`;
over TLS it is framed as RFC 5425 says: its length in octets, a space, and the message.
"""

import base64
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from medshare.audit.codes import EVENTS, OUTCOMES, SYSTEM, Code, details_of, instant, name_of
from medshare.audit.entries import Entry, Kind, Outcome
from medshare.audit.merkle import leaf_hash

_SYSTEM_OBJECT: Final = "2"
_REPORT, _USER, _SECURITY_RESOURCE = "3", "6", "13"
_SOURCE, _DESTINATION = Code("110153", "Source Role ID"), Code("110152", "Destination Role ID")
_APPLICATION_SERVER: Final = "4"
_AUTHPRIV: Final = 10
_SEVERITIES: Final = {Outcome.DONE: 5, Outcome.REFUSED: 4, Outcome.FAILED: 3}
_BOM: Final = b"\xef\xbb\xbf"
_NIL: Final = "-"
_MAX_HOST, _MAX_APP = 255, 48


def audit_message(entry: Entry, *, origin: str) -> bytes:
    """Return *entry* of the record *origin* as an AuditMessage, in XML."""
    message = Element("AuditMessage")
    _event(message, entry)
    _participants(message, entry)
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=origin)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    _objects(message, entry, origin)
    return bytes(tostring(message, encoding="UTF-8", xml_declaration=True))


def _coded(parent: Element, name: str, code: str, system: str, meaning: str) -> None:
    SubElement(parent, name, {"csd-code": code, "codeSystemName": system, "originalText": meaning})


def _event(message: Element, entry: Entry) -> None:
    code, kind, action = EVENTS[entry.event.act]
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=instant(entry.time),
        EventOutcomeIndicator=OUTCOMES[entry.event.outcome],
    )
    _coded(event, "EventID", code.value, "DCM", code.meaning)
    if kind is not None:
        _coded(event, "EventTypeCode", kind.value, "DCM", kind.meaning)
    act = str(entry.event.act)
    _coded(event, "EventTypeCode", act, SYSTEM.format("act"), act)
    if entry.event.code:
        SubElement(event, "EventOutcomeDescription").text = entry.event.code


def _participants(message: Element, entry: Entry) -> None:
    actor = entry.event.actor
    who = SubElement(
        message,
        "ActiveParticipant",
        UserID=name_of(actor.kind, actor.id),
        AlternativeUserID=SYSTEM.format(actor.kind),
        UserIsRequestor="true",
    )
    _coded(who, "RoleIDCode", _SOURCE.value, "DCM", _SOURCE.meaning)
    if entry.event.role:
        _coded(who, "RoleIDCode", entry.event.role, SYSTEM.format("role"), entry.event.role)
    for party in entry.event.parties:
        other = SubElement(
            message,
            "ActiveParticipant",
            UserID=party.hex(),
            AlternativeUserID=SYSTEM.format(Kind.STATION),
            UserIsRequestor="false",
        )
        _coded(other, "RoleIDCode", _DESTINATION.value, "DCM", _DESTINATION.meaning)


def _objects(message: Element, entry: Entry, origin: str) -> None:
    about, details = entry.event.object, details_of(entry)
    own = [("number", str(entry.number)), ("leaf-hash", leaf_hash(entry.encode()).hex())]
    if about.kind is Kind.NOTHING:
        own += details
    else:
        role = {Kind.PARCEL: _REPORT, Kind.STATION: _USER}.get(about.kind, _SECURITY_RESOURCE)
        name = name_of(about.kind, about.id)
        _object(message, name, str(about.kind), role, details, tier=entry.event.tier)
    _object(message, origin, "record", _SECURITY_RESOURCE, own)


def _object(
    message: Element,
    name: str,
    kind: str,
    role: str,
    details: Iterable[tuple[str, str]],
    *,
    tier: str = "",
) -> None:
    attributes = {
        "ParticipantObjectID": name,
        "ParticipantObjectTypeCode": _SYSTEM_OBJECT,
        "ParticipantObjectTypeCodeRole": role,
    }
    if tier:
        attributes["ParticipantObjectSensitivity"] = tier
    made = SubElement(message, "ParticipantObjectIdentification", attributes)
    _coded(made, "ParticipantObjectIDTypeCode", kind, SYSTEM.format("kind"), kind)
    SubElement(made, "ParticipantObjectName").text = f"{kind} {name}"
    for word, value in details:
        octets = base64.b64encode(value.encode()).decode()
        SubElement(made, "ParticipantObjectDetail", type=word, value=octets)


def syslog_message(entry: Entry, *, origin: str, host: str, process: int) -> bytes:
    """Return *entry* as one syslog message; *host* and *process* say where it comes from."""
    priority = 8 * _AUTHPRIV + _SEVERITIES[entry.event.outcome]
    head = (
        f"<{priority}>1 {instant(entry.time)} {_printable(host, _MAX_HOST)} "
        f"{_printable('medshare', _MAX_APP)} {process} DICOM+RFC3881 {_NIL} "
    )
    return head.encode("ascii") + _BOM + audit_message(entry, origin=origin)


def framed(message: bytes) -> bytes:
    """Return *message* as it goes over TLS (RFC 5425 §4.3)."""
    return f"{len(message)} ".encode("ascii") + message


def _printable(text: str, most: int) -> str:
    """Return *text* as a header field of syslog, or the sign for none."""
    fits = 0 < len(text) <= most and all("!" <= letter <= "~" for letter in text)
    return text if fits else _NIL
