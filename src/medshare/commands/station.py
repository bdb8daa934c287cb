"""`medshare init`; `medshare card` is beside it."""

import platform
import time
from pathlib import Path

import click

from medshare.commands.card import card
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import make_with, passphrase_option

__all__ = ["card", "init"]


@click.command(
    epilog=examples(
        """
        medshare init --name 'St. Mary, radiology'
        medshare init --name gateway --passphrase-file /etc/medshare/passphrase
        medshare init --keystore keyring                # the OS keyring keeps the key
        medshare init --keystore pkcs11:token=medshare  # keys in a token: docs/hsm.md
        MEDSHARE_HOME=/srv/medshare medshare init       # everything it keeps is there
        """
    )
)
@click.option("--name", metavar="NAME", help="What its card says to others.  [default: host name]")
@click.option(
    "--suite",
    type=click.Choice(["intl", "gm", "gm+intl"]),
    default="intl",
    show_default=True,
    help="Its algorithms: AES and Ed25519, the national SM2, SM3 and SM4, or both.",
)
@click.option(
    "--keystore",
    metavar="KIND",
    help="Where its keys live: file, keyring, or the pkcs11: URI of a token.  [default: file]",
)
@passphrase_option
@output_options
def init(
    name: str | None, suite: str, keystore: str | None, passphrase_file: Path | None, mode: Mode
) -> None:
    """Make this machine a station: an identity, and an encrypted keystore.

    The passphrase protects the secret keys. Nobody can recover it, and without it nobody
    can open what is sent to this station. With the keyring of the system, or a hardware
    token, there is none.
    """
    from medshare.commands import station_views
    from medshare.config import load_settings
    from medshare.station import Station, require_no_station

    settings = load_settings()
    require_no_station(settings.home)
    _require_libraries(suite)
    called = (name or platform.node() or "station").strip()
    station = make_with(
        settings,
        keystore or settings.keystore,
        lambda backend: Station.create_with(
            backend, settings.home, name=called, now=int(time.time())
        ),
        suite=suite,
        file=passphrase_file,
    )
    with choose(mode) as out:
        out.result(
            station_views.station_record(station, event="initialised"),
            lambda: station_views.created(station),
        )


def _require_libraries(suite: str) -> None:
    """Raise UsageError when a library for *suite* is missing, before anything is made."""
    from medshare.suites.signatures import SM2, scheme_named

    if "gm" in suite:
        scheme_named(SM2).backend()
