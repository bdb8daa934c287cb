"""A backup of the secrets of a keystore, which m of n custodians can open together.

    file = signed object (format §3) with the label "medshare/1 backup", signed by the station
    body = CBOR { card, commitment, created, critical, custodians, extra, id, sealed, threshold }

A random key K seals the content of the keystore, and is split into n shares, m of which give it
back (`shares`).  Share number i is wrapped to a key of custodian number i, as a parcel key
is to a recipient: `custodians` is `[[station, algorithm, key id, wrapped share] …]`.

    info       = "medshare/1 backup share" ‖ 00 ‖ id ‖ station ‖ custodian
    commitment = KDF(K, "medshare/1 backup commitment" ‖ 00 ‖ id)
    sealed     = nonce ‖ AEAD(KDF(K, "medshare/1 backup" ‖ 00 ‖ id), nonce, material, aad = id)

with H, KDF and AEAD of the suite of the station's card.  The file may lie anywhere: fewer than m
custodians learn nothing from it, whoever else has it.

Pure: octets in, values out.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.envelope import Stanza
from medshare.errors import FormatError, IntegrityError, NoIdentityMatchError, UsageError
from medshare.ids import STATION_ID_SIZE, StationId
from medshare.keys import shares
from medshare.keys.material import MAX_MATERIAL, Material, parse_material
from medshare.sealing import key_id
from medshare.suites import suite_named
from medshare.suites.base import (
    KEY_ID_SIZE,
    KEY_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    Opener,
    RandomBytes,
    Signer,
    Suite,
)
from medshare.suites.kem import wrap
from medshare.trust.card import MAX_CARD_FILE, Card, parse_card

LABEL: Final = "medshare/1 backup"
MAX_BACKUP: Final = MAX_CARD_FILE + MAX_MATERIAL + (1 << 18)
ID_SIZE: Final = 16
_MAX_ITEMS: Final = 8 * shares.MAX_SHARES + 32
_MAX_WRAPPED: Final = 4096
_WHAT: Final = "the backup"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup whose signatures are verified; *created* in seconds since 1970 UTC."""

    id: bytes
    card: Card
    """The station whose keys are in it, as it was then."""
    created: int
    threshold: int
    custodians: tuple[Stanza, ...]
    commitment: bytes
    sealed: bytes

    @property
    def suite(self) -> Suite:
        """The suite in which it is sealed."""
        return suite_named(self.card.current.suite)

    def share_for(self, custodian: StationId, openers: Sequence[Opener]) -> str:
        """Return the share of *custodian*, one of whose keys *openers* are.

        Raises NoIdentityMatchError when there is none, IntegrityError when it does not open.
        """
        for opener in openers:
            for stanza in self.custodians:
                if stanza.station == custodian and stanza.key_id == key_id(
                    self.suite, opener.public
                ):
                    info = _info(self.id, self.card.station, custodian)
                    return _unpacked(opener.unwrap(stanza.wrapped, info=info))
        raise NoIdentityMatchError(
            "this backup holds no share for this station",
            hint="a share is for the station whose card was named when the backup was made",
        )

    def open(self, given: Sequence[str]) -> Material:
        """Return the secrets in it, opened with the shares *given*.

        Raises IncompleteError when there are too few, IntegrityError when they are of
        another backup or were changed.
        """
        key = shares.combine(given)
        if not hmac.compare_digest(_derive(self.suite, key, self.id)[1], self.commitment):
            raise IntegrityError(
                "these shares belong to another backup",
                hint="the file of a share names the backup that it is for",
            )
        nonce, sealed = self.sealed[:NONCE_SIZE], self.sealed[NONCE_SIZE:]
        plain = bytearray(len(sealed) - TAG_SIZE)
        cipher = self.suite.aead(_derive(self.suite, key, self.id)[0])
        cipher.decrypt_into(nonce, sealed, self.id, memoryview(plain))
        return parse_material(bytes(plain))


def make_backup(
    material: Material,
    card: Card,
    signers: Sequence[Signer],
    custodians: Sequence[Card],
    *,
    threshold: int,
    created: int,
    random: RandomBytes,
) -> bytes:
    """Return a backup of *material* that *threshold* of *custodians* can open together.

    *signers* are the keys of *card*, the station's own.  The shares are put together and
    the content is opened once before it is returned.  Raises UsageError when the custodians
    are too few, too many, twice the same, or the station itself.
    """
    _require_custodians(card, custodians)
    identity, key = random(ID_SIZE), random(KEY_SIZE)
    split = shares.split(key, threshold=threshold, count=len(custodians))
    suite = suite_named(card.current.suite)
    seal_key, commitment = _derive(suite, key, identity)
    body = canonical.encode(
        {
            "card": card.encoded,
            "commitment": commitment,
            "created": created,
            "critical": {},
            "custodians": [
                _stanza_value(_wrapped(share, suite, identity, card.station, custodian))
                for share, custodian in zip(split, custodians, strict=True)
            ],
            "extra": {},
            "id": identity,
            "sealed": _seal(suite, seal_key, material.encode(), identity, random),
            "threshold": threshold,
        }
    )
    data = signed.sign(LABEL, body, signers).encode()
    if parse_backup(data).open(split[-threshold:]) != material:
        raise IntegrityError("the backup does not give back what is in the keystore")
    return data


def parse_backup(data: bytes) -> Backup:
    """Return the backup in *data*, signed by the station that its card shows.

    Raises FormatError, SignatureError or AuthenticityError.
    """
    outer = signed.parse(data, label=LABEL, limit=MAX_BACKUP, what=_WHAT)
    value = canonical.decode(outer.body, limit=MAX_BACKUP, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    fields.mapping("extra")
    card = parse_card(fields.octets("card", maximum=MAX_CARD_FILE))
    outer.verify(card.current.sign_keys, what=_WHAT)
    custodians = tuple(
        _stanza(item) for item in fields.items("custodians", maximum=shares.MAX_SHARES)
    )
    backup = Backup(
        id=fields.octets("id", size=ID_SIZE),
        card=card,
        created=fields.time("created"),
        threshold=fields.uint("threshold", minimum=shares.MIN_THRESHOLD, maximum=len(custodians)),
        custodians=custodians,
        commitment=fields.octets("commitment", size=KEY_SIZE),
        sealed=fields.octets("sealed", maximum=MAX_MATERIAL + NONCE_SIZE + TAG_SIZE),
    )
    fields.finish()
    if len(backup.sealed) <= NONCE_SIZE + TAG_SIZE:
        raise FormatError("the backup holds nothing")
    return backup


def _require_custodians(card: Card, custodians: Sequence[Card]) -> None:
    stations = [custodian.station for custodian in custodians]
    if card.station in stations:
        raise UsageError(
            "a station cannot be a custodian of its own backup",
            hint="its keys are what would be lost",
        )
    if len(set(stations)) != len(stations):
        raise UsageError("a custodian is named twice: a share for each is what makes it safe")


def _derive(suite: Suite, key: bytes, identity: bytes) -> tuple[bytes, bytes]:
    """Return the key that seals, and the commitment to it."""
    return (
        suite.derive(key, info=b"medshare/1 backup\x00" + identity),
        suite.derive(key, info=b"medshare/1 backup commitment\x00" + identity),
    )


def _seal(suite: Suite, key: bytes, plain: bytes, identity: bytes, random: RandomBytes) -> bytes:
    out = bytearray(NONCE_SIZE + len(plain) + TAG_SIZE)
    out[:NONCE_SIZE] = random(NONCE_SIZE)
    nonce = bytes(out[:NONCE_SIZE])
    suite.aead(key).encrypt_into(nonce, plain, identity, memoryview(out)[NONCE_SIZE:])
    return bytes(out)


def _wrapped(
    share: str, suite: Suite, identity: bytes, station: StationId, custodian: Card
) -> Stanza:
    to = custodian.current.kem_keys[0]
    octets = wrap(to, shares.pack(share), info=_info(identity, station, custodian.station))
    return Stanza(custodian.station, to.algorithm, key_id(suite, to), octets)


def _info(identity: bytes, station: StationId, custodian: StationId) -> bytes:
    return b"medshare/1 backup share\x00" + identity + station + custodian


def _unpacked(octets: bytes) -> str:
    try:
        return shares.unpack(octets)
    except FormatError as error:
        raise IntegrityError("the share in the backup is none") from error


def _stanza_value(stanza: Stanza) -> list[canonical.Value]:
    return [stanza.station, stanza.algorithm, stanza.key_id, stanza.wrapped]


def _stanza(item: object) -> Stanza:
    match item:
        case [bytes() as station, str() as algorithm, bytes() as name, bytes() as wrapped] if (
            len(station) == STATION_ID_SIZE
            and len(algorithm.encode()) <= signed.MAX_ALGORITHM
            and len(name) == KEY_ID_SIZE
            and len(wrapped) <= _MAX_WRAPPED
        ):
            return Stanza(StationId(station), algorithm, name, wrapped)
    raise FormatError("a share in the backup is malformed")
