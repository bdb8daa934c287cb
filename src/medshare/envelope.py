"""The envelope: everything public about a parcel, signed by its sender (format §7).

Parsed and verified without any secret, so that a relay or an auditor can.  It names
the sender's signature keys, the recipients with the parcel key wrapped to each, the key
that signs the chunks, the key commitment, and the digest of the sealed manifest.
Whoever changes, adds or removes any of that breaks the sender's signatures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.chunk import (
    HEADER_SIZE,
    SIGNATURE_SIZE,
    ChunkHeader,
    chunk_signing_input,
    max_sealed_size,
    parse_header,
)
from medshare.chunking import MAX_CHUNK_SIZE, MAX_CHUNKS, MIN_CHUNK_SIZE
from medshare.digest import DIGEST_SIZE, Digest
from medshare.errors import FormatError, IntegrityError
from medshare.grant import EXTENSION, Grant, Kind, Lineage, Permission, Terms, terms_from_critical
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId
from medshare.suites import suite_named
from medshare.suites.base import KEY_ID_SIZE, Buffer, PublicKey, Signer, Suite
from medshare.suites.signatures import Verifier, require_identity_set

LABEL: Final = "medshare/1 envelope"
MAX_RECIPIENTS: Final = 64
MAX_ENVELOPE_SIZE: Final = 1 << 20
MAX_SEALED_MANIFEST: Final = 8 * 1024 * 1024
_MAX_ITEMS: Final = 4096
_MAX_WRAPPED: Final = 4096
_TIER: Final = re.compile(r"[a-z0-9-]{1,32}")
_WHAT: Final = "the envelope"


@dataclass(frozen=True, slots=True)
class Stanza:
    """The parcel key, wrapped to one key of one station (HPKE, RFC 9180)."""

    station: StationId
    algorithm: str
    key_id: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """The signed public facts of a parcel; times are seconds since 1970 UTC."""

    parcel: ParcelId
    suite: str
    created: int
    delete_after: int
    tier: str
    sender: StationId
    sender_keys: tuple[PublicKey, ...]
    recipients: tuple[Stanza, ...]
    chunk_size: int
    chunk_count: int
    chunk_key: PublicKey
    commitment: bytes
    manifest_size: int
    manifest_digest: Digest
    digest: Digest
    """Digest of the whole encoded envelope; not part of it."""
    grants: tuple[Grant, ...] = ()
    """What each recipient may do, by station; none at all where nothing is restricted."""
    department: str = ""
    lineage: Lineage | None = None

    @property
    def kind(self) -> Kind:
        """What this parcel is to the one that it continues, if it does."""
        return Kind.ORIGINAL if self.lineage is None else self.lineage.kind

    def grant_for(self, station: StationId) -> Grant | None:
        """Return what *station* was granted; None where it was nothing, or nothing is restricted.

        The sender needs no grant.
        """
        return next((grant for grant in self.grants if grant.station == station), None)

    @property
    def cipher_suite(self) -> Suite:
        """The suite itself."""
        return suite_named(self.suite)

    def stanzas_for(self, station: StationId) -> tuple[Stanza, ...]:
        """Return the stanzas addressed to *station*."""
        return tuple(stanza for stanza in self.recipients if stanza.station == station)


def encode_envelope(facts: Envelope, signers: Sequence[Signer]) -> tuple[Envelope, bytes]:
    """Sign *facts*; return them with their digest, and the encoded envelope.

    What is returned has been read back: raises what `parse_envelope` raises for facts that
    no reader would accept.
    """
    body = canonical.encode(
        {
            "chunk_count": facts.chunk_count,
            "chunk_key": [facts.chunk_key.algorithm, facts.chunk_key.value],
            "chunk_size": facts.chunk_size,
            "commitment": facts.commitment,
            "created": facts.created,
            "critical": Terms(facts.grants, facts.department, facts.lineage).to_critical(),
            "delete_after": facts.delete_after,
            "extra": {},
            "manifest_digest": facts.manifest_digest.value,
            "manifest_size": facts.manifest_size,
            "parcel": facts.parcel,
            "recipients": [[s.station, s.algorithm, s.key_id, s.wrapped] for s in facts.recipients],
            "sender": facts.sender,
            "sender_keys": signed.keys_to_value(facts.sender_keys),
            "suite": facts.suite,
            "tier": facts.tier,
        }
    )
    data = signed.sign(LABEL, body, signers).encode()
    return parse_envelope(data), data


def parse_envelope(data: bytes) -> Envelope:
    """Return the envelope in *data* after checking its form and all its signatures.

    The signatures are checked against the keys that the envelope itself names; whether
    those belong to the sender is for the caller to decide from the sender's card.
    Raises FormatError (of which LimitError and UnsupportedVersionError are kinds) or
    SignatureError.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_ENVELOPE_SIZE, what=_WHAT)
    envelope = _from_body(outer.body, data)
    outer.verify(envelope.sender_keys, what=_WHAT)
    return envelope


def _from_body(body: bytes, data: bytes) -> Envelope:
    value = canonical.decode(body, limit=MAX_ENVELOPE_SIZE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    critical = fields.mapping("critical")
    canonical.refuse_unknown_critical(critical, frozenset({EXTENSION}))
    terms = terms_from_critical(critical)
    fields.mapping("extra")
    suite = suite_named(fields.text("suite", maximum=32))
    sender_keys = signed.keys_from_value(
        fields.items("sender_keys", maximum=signed.MAX_SIGNATURES), what=_WHAT
    )
    require_identity_set(sender_keys, what=_WHAT)
    envelope = Envelope(
        parcel=ParcelId(fields.octets("parcel", size=PARCEL_ID_SIZE)),
        suite=suite.name,
        created=fields.time("created"),
        delete_after=fields.time("delete_after"),
        tier=_tier(fields.text("tier", maximum=32)),
        sender=StationId(fields.octets("sender", size=STATION_ID_SIZE)),
        sender_keys=sender_keys,
        recipients=_stanzas(fields.items("recipients", maximum=MAX_RECIPIENTS)),
        chunk_size=fields.uint("chunk_size", minimum=MIN_CHUNK_SIZE, maximum=MAX_CHUNK_SIZE),
        chunk_count=fields.uint("chunk_count", maximum=MAX_CHUNKS),
        chunk_key=_chunk_key(fields.items("chunk_key", maximum=2), suite),
        commitment=fields.octets("commitment", size=DIGEST_SIZE),
        manifest_size=fields.uint("manifest_size", minimum=1, maximum=MAX_SEALED_MANIFEST),
        manifest_digest=Digest(fields.octets("manifest_digest", size=DIGEST_SIZE)),
        digest=suite.digest(data),
        grants=terms.grants,
        department=terms.department,
        lineage=terms.lineage,
    )
    fields.finish()
    _require_grants_for_recipients(envelope)
    return envelope


def _require_grants_for_recipients(envelope: Envelope) -> None:
    """Raise FormatError unless those who may view are those to whom the key is wrapped.

    Where nothing is granted, nothing is restricted.  The sender wraps to itself and is
    granted nothing.
    """
    if not envelope.grants:
        return
    viewers = {one.station for one in envelope.grants if one.allows(Permission.VIEW)}
    if envelope.grant_for(envelope.sender) is not None:
        raise FormatError("the sender of an envelope grants itself something")
    if viewers != {one.station for one in envelope.recipients} - {envelope.sender}:
        raise FormatError("the key is not wrapped to those, and only those, who may view")


def _tier(text: str) -> str:
    if not _TIER.fullmatch(text):
        raise FormatError("a tier is named with lower-case letters, digits and hyphens")
    return text


def _chunk_key(item: Sequence[object], suite: Suite) -> PublicKey:
    key = signed.keys_from_value([item], what=_WHAT)[0]
    if key.algorithm != suite.chunk_signature:
        raise FormatError("the chunk key is not of the algorithm that the suite demands")
    Verifier(key)
    return key


def _stanzas(items: Sequence[object]) -> tuple[Stanza, ...]:
    stanzas = tuple(_stanza(item) for item in items)
    if not stanzas:
        raise FormatError("an envelope without any recipient")
    if len({(stanza.station, stanza.key_id) for stanza in stanzas}) != len(stanzas):
        raise FormatError("an envelope names one key of a recipient twice")
    return stanzas


def _stanza(item: object) -> Stanza:
    match item:
        case [bytes() as station, str() as algorithm, bytes() as key_id, bytes() as wrapped] if (
            len(station) == STATION_ID_SIZE
            and len(algorithm.encode()) <= signed.MAX_ALGORITHM
            and len(key_id) == KEY_ID_SIZE
            and len(wrapped) <= _MAX_WRAPPED
        ):
            return Stanza(StationId(station), algorithm, key_id, wrapped)
    raise FormatError("a recipient in the envelope is malformed")


def check_sealed_manifest(sealed: bytes, envelope: Envelope) -> None:
    """Raise IntegrityError unless *sealed* is the sealed manifest that *envelope* names."""
    if len(sealed) != envelope.manifest_size:
        raise IntegrityError("the manifest does not have the length that the envelope states")
    envelope.manifest_digest.require(envelope.cipher_suite.digest(sealed), what="the manifest")


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """What names one sealed chunk and proves that the sender made it."""

    index: int
    digest: Digest
    signature: bytes


class ChunkVerifier:
    """Checks sealed chunks of one parcel without any secret."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._suite = envelope.cipher_suite
        self._key = Verifier(envelope.chunk_key)
        self.max_size = max_sealed_size(envelope.chunk_size)

    def check(self, index: int, sealed: Buffer) -> ChunkRecord:
        """Return the record of *sealed* once it is proved to be chunk *index*.

        1. The header is well formed and states the length that is there.
        2. Parcel, index and end are those of this place.
        3. The digest of everything before the signature is signed by the chunk key.

        Raises FormatError, IntegrityError or SignatureError.
        """
        view = memoryview(sealed)
        return self.check_parts(
            index,
            view[:HEADER_SIZE],
            size=len(view),
            digest=self._suite.digest(view[:-SIGNATURE_SIZE]),
            signature=bytes(view[-SIGNATURE_SIZE:]),
        )

    def check_parts(
        self, index: int, head: Buffer, *, size: int, digest: Digest, signature: bytes
    ) -> ChunkRecord:
        """Do what `check` does, for a chunk of *size* octets that passed by in pieces.

        *head* is its header, *signature* its last octets, and *digest* was made by the suite's
        hash from everything before them.
        """
        header = parse_header(head, chunk_size=self._envelope.chunk_size, size=size)
        self._require_place(header, index)
        record = ChunkRecord(index, digest, signature)
        self.check_record(record)
        return record

    def check_record(self, record: ChunkRecord) -> None:
        """Raise SignatureError unless the chunk key signed the digest in *record*.

        Raises IntegrityError when the parcel has no chunk with that index.
        """
        self._require_index(record.index)
        message = chunk_signing_input(self._envelope.parcel, record.index, record.digest)
        self._key.verify(record.signature, message, what=f"chunk {record.index}")

    def _require_place(self, header: ChunkHeader, index: int) -> None:
        if header.parcel != self._envelope.parcel:
            raise IntegrityError(f"chunk {index} belongs to another parcel")
        if header.index != index:
            raise IntegrityError(f"chunk {index} is in the place of another one")
        self._require_index(index)
        if header.last != (index == self._envelope.chunk_count - 1):
            raise IntegrityError(f"chunk {index} does not end where its parcel ends")

    def _require_index(self, index: int) -> None:
        if not 0 <= index < self._envelope.chunk_count:
            raise IntegrityError(f"chunk {index} lies beyond the end of its parcel")
