"""A parcel that this station receives: accepted once, taken up again after any interruption.

Nothing of a parcel is believed before these checks, in this order:

1. The envelope is well formed and its signatures verify under the keys it names.
2. It is the envelope of the parcel that was asked for.
3. Those keys are on the card of a trusted contact (or are this station's own), and so are those
   of every parcel before it, if it continues one; each step of that was allowed (`trust.lineage`).
4. Policy allows its tier and its suite here.
5. The parcel key opens from a stanza for this station and matches the commitment.
6. The sealed manifest has the digest that the envelope names, and every path in it is
   allowed.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.chunking import Layout
from medshare.disk.atomic import read_file, write_file
from medshare.disk.boot import boot_id
from medshare.disk.incoming import abandon
from medshare.disk.journal_file import JournalFile
from medshare.envelope import MAX_ENVELOPE_SIZE, MAX_SEALED_MANIFEST, Envelope, parse_envelope
from medshare.errors import (
    IncompleteError,
    IntegrityError,
    NotFoundError,
    RevokedError,
    StorageError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.manifest import Manifest
from medshare.resume import Accepted, History, Record, replay
from medshare.sealing import ParcelKey, open_manifest
from medshare.sharing.governed import require_allowed
from medshare.sharing.receipts import OUTPUT_FILE
from medshare.sharing.wrapped import keep_key, parcel_key
from medshare.station import Contact, Identity, Station
from medshare.transport.base import Transport
from medshare.trust.lineage import require_lawful

MENDS: Final = "let the sender run the same send again, which mends it; then run this again"


@dataclass(frozen=True, slots=True)
class OpenedEnvelope:
    """An envelope that passed all checks, with what it opens."""

    envelope: Envelope
    envelope_octets: bytes
    manifest: Manifest
    manifest_octets: bytes
    sender: Contact
    key: ParcelKey


@dataclass(slots=True)
class Incoming:
    """One parcel on its way in, with everything that is needed to go on receiving it."""

    opened: OpenedEnvelope
    folder: Path
    output: Path
    layout: Layout
    journal: JournalFile
    history: History

    @property
    def parcel(self) -> ParcelId:
        """The parcel's id."""
        return self.opened.envelope.parcel

    def note(self, record: Record, *, sync: bool = False) -> None:
        """Append *record* to the journal."""
        self.journal.append(record.encode(), sync=sync)


def sender_of(envelope: Envelope, station: Station, *, kept: bool = False) -> Contact:
    """Return the trusted contact who signed *envelope*.

    *kept* says that this station accepted it earlier.  Raises UntrustedSignerError, and of
    that kind RevokedError when the contact or the keys were revoked.
    """
    contact = known_sender(envelope, station)
    _require_not_revoked(contact, envelope, kept=kept)
    return contact


def known_sender(envelope: Envelope, station: Station) -> Contact:
    """Return whose keys have signed *envelope*, revoked or not; else raise UntrustedSignerError."""
    if envelope.sender == station.id:
        contact: Contact | None = Contact("this station", station.id, station.card, 0)
    else:
        contact = station.contacts.of(envelope.sender)
    if contact is None:
        raise UntrustedSignerError(
            f"the sender (station {envelope.sender.hex()[:10]}) is not among your contacts",
            hint="import their card (medshare card import FILE) after comparing its fingerprint",
        )
    if not contact.card.knows_signing_keys(envelope.sender_keys):
        raise UntrustedSignerError(
            f"the parcel is signed with keys that the card of {contact.name} does not have",
            hint="import their current card, after comparing its fingerprint",
        )
    return contact


def _require_not_revoked(contact: Contact, envelope: Envelope, *, kept: bool) -> None:
    contact.require_trusted()
    revocation = contact.card.revocation_of(envelope.sender_keys)
    if revocation is None or revocation.excuses(made=envelope.created, known_before=kept):
        return
    raise RevokedError(
        f"the parcel is signed with keys that {contact.name} has revoked",
        hint="whoever has these keys can state any date: ask for it again, signed with the new",
    )


def require_lineage(
    envelope: Envelope, station: Station, *, kept: bool = False
) -> tuple[Envelope, ...]:
    """Return the envelopes from the original to *envelope* once all of that was allowed.

    Every station in it must be trusted here, or anybody could invent an original that allows
    everything.  Raises GrantError, naming the rule, or UntrustedSignerError (`grant.origin`).
    """
    chain = require_lawful(envelope)
    for before in chain[:-1]:
        try:
            sender_of(before, station, kept=kept)
        except RevokedError:
            raise
        except UntrustedSignerError as error:
            raise UntrustedSignerError(
                f"the parcel comes from station {before.sender.hex()[:10]}, not known here as such",
                hint="import the current card of that station after comparing its fingerprint, "
                "or let it send the parcel itself",
                code="grant.origin",
            ) from error
    return chain


def open_parcel(
    parcel: ParcelId,
    *,
    identity: Identity,
    station: Station,
    transport: Transport,
    suites: frozenset[str] | None = None,
    mixed: bool = False,
) -> OpenedEnvelope:
    """Return the parcel's envelope and manifest after all the checks listed above.

    What an earlier run accepted and kept in the inbox is used as it is, so that the far
    side cannot exchange it later.
    """
    folder = station.home / "inbox" / parcel.hex()
    envelope_octets = _kept(folder / "envelope", MAX_ENVELOPE_SIZE)
    kept = envelope_octets is not None
    if envelope_octets is None:
        envelope_octets = transport.get_envelope(parcel)
    envelope = parse_envelope(envelope_octets)
    if envelope.parcel != parcel:
        raise IntegrityError("the far side answered with the envelope of another parcel")
    sender = sender_of(envelope, station, kept=kept)
    require_lineage(envelope, station, kept=kept)
    require_allowed(envelope, station.policy, identity, suites=suites, mixed=mixed)
    key = parcel_key(envelope, folder, identity)
    manifest_octets = _kept(folder / "manifest", MAX_SEALED_MANIFEST)
    if manifest_octets is None:
        manifest_octets = _manifest(parcel, envelope, transport)
    manifest = open_manifest(manifest_octets, key, envelope)
    return OpenedEnvelope(envelope, envelope_octets, manifest, manifest_octets, sender, key)


def _manifest(parcel: ParcelId, envelope: Envelope, transport: Transport) -> bytes:
    try:
        return transport.get_manifest(parcel, size=envelope.manifest_size)
    except NotFoundError as error:
        raise IncompleteError(
            "the far side has no intact list of this parcel's files", hint=MENDS
        ) from error


def _kept(path: Path, limit: int) -> bytes | None:
    return read_file(path, limit=limit, what="the inbox") if path.exists() else None


def is_accepted(parcel: ParcelId, station: Station) -> bool:
    """Tell whether an earlier run at *station* has begun to receive *parcel*."""
    return (station.home / "inbox" / parcel.hex() / "envelope").exists()


def accept(
    opened: OpenedEnvelope, *, identity: Identity, station: Station, output: Path
) -> Incoming:
    """Begin to receive into *output*, or go on with it; the inbox remembers which.

    Another folder than in an earlier run begins anew, for a disk that is full or gone may be
    why.  Raises UsageError when the parcel has its final names in an earlier one, and
    StorageError when another process is receiving it right now.
    """
    folder = station.inbox(opened.envelope.parcel)
    output = output.resolve()
    layout = Layout(opened.manifest.sizes, opened.envelope.chunk_size)
    if layout.chunk_count != opened.envelope.chunk_count:
        raise IntegrityError("the manifest does not fill the chunks that the envelope announces")
    journal = JournalFile.open(folder / "journal")
    try:
        history = replay(journal.records(), boot=boot_id())
        first = history.first
        if isinstance(first, Accepted):
            _require_same_envelope(first, opened)
            if _moves(history, first, output):
                with suppress(StorageError):
                    abandon(Path(first.output), opened.envelope.parcel, opened.manifest)
                history = History(recorded=history.recorded)
        if history.first is None:
            write_file(folder / "envelope", opened.envelope_octets)
            write_file(folder / "manifest", opened.manifest_octets)
            write_file(folder / OUTPUT_FILE, str(output).encode())
            keep_key(folder, opened.envelope, opened.key, identity)
            record = Accepted(str(output), opened.envelope.digest, boot_id())
            journal.append(record.encode(), sync=True)
            history.first = record
    except BaseException:
        journal.close()
        raise
    return Incoming(opened, folder, output, layout, journal, history)


def _require_same_envelope(first: Accepted, opened: OpenedEnvelope) -> None:
    if first.envelope != opened.envelope.digest:
        raise IntegrityError("the inbox holds another envelope for this parcel")


def _moves(history: History, first: Accepted, output: Path) -> bool:
    """Tell whether to begin anew in *output*, which is not the folder of an earlier run.

    Raises UsageError when files have their final names in the earlier one already.
    """
    if first.output == str(output):
        return False
    if "placed" in history.milestones:
        raise UsageError(
            f"this parcel was received into {first.output} already",
            hint="copy it from there, or use the same --output again",
        )
    return True
