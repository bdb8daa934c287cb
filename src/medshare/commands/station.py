"""`medshare init` and `medshare rotate-key`; `medshare card` is beside it."""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import click

from medshare.commands.card import card
from medshare.commands.lines import Output
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import make_with, passphrase_option, unlock_keystore
from medshare.errors import IntegrityError

__all__ = ["card", "init", "rotate_key"]


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


@click.command(
    "rotate-key",
    epilog=examples(
        """
        medshare rotate-key --dry-run        # what would be done
        medshare rotate-key                  # new keys; run again if it was interrupted
        medshare rotate-key /archive/2026/*  # re-wrap the keys of these parcels as well
        medshare card export --output us.card   # then give the new card to your contacts
        """
    ),
)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@passphrase_option
@output_options
def rotate_key(
    folders: tuple[Path, ...], dry_run: bool, passphrase_file: Path | None, mode: Mode
) -> None:
    """Replace the identity keys of this station.

    The new card is signed by the old keys, so contacts can import it without comparing a
    fingerprint again. Parcels in outbox and inbox, and sealed parcels in FOLDERS, have
    their key wrapped to the new keys; not a byte of what they hold is touched. Old keys
    are kept to open old parcels. An interrupted rotation is completed by the next run.
    """
    from medshare.commands import station_views
    from medshare.config import load_settings
    from medshare.sharing.rotate import rotate_identity
    from medshare.station import Station

    settings = load_settings()
    station = Station.open(settings.home)
    store = unlock_keystore(station, settings, file=passphrase_file)
    with choose(mode) as out:
        rotation = rotate_identity(
            station,
            store,
            now=int(time.time()),
            folders=folders,
            dry_run=dry_run,
            on_progress=_steps(out),
        )
    out.result(
        station_views.rotation_record(rotation, dry_run=dry_run),
        lambda: station_views.rotated(rotation, dry_run=dry_run),
    )
    if rotation.failed:
        count = len(rotation.failed)
        raise IntegrityError(
            f"the keys of {count} of the parcels at hand could not be wrapped to the new keys",
            hint="the old keys are kept and open what can be opened; the rotation is complete",
        )


def _steps(out: Output) -> Callable[[int, int], None]:
    """Return a listener that says each tenth of a long rotation."""
    said = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total >= 100 else 0
        if tenth > said:
            said = tenth
            out.say(f"{done:,} of {total:,} parcels looked at")

    return on_progress
