"""What a relay keeps of second factors: sealed, durable before it is answered, and used once."""

import base64
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medshare.errors import AccessDeniedError, RelayUnavailableError, StorageError
from medshare.relay import codes
from medshare.relay.factor_key import FILE as KEY_FILE
from medshare.relay.factor_key import factor_key
from medshare.relay.factor_store import FILE as STORE_FILE
from medshare.relay.profiles import person
from medshare.wire import problems
from medshare.wire.sign_in import Proof
from tests.conftest import ROOT
from tests.relay_case import open_case
from tests.sign_in_case import RECOVERY, TOTP, Person, again, office, person_at
from tests.suites.transport_suite import ALICE, BOB


@pytest.fixture(autouse=True)
def cheap_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recovery codes be hashed quickly."""
    monkeypatch.setattr(codes, "SCRYPT_COST", 1 << 4)


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[Person]:
    """Alice, a person, with a code enrolled."""
    with person_at(tmp_path / "relay") as found:
        found.enrol()
        yield found


def test_no_secret_lies_in_the_database(alice: Person) -> None:
    """Neither a TOTP secret nor a recovery code, a session or an enrolment secret is in it."""
    session = alice.sign_in().session
    with sqlite3.connect(alice.case.data / STORE_FILE) as sqlite:
        sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sqlite.close()
    kept = b"".join(
        path.read_bytes() for path in alice.case.data.glob(f"{STORE_FILE}*") if path.is_file()
    )
    raw = base64.urlsafe_b64decode(session + "=")
    hidden = [alice.secret, base64.b32encode(alice.secret), raw, session.encode()]
    hidden += [code.replace("-", "")[1:].encode() for code in alice.recovery]
    hidden += [alice.invitation.encode(), alice.invitation.replace("-", "").encode()]
    assert [one for one in hidden if one in kept] == []
    assert hashlib.sha256(b"medshare/1 relay session\x00" + raw).digest() in kept


def test_a_sealed_secret_is_of_one_factor(tmp_path: Path) -> None:
    """A secret does not open for another factor or station, nor with another key."""
    tmp_path.chmod(0o700)
    key = factor_key(tmp_path)
    sealed = key.seal(b"secret", station=ALICE.station, factor=bytes(16))
    assert factor_key(tmp_path).open(sealed, station=ALICE.station, factor=bytes(16)) == b"secret"
    for station, factor in ((BOB.station, bytes(16)), (ALICE.station, bytes(15) + b"x")):
        with pytest.raises(StorageError):
            key.open(sealed, station=station, factor=factor)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(StorageError):
        factor_key(tmp_path).open(sealed, station=ALICE.station, factor=bytes(16))


def test_a_lost_database_lets_nobody_in(alice: Person, tmp_path: Path) -> None:
    """Without the database of factors a person is still a person, who is let in by the operator."""
    alice.sign_in()
    data = tmp_path / "copy"
    data.mkdir(mode=0o700)
    (data / "cards").mkdir(mode=0o700)
    (data / "profiles").mkdir(mode=0o700)
    for folder in ("cards", "profiles"):
        for path in (alice.case.data / folder).iterdir():
            (data / folder / path.name).write_bytes(path.read_bytes())
    with open_case(data, now=alice.case.now + codes.STEP) as case:
        found = again(alice, case)
        assert found.inbox().code == problems.SECOND_FACTOR
        assert found.try_code().code == problems.FACTOR


def test_a_lost_profile_does_not_open_the_door(tmp_path: Path) -> None:
    """A person whose profile is gone is refused, until the operator says what is demanded."""
    data = tmp_path / "relay"
    with person_at(data) as alice:
        alice.enrol()
    (data / "profiles" / ALICE.station.hex()).unlink()
    with open_case(data, now=alice.case.now) as case:
        found = again(alice, case)
        assert found.inbox().code == problems.PROFILE
        office(case).set_profile(ALICE.station, person())
        assert found.inbox(found.sign_in().session).status == 200
        office(case).forget(ALICE.station)
        assert found.inbox().status == 200, "removed and enrolled anew, it is an open one"


KILLED_AT_ANSWER = """
import os, signal, sys
from pathlib import Path
from medshare.wire import routes, sign_in
from medshare.wire.routes import Target
from medshare.wire.sign_in import Proof
from tests.relay_case import Case, signed
from tests.suites.transport_suite import ALICE
import medshare.relay.exchange as exchange

async def die(self, data):
    os.kill(os.getpid(), signal.SIGKILL)

data, now, code, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
with Case(data, now=now).open() as case:
    exchange.Answer.structure = die
    body = sign_in.encode_proof(Proof(kind, code=code))
    case.ask(signed(ALICE, Target(routes.SIGN_IN), body, created=now, nonce=os.urandom(16)))
"""


@pytest.mark.service
@pytest.mark.parametrize("kind", [TOTP, RECOVERY])
def test_what_was_accepted_is_used_up_even_if_the_relay_dies(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay killed with SIGKILL between acceptance and answer takes the code no second time."""
    monkeypatch.setattr(codes, "SCRYPT_COST", 1 << 14)  # that of the other process
    data = tmp_path / "relay"
    with person_at(data) as alice:
        alice.enrol()
    code = alice.code() if kind == TOTP else alice.recovery[0]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_ANSWER, str(data), str(alice.case.now), code, kind],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    with open_case(data, now=alice.case.now + 1) as case:
        assert again(alice, case).try_code(code, kind=kind).code == problems.FACTOR


def test_two_attempts_at_once_are_one_after_the_other(alice: Person) -> None:
    """Of many sign-ins with one code at the same moment exactly one gets a session."""
    access = alice.case.service.access
    asker = alice.case.service.stations.find(ALICE.station.hex())
    assert asker is not None
    proof, profile = Proof(TOTP, code=alice.code()), access.profile(ALICE.station)

    def attempt(_: int) -> bool:
        try:
            access.factors.sign_in(asker, profile, proof)
        except (AccessDeniedError, RelayUnavailableError):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
