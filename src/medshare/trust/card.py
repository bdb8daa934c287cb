"""Cards: the signed public half of a station's identity, which others import (format §10).

A card file holds every generation of the card, oldest first.  The station id is the
digest of the first signature keys, so it names the station for life; each later
generation is signed by its own keys and by those before it, so contacts can follow a
key rotation without meeting again.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from medshare import canonical, signed
from medshare.canonical import Fields
from medshare.errors import AuthenticityError, FormatError, LimitError, RevokedError
from medshare.ids import STATION_ID_SIZE, StationId
from medshare.manifest import check_label
from medshare.suites import suite_named
from medshare.suites.base import PublicKey, Signer, Suite
from medshare.suites.kem import check_public
from medshare.suites.signatures import require_identity_set
from medshare.trust.revocation import EXTENSION, Revocation, parse_revocation

LABEL: Final = "medshare/1 card"
FILE_LABEL: Final = "medshare/1 cards"
MAX_GENERATIONS: Final = 256
MAX_CARD_SIZE: Final = 1 << 16
MAX_CARD_FILE: Final = MAX_GENERATIONS * MAX_CARD_SIZE
MAX_NAME: Final = 128
_BEGIN: Final = "-----BEGIN MEDSHARE CARD-----"
_END: Final = "-----END MEDSHARE CARD-----"
_CERTIFICATES: Final = "-----BEGIN CERTIFICATE-----"
"""What may follow a card: the certificates that vouch for it (`trust.credential`)."""
_FINGERPRINT_GROUPS: Final = 6
_MAX_ITEMS: Final = 1024
_WHAT: Final = "the card"


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a card; *created* in seconds since 1970 UTC."""

    station: StationId
    number: int
    name: str
    suite: str
    created: int
    sign_keys: tuple[PublicKey, ...]
    kem_keys: tuple[PublicKey, ...]
    revoked: Revocation | None = None
    """Which earlier generations this one revokes."""

    def body(self) -> bytes:
        """Return the octets that are signed."""
        return canonical.encode(
            {
                "created": self.created,
                "critical": {},
                "extra": {} if self.revoked is None else {EXTENSION: self.revoked.to_value()},
                "generation": self.number,
                "kem_keys": signed.keys_to_value(self.kem_keys),
                "name": self.name,
                "sign_keys": signed.keys_to_value(self.sign_keys),
                "station": self.station,
                "suite": self.suite,
            }
        )


@dataclass(frozen=True, slots=True)
class Card:
    """A verified card: all generations of one station, oldest first."""

    generations: tuple[Generation, ...]
    encoded: bytes

    @property
    def current(self) -> Generation:
        """The newest generation."""
        return self.generations[-1]

    @property
    def station(self) -> StationId:
        """The station that the card names, for life."""
        return self.current.station

    @property
    def name(self) -> str:
        """What the station calls itself; proves nothing."""
        return self.current.name

    @property
    def body(self) -> bytes:
        """The newest generation as it is signed."""
        newest = _entries(self.encoded)[-1]
        return signed.parse(newest, label=LABEL, limit=MAX_CARD_SIZE, what=_WHAT).body

    @property
    def fingerprint(self) -> str:
        """Six groups of five digits over the newest generation as signed, to compare by voice."""
        suite = suite_named(self.current.suite)
        digest = suite.digest(b"medshare/1 fingerprint\x00", self.body).value
        number = int.from_bytes(digest[:24])
        digits = f"{number % 10 ** (5 * _FINGERPRINT_GROUPS):0{5 * _FINGERPRINT_GROUPS}d}"
        return " ".join(digits[at : at + 5] for at in range(0, len(digits), 5))

    def knows_signing_keys(self, keys: Sequence[PublicKey]) -> bool:
        """Tell whether *keys* are the signature keys of any generation."""
        return any(generation.sign_keys == tuple(keys) for generation in self.generations)

    def revocation_of(self, keys: Sequence[PublicKey]) -> Revocation | None:
        """Return the revocation of the generation with these signature *keys*, if it is revoked.

        Of several it is the one that begins first.
        """
        numbers = [one.number for one in self.generations if one.sign_keys == tuple(keys)]
        found = [
            one.revoked
            for one in self.generations
            if one.revoked is not None and any(n <= one.revoked.through for n in numbers)
        ]
        return min(found, key=lambda revocation: revocation.since, default=None)

    def continues(self, older: "Card") -> bool:
        """Tell whether this card is *older*, or a later state of it."""
        count = len(older.generations)
        return self.generations[:count] == older.generations


def station_id(suite: Suite, sign_keys: Sequence[PublicKey]) -> StationId:
    """Return the id of the station whose first signature keys are *sign_keys*."""
    listing = canonical.encode(signed.keys_to_value(sign_keys))
    return StationId(suite.digest(b"medshare/1 station\x00", listing).value)


def issue(
    generation: Generation, signers: Sequence[Signer], *, before: Card | None, old: Sequence[Signer]
) -> Card:
    """Return the card that adds *generation*, signed by its keys and by the *old* ones."""
    entry = signed.sign(LABEL, generation.body(), [*signers, *old]).encode()
    entries = [] if before is None else _entries(before.encoded)
    return parse_card(canonical.encode([FILE_LABEL, [*entries, entry]]))


def parse_card(data: bytes) -> Card:
    """Return the card in *data* after verifying every generation and the chain of them.

    Raises FormatError (of which LimitError and UnsupportedVersionError are kinds),
    SignatureError or AuthenticityError.
    """
    entries = _entries(data)
    if not 1 <= len(entries) <= MAX_GENERATIONS:
        raise LimitError("a card has no generation, or too many")
    generations: list[Generation] = []
    for entry in entries:
        generations.append(_next_generation(entry, generations))
    return Card(tuple(generations), data)


def _entries(data: bytes) -> list[bytes]:
    match canonical.decode(data, limit=MAX_CARD_FILE, what=_WHAT, items=MAX_GENERATIONS + 3):
        case [label, list() as entries] if label == FILE_LABEL and all(
            isinstance(entry, bytes) for entry in entries
        ):
            return entries
    raise FormatError("this is not a medshare card")


def _next_generation(entry: bytes, before: Sequence[Generation]) -> Generation:
    outer = signed.parse(entry, label=LABEL, limit=MAX_CARD_SIZE, what=_WHAT)
    value = canonical.decode(outer.body, limit=MAX_CARD_SIZE, what=_WHAT, items=_MAX_ITEMS)
    fields = Fields(value, what=_WHAT)
    canonical.refuse_unknown_critical(fields.mapping("critical"), frozenset())
    number, created = fields.uint("generation", maximum=MAX_GENERATIONS), fields.time("created")
    generation = Generation(
        station=StationId(fields.octets("station", size=STATION_ID_SIZE)),
        number=number,
        name=fields.text("name", maximum=MAX_NAME),
        suite=fields.text("suite", maximum=32),
        created=created,
        revoked=_revocation(fields.mapping("extra"), number, created),
        sign_keys=signed.keys_from_value(fields.items("sign_keys", maximum=4), what=_WHAT),
        kem_keys=signed.keys_from_value(fields.items("kem_keys", maximum=4), what=_WHAT),
    )
    fields.finish()
    check_label(generation.name)
    _require_known_keys(generation)
    _require_place(generation, before)
    _require_fresh_keys(generation, before)
    old_keys = before[-1].sign_keys if before else ()
    outer.verify([*generation.sign_keys, *old_keys], what=_WHAT)
    return generation


def _revocation(extra: Mapping[str, object], number: int, created: int) -> Revocation | None:
    if EXTENSION not in extra:
        return None
    return parse_revocation(extra[EXTENSION], generation=number, created=created)


def _require_fresh_keys(generation: Generation, before: Sequence[Generation]) -> None:
    """Refuse a generation that goes back to keys which an earlier one, or it itself, revokes."""
    through = max(
        (one.revoked.through for one in [*before, generation] if one.revoked is not None),
        default=-1,
    )
    revoked = {key for one in before[: through + 1] for key in (*one.sign_keys, *one.kem_keys)}
    if revoked & {*generation.sign_keys, *generation.kem_keys}:
        raise RevokedError("a card goes back to keys that it has revoked")


def _require_known_keys(generation: Generation) -> None:
    require_identity_set(generation.sign_keys, what=_WHAT)
    if not generation.kem_keys:
        raise FormatError("a card without a key to seal to")
    if len({key.algorithm for key in generation.kem_keys}) != len(generation.kem_keys):
        raise FormatError("a card has two keys of one algorithm to seal to")
    for key in generation.kem_keys:
        check_public(key)


def _require_place(generation: Generation, before: Sequence[Generation]) -> None:
    if generation.number != len(before):
        raise AuthenticityError("the generations of a card are not in order")
    if before and generation.station != before[0].station:
        raise AuthenticityError("a card changes from one station to another")
    suite = suite_named(generation.suite)
    if not before and generation.station != station_id(suite, generation.sign_keys):
        raise AuthenticityError("a card claims a station id that is not its own")


def armor(card: Card) -> str:
    """Return *card* as text that survives mail and clipboard (RFC 7468 form)."""
    text = base64.b64encode(card.encoded).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def dearmor(data: bytes) -> bytes:
    """Return the octets of a card given as armored text, or as they are.

    Certificates may follow the text; they are left alone.
    """
    if not data.lstrip().startswith(b"-----"):
        return data
    whole = data.decode("ascii", "replace").replace("\r", "").strip()
    text, end, rest = whole.partition(_END)
    text += end
    certified = not rest or rest.strip().startswith(_CERTIFICATES)
    if not (text.startswith(_BEGIN) and end and certified):
        raise FormatError("this is not a medshare card, or it is cut off")
    try:
        return base64.b64decode("".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    except ValueError as error:
        raise FormatError("the text of the card is damaged") from error
