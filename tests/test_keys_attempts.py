"""The wait after wrong passphrases: enforced, said in seconds, and never for ever."""

import os
from pathlib import Path

import pytest

from medshare.errors import PassphraseError
from medshare.keys.attempts import MAX_WAIT, seconds_to_wait
from medshare.keys.file import FileKeyStore, attempts_file
from tests.test_keys_file import CHEAP, PASSPHRASE, make, reopen


def test_wrong_passphrases_are_counted_and_slow_down(tmp_path: Path) -> None:
    """Each failure in a row after the first means a longer wait; a right one begins anew."""
    make(tmp_path)
    said, now = [], 1_000.0
    for seconds in (0, 1, 2, 4):
        with pytest.raises(PassphraseError) as caught:
            open_at(tmp_path, now, b"wrong horse battery staple")
        said.append(f"{caught.value.message} {caught.value.hint}")
        assert (f"wait {seconds} s" in said[-1]) is (seconds > 0)
        now += seconds
    assert "4 times in a row" in said[-1]
    open_at(tmp_path, now)
    assert not attempts_file(tmp_path / "keystore").exists()
    with pytest.raises(PassphraseError, match=r"wrong$"):
        reopen(tmp_path, b"wrong again, and again")


def open_at(folder: Path, now: float, passphrase: bytes = PASSPHRASE) -> FileKeyStore:
    """Return the keystore in *folder*, opened at *now*."""
    return FileKeyStore.open(folder / "keystore", passphrase, cost=CHEAP, clock=lambda: now)


def failed(folder: Path, times: int, now: float) -> Path:
    """Fail *times* in a row until *now*, whatever the waits; return where that is counted."""
    attempts_file(folder / "keystore").write_bytes(b"x" * times)
    os.utime(attempts_file(folder / "keystore"), (now, now))
    return attempts_file(folder / "keystore")


def test_nothing_is_tried_before_the_wait_is_over(tmp_path: Path) -> None:
    """Until then even the right passphrase is refused, with the seconds that are left."""
    make(tmp_path)
    counted = failed(tmp_path, 5, 1_000.0)
    for now, seconds in ((1_000.0, 8), (1_006.5, 2), (1_007.9, 1)):
        with pytest.raises(PassphraseError, match=f"another {seconds} s") as caught:
            open_at(tmp_path, now)
        assert caught.value.code == "key.passphrase-wait"
        assert caught.value.hint == f"wait {seconds} s, then run the same command again"
    assert counted.stat().st_size == 5, "what is not tried is not counted"
    open_at(tmp_path, 1_008.0)
    assert not counted.exists()


def test_a_clock_that_was_put_back_locks_nobody_out(tmp_path: Path) -> None:
    """The wait begins anew once, and ends a minute later at most."""
    make(tmp_path)
    failed(tmp_path, 64, 2_000_000_000.0)
    with pytest.raises(PassphraseError, match="another 60 s"):
        open_at(tmp_path, 1_000.0)
    with pytest.raises(PassphraseError, match="another 30 s"):
        open_at(tmp_path, 1_030.0)
    open_at(tmp_path, 1_060.0)


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_a_count_that_is_none_is_no_reason_to_wait(tmp_path: Path, kind: str) -> None:
    """Whatever lies in the place of the count, the owner can open the keystore."""
    make(tmp_path)
    path = attempts_file(tmp_path / "keystore")
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    for now in (1_000.0, 1_000.0, 1_000.0):
        with pytest.raises(PassphraseError, match=r"wrong$"):
            open_at(tmp_path, now, b"wrong horse battery staple")
    open_at(tmp_path, 1_000.0)


def test_each_keystore_has_a_wait_of_its_own(tmp_path: Path) -> None:
    """Failures at one keystore do not hold up another."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    make(tmp_path / "a")
    make(tmp_path / "b")
    failed(tmp_path / "a", 9, 1_000.0)
    open_at(tmp_path / "b", 1_000.0)


def test_the_wait_has_a_limit() -> None:
    """The wait grows and never exceeds a minute."""
    waits = [seconds_to_wait(failures) for failures in range(100)]
    assert waits == sorted(waits)
    assert waits[-1] == MAX_WAIT
