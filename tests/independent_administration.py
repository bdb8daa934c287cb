"""Proposals, votes and charters of docs/format.md §16, read a second time, from the page alone."""

from hashlib import sha256
from typing import Any

from tests.independent_decoder import read_card
from tests.independent_values import MIB, RefusedError, decode, fields, need, time, unpack, verify

ARGUMENTS: dict[str, dict[str, Any]] = {
    "enroll": {"card": bytes, "profile": bytes},
    "remove": {"station": 32},
    "set-profile": {"profile": bytes, "station": 32},
    "withdraw-grant": {"parcel": 16, "station": 32},
    "delete": {"parcel": 16},
    "hold": {"parcel": 16},
    "release-hold": {"parcel": 16},
    "set-policy": {"settings": dict},
    "set-administrators": {"administrators": list, "need": int},
}
SETTINGS = {"keep_seconds", "open_parcels", "parcel_bytes", "station_bytes", "total_bytes"}
CARD = 131072


def digest_of(label: str, body: bytes) -> bytes:
    """Return what names a signed object (§16.3)."""
    return sha256(f"medshare/1 {label}".encode() + b"\0" + body).digest()


def card(data: bytes) -> tuple[bytes, list[Any]]:
    """Read a card of at most 128 KiB; return its station, and its newest signature keys."""
    need(len(data) <= CARD, "format.limit", "card")
    station, keys = read_card(data)
    return station, keys[-1]


def administrators(listed: list[Any]) -> list[bytes]:
    """Read administrators (§16.1); return what counts once of each."""
    need(len(listed) <= 16, "format.limit", "administrators")
    voices = []
    for one in listed:
        shape = isinstance(one, list) and [type(item) for item in one] == [bytes, bytes]
        need(shape and len(one[1]) in (0, 32), "format", "an administrator")
        voices.append(one[1] or card(one[0])[0])
        card(one[0])
    return voices


def read_order(action: str, arguments: Any) -> None:
    """Read an order (§16.2)."""
    need(action in ARGUMENTS, "format", "action")
    types = ARGUMENTS[action]
    found = fields({**arguments, "critical": {}, "extra": {}}, types)
    if "card" in types:
        card(found["card"])
    need(len(found.get("profile", b"")) <= 65536, "format.limit", "profile")
    for name, value in found.get("settings", {}).items():
        need(name in SETTINGS and type(value) is int, "format", "a setting")
        need(1 <= value <= 1 << 62, "format", "a setting")
    if "administrators" in types:
        administrators(found["administrators"])
        need(found["need"] <= 16, "format.limit", "need")


def read_proposal(data: bytes) -> tuple[bytes, bytes]:
    """Read and verify a proposal (§16.3); return its digest, and who proposes."""
    body, signatures = unpack(data, "proposal", MIB)
    types = {
        "relay": str, "charter": 32, "action": str, "arguments": dict, "nonce": 16,
        "created": int, "expires": int, "card": bytes,
    }  # fmt: skip
    value = fields(decode(body, MIB, 512), types)
    need(len(value["relay"].encode()) <= 64, "format.limit", "relay")
    read_order(value["action"], value["arguments"])
    time(value["created"])
    time(value["expires"])
    station, keys = card(value["card"])
    lasts = value["expires"] - value["created"]
    need(0 < lasts <= 31 * 86400, "format", "how long it is valid")
    verify("proposal", body, signatures, keys)
    return digest_of("proposal", body), station


def read_vote(data: bytes) -> tuple[bytes, bytes, str]:
    """Read and verify a vote (§16.4); return the proposal, who votes, and how."""
    body, signatures = unpack(data, "vote", CARD + 65536)
    types = {"relay": str, "proposal": 32, "verdict": str, "created": int, "card": bytes}
    value = fields(decode(body, CARD + 65536, 512), types)
    need(value["verdict"] in ("approve", "reject"), "format", "verdict")
    time(value["created"])
    station, keys = card(value["card"])
    verify("vote", body, signatures, keys)
    return value["proposal"], station, value["verdict"]


def read_charter(data: bytes) -> int:
    """Read a charter (§16.1); return how many must approve."""
    value = decode(data, 16 * (CARD + 64) + 4096, 256)
    types = {
        "label": str, "relay": str, "number": int, "need": int, "administrators": list,
        "proposal": bytes,
    }  # fmt: skip
    value = fields({**value, "critical": {}, "extra": {}}, types)
    need(value["label"] == "medshare/1 charter", "format", "label")
    need(len(value["proposal"]) == (32 if value["number"] else 0), "format", "origin")
    voices = administrators(value["administrators"])
    need(len(set(voices)) == len(voices), "format", "somebody is named twice")
    need(2 <= value["need"] <= len(voices), "format", "quorum")
    return int(value["need"])


READERS = {"proposal": read_proposal, "vote": read_vote, "charter": read_charter}


def ends_in(kind: str, data: bytes) -> str:
    """Return `success`, or the kind of fault."""
    try:
        READERS[kind](data)
    except RefusedError as error:
        return str(error).partition(":")[0]
    return "success"
