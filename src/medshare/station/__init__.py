"""A station: one installation with its own identity, keystore, contacts, outbox and inbox."""

from medshare.station.contacts import Contact, Contacts
from medshare.station.home import Station, require_no_station
from medshare.station.identity import Identity

__all__ = ["Contact", "Contacts", "Identity", "Station", "require_no_station"]
