"""The credentials at hand: of this station, and of its contacts; and whether they are good.

`credentials/<station>` holds the certificates of a station as text, the person's first.  They
travel with the card, so nobody is asked for them: whoever has the card has them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cryptography import x509

from medshare.authority.anchors import Authorities
from medshare.authority.answers import Answers
from medshare.disk.atomic import read_file, write_file
from medshare.errors import CredentialError, FormatError, StorageError
from medshare.ids import StationId
from medshare.station import Contact, Station
from medshare.station.permissions import private_folder
from medshare.trust.bundle import read_blocks, write_blocks
from medshare.trust.card import Card
from medshare.trust.certification import Authority, Vetted, vet
from medshare.trust.credential import (
    MAX_CERTIFICATE,
    MAX_CHAIN,
    Credential,
    certificate_blocks,
    load_certificates,
    parse_credential,
    require_bound,
)

FOLDER: Final = "credentials"
_LIMIT: Final = 2 * MAX_CHAIN * MAX_CERTIFICATE
_WHAT: Final = "a credential"

Chain = tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the credential of one station: vetted, or the reason why not."""

    vetted: Vetted | None
    fault: CredentialError | None
    held: Credential | None
    """What the credential says, whether it is good or not; None where there is none."""


class Credentials:
    """The credentials that a station keeps, its own among them.

    Authorities and names of contacts are read once: make another to see later changes.
    """

    def __init__(self, station: Station) -> None:
        self._folder = station.home / FOLDER
        self._station = station

    @cached_property
    def authorities(self) -> tuple[Authority, ...]:
        """The authorities that are trusted here, read once."""
        return Authorities(self._station.home).all()

    @cached_property
    def _names(self) -> tuple[tuple[StationId, str], ...]:
        """The names in the certificates of contacts.

        Not those on their cards: several stations of one hospital may well call themselves
        alike, and what contacts are called here cannot be confused anyway.
        """
        stations = [contact.station for contact in self._station.contacts.all()]
        held = [(station, self._held(station)) for station in stations]
        return tuple((station, one.name) for station, one in held if one is not None)

    def attach(self, chain: Chain, card: Card) -> Credential:
        """Keep *chain* as the credential of the station with *card*.

        Raises CredentialError when it is no credential, or not one for this card as it is now.
        """
        credential = parse_credential(chain[0])
        require_bound(credential, card)
        private_folder(self._folder)
        write_file(
            self._folder / card.station.hex(), write_blocks(certificate_blocks(chain)), what=_WHAT
        )
        return credential

    def card_for(self, chain: Chain) -> Card:
        """Return the card, of this station or of a contact, for which *chain* was issued.

        Raises CredentialError when it is for nobody who is known here.
        """
        station = parse_credential(chain[0]).station
        if station == self._station.id:
            return self._station.card
        contact = self._station.contacts.of(station)
        if contact is None:
            raise CredentialError(
                "the certificate was issued for a station that is not among your contacts",
                hint="import its card first: medshare card import FILE",
                code="credential.station",
            )
        return contact.card

    def of(self, station: StationId) -> Chain:
        """Return the certificates of *station*; nothing when there are none.

        Raises StorageError when they are damaged.
        """
        path = self._folder / station.hex()
        if not path.exists():
            return ()
        try:
            return load_certificates(
                read_blocks(read_file(path, limit=_LIMIT, what=_WHAT), what=_WHAT)
            )
        except FormatError as error:
            raise StorageError(
                f"a credential that is kept here is damaged: {path}",
                hint="remove this file, then import the card and its certificate again",
            ) from error

    def require(self, contact: Contact, *, now: int) -> Vetted:
        """Return the credential of *contact* after all checks of `trust.certification`.

        Raises CredentialError: it has none, or the code says which check failed.
        """
        return self._vet(contact.station, contact.card, now=now)

    def standing(self, station: StationId, card: Card, *, now: int) -> Standing:
        """Return what is known of the credential of the station with *card*."""
        try:
            vetted = self._vet(station, card, now=now)
        except CredentialError as error:
            return Standing(None, error, self._held(station))
        return Standing(vetted, None, vetted.credential)

    def _held(self, station: StationId) -> Credential | None:
        chain = self.of(station)
        try:
            return parse_credential(chain[0]) if chain else None
        except CredentialError:
            return None

    def _vet(self, station: StationId, card: Card, *, now: int) -> Vetted:
        chain = self.of(station)
        if not chain:
            raise CredentialError(
                "there is no credential of this station here",
                hint="ask for its card with certificate (medshare card export), and import that",
                code="credential.missing",
            )
        others = [name for other, name in self._names if other != station]
        issuers = [one for authority in self.authorities for one in authority.certificates]
        answers = Answers(self._station.home).of((*chain, *issuers))
        return vet(chain, card, self.authorities, others=others, now=now, answers=answers)


def require_licensed(station: Station, contacts: Iterable[Contact], *, now: int) -> None:
    """Raise CredentialError, with the name and the check, unless each contact has a valid one."""
    credentials = Credentials(station)
    for contact in contacts:
        try:
            credentials.require(contact, now=now)
        except CredentialError as error:
            raise CredentialError(
                f"{contact.name} has no valid credential: {error.message}",
                hint=error.hint,
                code=error.code,
            ) from error
