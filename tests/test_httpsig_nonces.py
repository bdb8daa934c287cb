"""A signed request is good for one request, and for one time only."""

import pytest

from medshare import httpsig
from medshare.errors import AccessDeniedError, FormatError

NOW = 1_800_000_000


def test_a_nonce_has_sixteen_bytes() -> None:
    """Fewer would collide, more would not be read."""
    with pytest.raises(ValueError, match="16 bytes"):
        httpsig.encode_nonce(bytes(15))


def test_nonces_are_kept_while_their_request_is_valid_and_then_forgotten() -> None:
    """A nonce is known up to twice the skew after its use; the memory is empty later."""
    for start in (1_000, 1_001, 1_019):
        memory = httpsig.NonceMemory(max_skew=10)
        memory.use("k", "n", now=start)
        for later in (0, 1, 19, 20):
            with pytest.raises(AccessDeniedError):
                memory.use("k", "n", now=start + later)
        memory.use("k", "m", now=start + 60)
        assert memory.remembered == 1


def test_a_clock_that_is_set_back_forgets_nothing() -> None:
    """The generation of the memory never goes backwards."""
    memory = httpsig.NonceMemory(max_skew=10)
    memory.use("k", "n", now=1_000)
    with pytest.raises(AccessDeniedError):
        memory.use("k", "n", now=10)


def test_one_station_cannot_fill_the_memory_of_others() -> None:
    """The limit is per key, and a full memory refuses instead of forgetting."""
    memory = httpsig.NonceMemory(per_key=2)
    memory.use("a", "1", now=NOW)
    memory.use("a", "2", now=NOW)
    with pytest.raises(AccessDeniedError, match="too many"):
        memory.use("a", "3", now=NOW)
    memory.use("b", "1", now=NOW)
    with pytest.raises(AccessDeniedError, match="already"):
        memory.use("a", "1", now=NOW)


def test_a_line_of_the_base_cannot_be_forged() -> None:
    """A value with a line break would read as two components, so it is refused."""
    with pytest.raises(FormatError):
        httpsig.signature_base([("@path", '/\n"@method": PUT')], "()")
