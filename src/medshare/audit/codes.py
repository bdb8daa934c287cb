"""What acts are called in the code systems of DICOM (PS3.16, CID 400 and 401) and FHIR."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from medshare.audit.entries import Act, Entry, Kind, Outcome

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
SYSTEM: Final = "urn:x-medshare:{}"
"""Identifiers and words of our own: `urn:x-medshare:station`, `…:parcel`, `…:act`."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code of DICOM, and its meaning."""

    value: str
    meaning: str


APPLICATION: Final = Code("110100", "Application Activity")
RECORD_USED: Final = Code("110101", "Audit Log Used")
BEGIN_TRANSFER: Final = Code("110102", "Begin Transferring DICOM Instances")
ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
DELETED: Final = Code("110105", "DICOM Study Deleted")
EXPORT: Final = Code("110106", "Export")
QUERY: Final = Code("110112", "Query")
ALERT: Final = Code("110113", "Security Alert")
AUTHENTICATION: Final = Code("110114", "User Authentication")

START: Final = Code("110120", "Application Start")
STOP: Final = Code("110121", "Application Stop")
LOGIN: Final = Code("110122", "Login")
LOGOUT: Final = Code("110123", "Logout")
NODE: Final = Code("110126", "Node Authentication")
OVERRIDE: Final = Code("110127", "Emergency Override Started")
CONFIGURATION: Final = Code("110131", "Software Configuration")
ROLES: Final = Code("110136", "Security Roles Changed")
ATTRIBUTES: Final = Code("110137", "User security Attributes Changed")

EVENTS: Final[dict[Act, tuple[Code, Code | None, str]]] = {
    Act.PRUNE_RECORD: (RECORD_USED, None, "D"),
    Act.USE_RECORD: (RECORD_USED, None, "R"),
    Act.WITNESS: (RECORD_USED, None, "E"),
    Act.START: (APPLICATION, START, "E"),
    Act.STOP: (APPLICATION, STOP, "E"),
    Act.INIT: (APPLICATION, CONFIGURATION, "C"),
    Act.RESTORE: (APPLICATION, CONFIGURATION, "C"),
    Act.TRUST: (ALERT, ATTRIBUTES, "C"),
    Act.DISTRUST: (ALERT, ATTRIBUTES, "U"),
    Act.ROTATE: (ALERT, ATTRIBUTES, "U"),
    Act.POLICY: (ALERT, CONFIGURATION, "U"),
    Act.ROLE: (ALERT, ROLES, "U"),
    Act.SIGN_IN: (AUTHENTICATION, LOGIN, "E"),
    Act.SIGN_OUT: (AUTHENTICATION, LOGOUT, "E"),
    Act.LOCK_OUT: (ALERT, ATTRIBUTES, "U"),
    Act.UNLOCK: (ALERT, ATTRIBUTES, "U"),
    Act.ADD_FACTOR: (ALERT, ATTRIBUTES, "C"),
    Act.REMOVE_FACTOR: (ALERT, ATTRIBUTES, "D"),
    Act.RESET_FACTORS: (ALERT, ATTRIBUTES, "D"),
    Act.USE_RECOVERY: (ALERT, ATTRIBUTES, "U"),
    Act.RENEW_RECOVERY: (ALERT, ATTRIBUTES, "U"),
    Act.PROFILE: (ALERT, ATTRIBUTES, "U"),
    Act.SEND: (BEGIN_TRANSFER, None, "E"),
    Act.SEAL: (EXPORT, None, "R"),
    Act.DELIVER: (TRANSFERRED, None, "C"),
    Act.LIST: (QUERY, None, "E"),
    Act.OPEN: (ACCESSED, None, "R"),
    Act.VIEW: (ACCESSED, None, "R"),
    Act.EXPORT: (EXPORT, None, "R"),
    Act.RECEIPT: (TRANSFERRED, None, "C"),
    Act.GRANT: (ALERT, ATTRIBUTES, "C"),
    Act.WITHDRAW: (ALERT, ATTRIBUTES, "D"),
    Act.AMEND: (EXPORT, None, "U"),
    Act.OPINION: (EXPORT, None, "C"),
    Act.SHARE: (EXPORT, None, "R"),
    Act.REVOKE: (ALERT, ATTRIBUTES, "D"),
    Act.EMERGENCY: (ALERT, OVERRIDE, "E"),
    Act.REVIEW: (RECORD_USED, None, "R"),
    Act.ANNOUNCE: (BEGIN_TRANSFER, None, "E"),
    Act.FETCH: (TRANSFERRED, None, "R"),
    Act.DELETE: (DELETED, None, "D"),
    Act.EXPIRE: (DELETED, None, "D"),
    Act.ENROL: (ALERT, ATTRIBUTES, "C"),
    Act.REMOVE: (ALERT, ATTRIBUTES, "D"),
    Act.RENEW: (ALERT, ATTRIBUTES, "U"),
    Act.PROPOSE: (ALERT, CONFIGURATION, "C"),
    Act.APPROVE: (ALERT, CONFIGURATION, "U"),
    Act.REJECT: (ALERT, CONFIGURATION, "U"),
    Act.ADMINISTER: (ALERT, ROLES, "U"),
    Act.HOLD: (ALERT, ATTRIBUTES, "C"),
    Act.RELEASE: (ALERT, ATTRIBUTES, "D"),
    Act.ISSUE: (ALERT, ATTRIBUTES, "C"),
    Act.PUBLISH: (EXPORT, None, "R"),
    Act.BACKUP: (EXPORT, None, "R"),
    Act.DESTROY: (ALERT, ATTRIBUTES, "D"),
    Act.FORGET: (APPLICATION, CONFIGURATION, "D"),
    Act.REQUEST: (ALERT, NODE, "E"),
}
"""Event, kind of event, and action: create, read, update, delete or execute."""

ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PURPOSES: Final[dict[Act, Code]] = {Act.EMERGENCY: Code("BTG", "break the glass")}
"""Purposes of use (HL7 v3 PurposeOfUse) that an act has of itself."""

OUTCOMES: Final = {Outcome.DONE: "0", Outcome.REFUSED: "4", Outcome.FAILED: "8"}


def instant(time: int) -> str:
    """Return a time as ISO 8601 writes it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(kind: Kind, value: bytes) -> str:
    """Return how an identifier is written: its digits, or what it stands for without any."""
    return value.hex() or str(kind)


def details_of(entry: Entry) -> list[tuple[str, str]]:
    """Return what is said beside, as words and values."""
    return [
        (str(name), value.hex() if isinstance(value, bytes) else str(value))
        for name, value in sorted(entry.event.details.items())
    ]
