"""The relay loses its power at any moment: what it answered for is there when it comes back."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medshare.relay.folder import DATABASE
from medshare.wire.routes import Target, chunk_name, match
from tests.attacks.power import Disk, History, names_alone, nothing, recorded, some
from tests.relay_case import Case, Request, check_consistency, open_case
from tests.test_relay_crash import OTHER, PARCEL, live, requests

pytestmark = pytest.mark.slow

FULL = os.environ.get("FULL_SWEEP") == "1"
FILES = (DATABASE, f"{DATABASE}-wal")


def database(data: Path) -> dict[str, bytes]:
    """Return the files of the database: SQLite has made what they hold durable itself."""
    return {name: (data / name).read_bytes() for name in FILES if (data / name).exists()}


def stored_by(request: Request) -> str | None:
    """Return the file that an answered request stands for; None for the parcel that is removed."""
    target: Target = match(request.method, request.path)
    if target.parcel != PARCEL.id:
        return None
    place = {
        "put-envelope": "envelope",
        "put-manifest": "manifest",
        "put-chunk": f"chunks/{chunk_name(target.index)}",
        "put-seal": "seal",
        "put-receipt": f"receipts/{target.station.hex()}",
    }
    return f"{PARCEL.id.hex()}/{place[target.route.name]}"


def watched(data: Path) -> History:
    """Return the history of a relay's life, with what it answered and its database at the time."""
    with open_case(data) as case, recorded(data / "parcels") as history:
        promised: list[str] = []
        history.claim((list(promised), database(data)))
        for request in requests():
            assert case.ask(request).status in {200, 204}
            if file := stored_by(request):
                promised.append(file)
            history.claim((list(promised), database(data)))
    return history


def test_a_relay_without_power(tmp_path: Path, record_property: Callable[[str, Any], None]) -> None:
    """After any loss of power, folder and database agree, and every answer still holds."""
    data = tmp_path / "relay"
    history = watched(data)
    tried = 0
    for at in range(history.begun + 1, len(history.ops) + 1, 1 if FULL else 5):
        promised, files = next(
            op.what for op in reversed(history.ops[:at]) if isinstance(op.what, tuple)
        )
        dice = random.Random(at)
        for survives in (nothing, names_alone, some(dice)):
            Disk(history.ops[:at], survives, dice).write(data / "parcels")
            restore(data, files)
            with open_case(data) as case:
                hold(case, promised, at)
            tried += 1
    assert tried > 40
    record_property("figures", {"moments without power (relay)": tried})


def restore(data: Path, files: dict[str, bytes]) -> None:
    """Put the files of the database back."""
    for path in data.glob(f"{DATABASE}*"):
        path.unlink()
    for name, octets in files.items():
        (data / name).write_bytes(octets)
        (data / name).chmod(0o600)


def hold(case: Case, promised: list[str], at: int) -> None:
    """Require that what was answered is there, and that everything can be completed."""
    check_consistency(case)
    assert set(promised) <= case.files(), f"an answer was not true after {at}"
    case.now += 1  # requests of before the loss are not accepted again
    assert live(case) == len(requests())
    check_consistency(case)
    assert not any(name.startswith(OTHER.id.hex()) for name in case.files())
