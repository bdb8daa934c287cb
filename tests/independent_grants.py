"""Grants and lineages, read a second time: docs/format.md §7.4, §7.5 and §12.4.

Imports nothing of medshare.
"""

import re
from collections.abc import Callable
from typing import Any

from tests.independent_values import RefusedError, need, refuse, suite_named, time, within

CODE = re.compile("[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
ALL = {"amend", "annotate", "export", "share", "view"}
PURPOSES = {
    "TREAT", "ETREAT", "BTG", "COC", "CAREMGT", "PATSFTY", "HQUALIMP", "HLEGAL", "PATADMIN",
    "PATRQT", "PUBHLTH", "HRESCH", "CLINTRCH", "TRAIN",
}  # fmt: skip
MOST = {
    "attending": ALL, "consultant": {"view", "annotate", "export"}, "trainee": {"view"},
    "technician": set(), "auditor": set(),
}  # fmt: skip
NEEDS = {"revision": "amend", "opinion": "annotate", "share": "share"}


def critical(value: dict[str, Any]) -> Any:
    """Check what is critical in an envelope (§2.5, §7.4); return what it says of grants."""
    need(value.keys() <= {"grants"}, "format.version", "a critical extension")
    if not value:
        return {"department": "", "grants": [], "lineage": None}
    said = value["grants"]
    names = {"department", "grants", "lineage"}
    need(isinstance(said, dict) and said.keys() == names, "format", "fields of grants")
    department, grants = said["department"], said["grants"]
    need(type(department) is str and type(grants) is list, "format", "types of grants")
    need(len(department.encode()) <= 32, "format.limit", "department")
    need(not department or CODE.fullmatch(department), "format", "department")
    need(len(grants) <= 64, "format.limit", "number of grants")
    for one in grants:
        grant(one)
    stations = [one[0] for one in grants]
    need(stations == sorted(set(stations)), "format", "order of grants")
    if said["lineage"] is not None:
        step(said["lineage"])
        need(grants, "format", "a lineage without grants")
    need(department or grants, "format", "nothing said")
    return said


def grant(one: Any) -> None:
    """Check the form of one grant (§7.4)."""
    shape = isinstance(one, list) and [type(i) for i in one] == [bytes, str, list, str, int, int]
    need(shape and len(one[0]) == 32 and CODE.fullmatch(one[1]), "format", "a grant")
    _, role, permissions, purpose, expires, openings = one
    time(expires)
    within(openings, 0, 1 << 20)
    need(all(type(each) is str for each in permissions), "format", "permissions")
    need(permissions == sorted(set(permissions)), "format", "order of permissions")
    need(set(permissions) <= ALL, "format.version", "a permission")
    need(not permissions or "view" in permissions, "format", "without view")
    need(set(permissions) <= MOST.get(role, ALL), "format", "beyond the role")
    need(purpose in PURPOSES, "format.version", "purpose")


def step(one: Any) -> None:
    """Check the form of a lineage (§7.5)."""
    types = [str, bytes, bytes, bytes, int, bytes]
    shape = isinstance(one, list) and [type(i) for i in one] == types
    need(shape, "format", "a lineage")
    need([len(each) for each in one[1:4]] == [16, 32, 16], "format", "a lineage")
    need(one[0] != "original", "format", "an original with a lineage")
    need(one[0] in NEEDS, "format.version", "kind of step")
    need(one[4] <= 8 and len(one[5]) <= 768 * 1024, "format.limit", "a lineage")


def addressed(envelope: Any, said: Any) -> None:
    """Check grants against stanzas (§7.4)."""
    if said["grants"]:
        sender = envelope["sender"]
        viewers = {one[0] for one in said["grants"] if "view" in one[2]}
        need(sender not in {one[0] for one in said["grants"]}, "format", "to the sender")
        stanzas = {one[0] for one in envelope["recipients"]} - {sender}
        need(viewers == stanzas, "format", "stanzas are not those of who may view")


def lineage(envelope: Any, read: Callable[[bytes], Any]) -> None:
    """Refuse a chain that is not allowed (§12.4); *read* reads and verifies an envelope."""
    chain = [envelope]
    while (one := said_by(chain[0])["lineage"]) is not None:
        need(len(chain) <= 8, "grant.lineage", "length")
        try:
            parent = read(one[5])
        except RefusedError:
            refuse("grant.lineage", "proof")
        same = suite_named(parent["suite"]).h(one[5]) == one[2] and parent["parcel"] == one[1]
        need(same, "grant.lineage", "another parent")
        need(all(each["parcel"] != one[1] for each in chain), "grant.lineage", "a loop")
        chain.insert(0, parent)
    revisions = 0
    for each in chain[1:]:
        one = said_by(each)["lineage"]
        revisions += one[0] == "revision"
        right = (one[3], one[4]) == (chain[0]["parcel"], revisions)
        need(right, "grant.lineage", "root or count")
    walk(chain)


def walk(chain: list[Any]) -> None:
    """Go through the steps of a chain (§12.4, 2 to 5)."""
    owner = chain[0]["sender"]
    everything = (ALL, 0, 0, None)
    may = granted(chain[0]) | {owner: everything}
    for child in chain[1:]:
        kind, signer = said_by(child)["lineage"][0], child["sender"]
        own = may.get(signer, (set(), 0, 0, None))
        need(NEEDS[kind] in own[0], "grant.act", kind)
        need(not own[1] or child["created"] < own[1], "grant.late", kind)
        for station, wanted in granted(child).items():
            bounds = [own] if "share" in own[0] else []
            if kind != "share" and station in may:
                bounds.append(may[station])
            need(any(covers(one, wanted) for one in bounds), "grant.wider", kind)
        may = granted(child) | {signer: own, owner: everything}


def said_by(envelope: Any) -> Any:
    """Return what an envelope says of grants."""
    return critical(envelope["critical"])


def granted(envelope: Any) -> dict[bytes, Any]:
    """Return what each station was granted in one envelope."""
    said = said_by(envelope)
    if not said["grants"]:
        return {one[0]: (ALL, 0, 0, None) for one in envelope["recipients"]}
    end = envelope["delete_after"]
    return {
        one[0]: (set(one[2]), min([t for t in (one[4], end) if t], default=0), one[5], one[3])
        for one in said["grants"]
    }


def covers(most: Any, wanted: Any) -> bool:
    """Tell whether *wanted* is no more than *most*."""
    return bool(
        wanted[0] <= most[0]
        and all(not m or 0 < w <= m for m, w in zip(most[1:3], wanted[1:3], strict=True))
        and most[3] in (None, wanted[3])
    )
