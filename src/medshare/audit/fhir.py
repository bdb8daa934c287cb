"""Entries as FHIR R4 AuditEvents (https://hl7.org/fhir/R4/auditevent.html).

Each carries the number of the entry and its leaf hash, so that a hospital's archive can be
held against the record: `medshare audit prove` has the proof for that hash.
"""

from typing import Any

from medshare.audit.codes import (
    ACT_REASON,
    DCM,
    EVENTS,
    OUTCOMES,
    PURPOSES,
    SYSTEM,
    Code,
    details_of,
    instant,
    name_of,
)
from medshare.audit.entries import Entry, Kind, Ref
from medshare.audit.merkle import leaf_hash

Resource = dict[str, Any]

_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"
_REPORT, _SECURITY_RESOURCE, _USER = ("3", "Report"), ("13", "Security Resource"), ("6", "User")


def audit_event(entry: Entry, *, origin: str) -> Resource:
    """Return *entry* of the record *origin* as an AuditEvent."""
    event = entry.event
    code, kind, action = EVENTS[event.act]
    subtypes = [{"system": SYSTEM.format("act"), "code": str(event.act)}]
    if kind is not None:
        subtypes.insert(0, _dcm(kind))
    made: Resource = {
        "resourceType": "AuditEvent",
        "id": f"{origin.rpartition('/')[2][:40]}-{entry.number}",
        "type": _dcm(code),
        "subtype": subtypes,
        "action": action,
        "recorded": instant(entry.time),
        "outcome": OUTCOMES[event.outcome],
        "agent": _agents(entry),
        "source": {
            "observer": _reference("record", origin),
            "type": [{"system": _SOURCE_TYPE, "code": "4", "display": "Application Server"}],
        },
        "entity": [*_entities(entry), _record_entity(entry, origin)],
    }
    if event.code:
        made["outcomeDesc"] = event.code
    if purpose := PURPOSES.get(event.act):
        coding = {"system": ACT_REASON, "code": purpose.value, "display": purpose.meaning}
        made["purposeOfEvent"] = [{"coding": [coding]}]
    return made


def bundle_line(entry: Entry, *, origin: str) -> Resource:
    """Return the AuditEvent as one entry of a FHIR Bundle of type collection."""
    return {"resource": audit_event(entry, origin=origin)}


def _dcm(code: Code) -> dict[str, str]:
    return {"system": DCM, "code": code.value, "display": code.meaning}


def _reference(kind: str, value: str) -> Resource:
    return {"identifier": {"system": SYSTEM.format(kind), "value": value}}


def _agents(entry: Entry) -> list[Resource]:
    event = entry.event
    first: Resource = {
        "who": _reference(str(event.actor.kind), name_of(event.actor.kind, event.actor.id)),
        "requestor": True,
    }
    if event.role:
        first["role"] = [{"coding": [{"system": SYSTEM.format("role"), "code": event.role}]}]
    others = [
        {"who": _reference(str(Kind.STATION), party.hex()), "requestor": False}
        for party in event.parties
    ]
    return [first, *others]


def _entities(entry: Entry) -> list[Resource]:
    event = entry.event
    about: Ref = event.object
    if about.kind is Kind.NOTHING:
        return []
    role = {Kind.PARCEL: _REPORT, Kind.STATION: _USER}.get(about.kind, _SECURITY_RESOURCE)
    made: Resource = {
        "what": _reference(str(about.kind), name_of(about.kind, about.id)),
        "type": {"system": _ENTITY_TYPE, "code": "2", "display": "System Object"},
        "role": {"system": _OBJECT_ROLE, "code": role[0], "display": role[1]},
    }
    if event.tier:
        made["securityLabel"] = [{"system": SYSTEM.format("tier"), "code": event.tier}]
    details = [{"type": name, "valueString": value} for name, value in details_of(entry)]
    if details:
        made["detail"] = details
    return [made]


def _record_entity(entry: Entry, origin: str) -> Resource:
    details = [
        {"type": "number", "valueString": str(entry.number)},
        {"type": "leaf-hash", "valueString": leaf_hash(entry.encode()).hex()},
    ]
    if entry.event.object.kind is Kind.NOTHING:
        details += [{"type": name, "valueString": value} for name, value in details_of(entry)]
    return {
        "what": _reference("record", origin),
        "type": {"system": _ENTITY_TYPE, "code": "2", "display": "System Object"},
        "role": {
            "system": _OBJECT_ROLE,
            "code": _SECURITY_RESOURCE[0],
            "display": _SECURITY_RESOURCE[1],
        },
        "detail": details,
    }
