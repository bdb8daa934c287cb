"""Envelopes with grants and lineages, without files: for all tests of who may do what."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medshare.chunking import Layout
from medshare.envelope import Envelope, encode_envelope
from medshare.grant import BUILT_IN, Grant, Kind, Lineage, Permission
from medshare.ids import ParcelId
from medshare.sealing import ParcelKey, wrap_parcel_key
from medshare.suites.intl import INTL
from medshare.suites.signatures import ED25519, signer_from_seed
from medshare.trust.lineage import continued
from tests.builder import CREATED, Identity, make_identity, octets

A, B, C, D = (make_identity(name) for name in ("a", "b", "c", "d"))


def granted(to: Identity, role: str, *more: Permission, **terms: Any) -> Grant:
    """Return the grant of a built-in *role*, with *more* permissions, to somebody."""
    permissions = BUILT_IN[role] | frozenset(more)
    return Grant(to.station, role, permissions, **terms)


def facts(
    label: str,
    sender: Identity,
    grants: Sequence[Grant] = (),
    *,
    people: Sequence[Identity] = (A, B, C, D),
    lineage: Lineage | None = None,
    created: int = CREATED,
    delete_after: int = 0,
    department: str = "",
) -> Envelope:
    """Return what the envelope of an empty parcel says; wrapped to those who may view."""
    parcel, key = ParcelId(octets(f"{label} id", 16)), ParcelKey(octets(f"{label} key"))
    viewers = {one.station for one in grants if one.allows(Permission.VIEW)}
    to = [one for one in people if one.station in viewers or one is sender]
    chunk_key = signer_from_seed(ED25519, octets(f"{label} chunk key"))
    return Envelope(
        parcel=parcel,
        suite=INTL.name,
        created=created,
        delete_after=delete_after,
        tier="routine",
        sender=sender.station,
        sender_keys=tuple(one.public for one in sender.signers),
        recipients=tuple(
            wrap_parcel_key(
                key, INTL, parcel, sender=sender.station, recipient=one.station,
                to=one.openers[0].public,
            )
            for one in to
        ),
        chunk_size=1024,
        chunk_count=Layout([], 1024).chunk_count,
        chunk_key=chunk_key.public,
        commitment=key.commitment(INTL, parcel),
        manifest_size=64,
        manifest_digest=INTL.digest(label.encode()),
        digest=INTL.digest(b""),
        grants=tuple(sorted(grants, key=lambda one: one.station)),
        department=department,
        lineage=lineage,
    )  # fmt: skip


def original(
    sender: Identity, *grants: Grant, label: str = "original", **more: Any
) -> tuple[Envelope, bytes]:
    """Return an original of *sender*, signed."""
    return encode_envelope(facts(label, sender, grants, **more), sender.signers)


def after(
    before: tuple[Envelope, bytes],
    kind: Kind,
    signer: Identity,
    *grants: Grant,
    label: str = "next",
    lineage: dict[str, Any] | None = None,
    **more: Any,
) -> tuple[Envelope, bytes]:
    """Return what *signer* makes of *before*, signed; *lineage* is what it lies about that."""
    envelope, data = before
    stated = replace(continued(envelope, kind, data), **(lineage or {}))
    made = facts(label, signer, grants, lineage=stated, **more)
    return encode_envelope(made, signer.signers)
