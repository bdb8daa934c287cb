"""A parcel that this station sends: begun once, taken up again after any interruption.

The outbox keeps, for each parcel, `envelope`, `manifest`, later `seal`, and a `journal`;
`pending-<request>` names the parcel in which a request (these paths, to these
recipients, this way) is being answered, so that the same command goes on with it, and
`delivered-<request>` the one in which it was, so that it is not sent twice.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.chunking import DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, MAX_CHUNKS, Layout
from medshare.codecs import Effort
from medshare.digest import Digest
from medshare.disk.atomic import read_file, storage_errors, write_file
from medshare.disk.journal_file import JournalFile
from medshare.disk.sources import Sources
from medshare.envelope import (
    MAX_ENVELOPE_SIZE,
    MAX_SEALED_MANIFEST,
    Envelope,
    Stanza,
    encode_envelope,
    parse_envelope,
)
from medshare.errors import FormatError, IntegrityError, KeyUnavailableError, StorageError
from medshare.grant import Permission
from medshare.ids import PARCEL_ID_SIZE, ParcelId, StationId, parcel_id_from_text
from medshare.manifest import FileEntry, Manifest
from medshare.pace import Timetable
from medshare.resume import Begun, History, Reached, Record, replay
from medshare.sealing import (
    ParcelKey,
    open_manifest,
    seal_manifest,
    unwrap_chunk_seed,
    wrap_chunk_seed,
    wrap_parcel_key,
)
from medshare.sharing.conditions import UNCONDITIONAL, Conditions
from medshare.sharing.wrapped import keep_key, parcel_key
from medshare.station import Contact, Identity, Station
from medshare.suites import suite_named
from medshare.suites.base import KEY_SIZE, SYSTEM_RANDOM, Signer, Suite
from medshare.suites.signatures import new_secret, signer_from_seed
from medshare.trust.lineage import require_lawful
from medshare.trust.suite_choice import ALL_SUITES, choose_suite, keys_to_seal_to

_REQUEST: Final = b"medshare/1 request\x00"


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How to send; times in seconds since 1970 UTC, rates in octets a second."""

    chunk_size: int = DEFAULT_CHUNK_SIZE
    workers: int | None = None
    effort: Effort | None = None
    """How hard to compress; None is as much as the line leaves time for."""
    pad: bool = False
    tier: str = "routine"
    keep_for: int = 0
    """Seconds after which the far side erases the parcel, from when it was begun; 0 is never.

    Relative, so that the same command makes the same request an hour later.
    """
    note: str = ""
    follow_symlinks: bool = False
    skip_hidden: bool = False
    wait: float | None = None
    limit_rate: Timetable | int | None = None
    """Octets a second that go out, always or by the time of day."""
    give_up_after: float = 300.0
    suites: frozenset[str] = ALL_SUITES
    """Those in which the parcel may be sealed."""
    mixed: bool = False
    """Whether it may be sealed in a suite of which not all have keys."""
    licensed: bool = False
    """Refuse recipients for whom no authority that is trusted here vouches."""
    anew: bool = False
    """Begin a new parcel even if an earlier one for the same request is not done."""
    conditions: Conditions = UNCONDITIONAL
    """What recipients may do with it, from which department it is, what it continues."""


@dataclass(slots=True)
class Outgoing:
    """One parcel on its way out, with everything that is needed to go on sending it."""

    folder: Path
    pointer: Path
    envelope: Envelope
    envelope_octets: bytes
    manifest: Manifest
    manifest_octets: bytes
    layout: Layout
    key: ParcelKey
    chunk_signer: Signer
    journal: JournalFile
    history: History

    @property
    def parcel(self) -> ParcelId:
        """The parcel's id."""
        return self.envelope.parcel

    @property
    def recipients(self) -> tuple[StationId, ...]:
        """The stations addressed, without the sender itself."""
        sender = self.envelope.sender
        return tuple(s.station for s in self.envelope.recipients if s.station != sender)

    @property
    def receivers(self) -> tuple[StationId, ...]:
        """Those of the recipients who may keep it, and so give a receipt when they have."""
        envelope = self.envelope
        keep = {one.station for one in envelope.grants if one.allows(Permission.EXPORT)}
        return tuple(one for one in self.recipients if not envelope.grants or one in keep)

    @property
    def only_viewed(self) -> bool:
        """Whether nobody who gets it may keep it, so that no receipt will come."""
        return bool(self.recipients) and not self.receivers

    @property
    def delivered(self) -> bool:
        """Whether every recipient's receipt has been verified."""
        return "receipted" in self.history.milestones

    def note(self, record: Record, *, sync: bool = False) -> None:
        """Append *record* to the journal."""
        self.journal.append(record.encode(), sync=sync)

    def forget(self, milestone: str) -> None:
        """Close the request: the same command will make a new parcel from now on."""
        self.note(Reached(milestone), sync=True)
        self.pointer.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Request:
    """What identifies a request to send, and the files that name the parcel answering it."""

    digest: Digest
    pointer: Path
    delivered: Path

    def close(self, *, receipted: bool) -> None:
        """Let no run take the parcel up again; with receipts, let the next say how it ended.

        Who is killed now cannot have told anybody that all is done: the same command must find
        that out, rather than send everything once more.
        """
        with storage_errors("close the request"), suppress(FileNotFoundError):
            if receipted:
                self.pointer.replace(self.delivered)
            else:
                self.pointer.unlink()


def request_of(
    paths: Sequence[Path],
    to: Sequence[StationId],
    route: str,
    *,
    options: SendOptions,
    station: Station,
) -> Request:
    """Return the request that a command makes: the same command makes the same request."""
    asked: list[canonical.Value] = [
        sorted(os.fsencode(path.absolute()) for path in paths),
        sorted(to),
        route,
        [options.chunk_size, options.tier, options.keep_for, options.note, options.pad],
        [sorted(options.suites), options.mixed],
        *options.conditions.to_value(),
    ]
    digest = suite_named("intl").digest(_REQUEST, canonical.encode(asked))
    outbox, name = station.home / "outbox", digest.hex[:32]
    return Request(digest, outbox / f"pending-{name}", outbox / f"delivered-{name}")


def take_up(request: Request, station: Station, identity: Identity) -> Outgoing | None:
    """Return the parcel that an earlier run began, or delivered, for this request, or None.

    A parcel whose files are damaged or missing is left aside: a new one costs an upload,
    never correctness.  Raises StorageError when another process is sending it right now.
    """
    pointer = request.pointer if request.pointer.exists() else request.delivered
    if not pointer.exists():
        return None
    try:
        text = read_file(pointer, limit=64, what="the outbox").decode("ascii", "replace")
        folder = station.outbox(parcel_id_from_text(text.strip()))
        journal = JournalFile.open(folder / "journal")
    except FormatError:
        return None
    try:
        outgoing = _load(folder, request, journal, identity)
    except (FormatError, IntegrityError, KeyUnavailableError, StorageError):
        outgoing = None
    if outgoing is None:
        journal.close()
    return outgoing


def _load(
    folder: Path, request: Request, journal: JournalFile, identity: Identity
) -> Outgoing | None:
    history = replay(journal.records())
    first = history.first
    if not isinstance(first, Begun) or "abandoned" in history.milestones:
        return None
    if first.request != request.digest:
        return None
    envelope_octets = read_file(folder / "envelope", limit=MAX_ENVELOPE_SIZE, what="the outbox")
    manifest_octets = read_file(folder / "manifest", limit=MAX_SEALED_MANIFEST, what="the outbox")
    envelope = parse_envelope(envelope_octets)
    current = tuple(signer.public for signer in identity.signers)
    if envelope.sender_keys != current and not (folder / "seal").exists():
        return None  # begun before a key rotation: its seal could no longer be signed
    key = parcel_key(envelope, folder, identity)
    manifest = open_manifest(manifest_octets, key, envelope)
    seed = _chunk_seed(first.chunk_seed, envelope.parcel, identity)
    signer = signer_from_seed(envelope.chunk_key.algorithm, seed)
    layout = Layout(manifest.sizes, envelope.chunk_size)
    return Outgoing(
        folder, request.pointer, envelope, envelope_octets, manifest, manifest_octets,
        layout, key, signer, journal, history,
    )  # fmt: skip


def begin(
    request: Request,
    sources: Sources,
    *,
    to: Sequence[Contact],
    identity: Identity,
    station: Station,
    options: SendOptions,
    now: int,
) -> Outgoing:
    """Make a new parcel for *sources*; nothing has moved yet, everything needed is on disk.

    Order: manifest, envelope, wrapped key, journal, and last the pointer that makes it findable.
    Raises PolicyError when no suite that is allowed serves all.
    """
    manifest = _manifest(sources, options.note)
    layout = Layout(manifest.sizes, _chunk_size(sum(manifest.sizes), options.chunk_size))
    cards = [one.card for one in to]
    suite = suite_named(choose_suite(identity.card, cards, options.suites, mixed=options.mixed))
    secrets = Secrets.new(suite)
    sealed = seal_manifest(manifest, secrets.key, suite, secrets.parcel)
    facts = facts_of(secrets, suite, layout, sealed, to, identity, options, now)
    envelope, envelope_octets = encode_envelope(facts, identity.signers)
    require_lawful(envelope)  # what others would refuse does not leave
    folder = station.outbox(envelope.parcel)
    write_file(folder / "manifest", sealed)
    write_file(folder / "envelope", envelope_octets)
    keep_key(folder, envelope, secrets.key, identity)
    own = keys_to_seal_to(identity.card, suite.name)[0]
    wrapped = wrap_chunk_seed(secrets.seed, envelope.parcel, own)
    first = Begun(request.digest, sources.describe(), wrapped)
    journal = JournalFile.open(folder / "journal")
    list(journal.records())
    journal.append(first.encode(), sync=True)
    write_file(request.pointer, envelope.parcel.hex().encode())
    return Outgoing(
        folder, request.pointer, envelope, envelope_octets, manifest, sealed,
        layout, secrets.key, secrets.signer, journal, History(first),
    )  # fmt: skip


def _manifest(sources: Sources, note: str) -> Manifest:
    entries = (FileEntry(e.path, e.size, max(e.modified_ns, 0)) for e in sources.entries())
    return Manifest(tuple(entries), tuple(sources.folders), note)


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What is drawn at random for one parcel."""

    parcel: ParcelId
    key: ParcelKey
    seed: bytes
    signer: Signer

    @classmethod
    def new(cls, suite: Suite) -> "Secrets":
        """Return fresh ones for a parcel in *suite*."""
        seed = new_secret(suite.chunk_signature, SYSTEM_RANDOM)
        return cls(
            ParcelId(SYSTEM_RANDOM(PARCEL_ID_SIZE)),
            ParcelKey(SYSTEM_RANDOM(KEY_SIZE)),
            seed,
            signer_from_seed(suite.chunk_signature, seed),
        )


def facts_of(
    secrets: Secrets,
    suite: Suite,
    layout: Layout,
    sealed_manifest: bytes,
    to: Sequence[Contact],
    identity: Identity,
    options: SendOptions,
    now: int,
) -> Envelope:
    """Return what the envelope of a new parcel says.

    The key is wrapped to those of *to* who may view it.
    """
    end = now + options.keep_for if options.keep_for else 0
    terms = options.conditions.terms(
        [one.station for one in to], identity.station, now=now, end=end
    )
    viewers = [one for one in to if not terms.bars(one.station)]
    return Envelope(
        parcel=secrets.parcel,
        suite=suite.name,
        created=now,
        delete_after=end,
        tier=options.tier,
        sender=identity.station,
        sender_keys=tuple(signer.public for signer in identity.signers),
        recipients=_stanzas(secrets.key, suite, secrets.parcel, viewers, identity),
        chunk_size=layout.chunk_size,
        chunk_count=layout.chunk_count,
        chunk_key=secrets.signer.public,
        commitment=secrets.key.commitment(suite, secrets.parcel),
        manifest_size=len(sealed_manifest),
        manifest_digest=suite.digest(sealed_manifest),
        digest=suite.digest(b""),
        grants=terms.grants,
        department=terms.department,
        lineage=terms.lineage,
    )


def _chunk_size(total: int, asked: int) -> int:
    """Return *asked*, doubled until *total* octets fit the format's number of chunks."""
    size = asked
    while total > size * MAX_CHUNKS and size < MAX_CHUNK_SIZE:
        size = min(2 * size, MAX_CHUNK_SIZE)
    return size


def _stanzas(
    key: ParcelKey,
    suite: Suite,
    parcel: ParcelId,
    to: Sequence[Contact],
    identity: Identity,
) -> tuple[Stanza, ...]:
    """Wrap the parcel key to the sender, so that it can resume, and to each recipient."""
    cards = {identity.station: identity.card} | {one.station: one.card for one in to}
    return tuple(
        wrap_parcel_key(key, suite, parcel, sender=identity.station, recipient=station, to=public)
        for station, card in cards.items()
        for public in keys_to_seal_to(card, suite.name)
    )


def _chunk_seed(wrapped: bytes, parcel: ParcelId, identity: Identity) -> bytes:
    for opener in identity.openers:
        try:
            return unwrap_chunk_seed(wrapped, parcel, opener)
        except IntegrityError:
            continue
    raise KeyUnavailableError("the key that signs this parcel's chunks does not open")
