"""wire.sign_in: each body survives the wire, and nothing else passes for one."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare import canonical
from medshare.errors import FormatError
from medshare.wire import sign_in
from medshare.wire.routes import FACTOR_ID_SIZE, MAX_BEGIN_FACTOR, MAX_PROOF

times = st.integers(0, canonical.MAX_TIME)
texts = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=64)
ids = st.binary(min_size=FACTOR_ID_SIZE, max_size=FACTOR_ID_SIZE)
challenges = st.binary(min_size=32, max_size=32)
credentials = st.lists(st.binary(min_size=1, max_size=1023), max_size=4).map(tuple)
session_ids = st.text("AZaz09-_", min_size=43, max_size=43)

new_factors = st.builds(sign_in.NewFactor, st.sampled_from(sign_in.FACTOR_KINDS), texts)
begun_factors = st.one_of(
    st.builds(
        sign_in.BegunFactor, ids, st.just(sign_in.TOTP), st.binary(max_size=64), known=credentials
    ),
    st.builds(
        sign_in.BegunFactor,
        ids,
        st.just(sign_in.FIDO2),
        challenge=challenges,
        verify=st.booleans(),
        known=credentials,
    ),
)
proofs = st.builds(
    sign_in.Proof,
    st.sampled_from(sign_in.PROOF_KINDS),
    texts,
    st.binary(max_size=1023),
    st.binary(max_size=4096),
    st.binary(max_size=4096),
    st.binary(max_size=1024),
)
factor_lists = st.builds(
    sign_in.Factors,
    st.lists(
        st.builds(sign_in.Factor, ids, st.sampled_from(sign_in.FACTOR_KINDS), times, times),
        max_size=sign_in.MAX_FACTORS,
    ).map(tuple),
    st.integers(0, sign_in.RECOVERY_CODES),
)
recoveries = st.lists(texts, max_size=sign_in.RECOVERY_CODES).map(tuple)
given_challenges = st.builds(sign_in.Challenge, challenges, credentials, st.booleans())
sessions = st.builds(sign_in.Session, session_ids, times, times, st.integers(0, 1 << 32))

BODIES: list[tuple[str, st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    ("new", new_factors, sign_in.encode_new_factor, sign_in.decode_new_factor),
    ("begun", begun_factors, sign_in.encode_begun_factor, sign_in.decode_begun_factor),
    ("proof", proofs, sign_in.encode_proof, sign_in.decode_proof),
    ("factors", factor_lists, sign_in.encode_factors, sign_in.decode_factors),
    ("recovery", recoveries, sign_in.encode_recovery, sign_in.decode_recovery),
    ("challenge", given_challenges, sign_in.encode_challenge, sign_in.decode_challenge),
    ("session", sessions, sign_in.encode_session, sign_in.decode_session),
]
every_body = pytest.mark.parametrize(
    ("values", "encode", "decode"), [body[1:] for body in BODIES], ids=[body[0] for body in BODIES]
)


@every_body
@given(data=st.data())
def test_a_body_survives_the_wire(
    values: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: st.DataObject,
) -> None:
    """Decoding what was encoded gives the same, and fits the limit of its route."""
    value = data.draw(values)
    octets = encode(value)
    assert decode(octets) == value
    assert len(octets) <= {
        sign_in.encode_new_factor: MAX_BEGIN_FACTOR,
        sign_in.encode_proof: MAX_PROOF,
    }.get(encode, sign_in.MAX_ANSWER)


@every_body
@given(data=st.data())
def test_a_body_has_one_encoding(
    values: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    data: st.DataObject,
) -> None:
    """Octets with a bit flipped, cut off or too many are refused, or are another body's own."""
    octets = encode(data.draw(values))
    at = data.draw(st.integers(0, len(octets) - 1))
    flipped = octets[:at] + bytes([octets[at] ^ (1 << data.draw(st.integers(0, 7)))])
    for changed in (flipped + octets[at + 1 :], octets[:at], octets + b"\x00"):
        try:
            found = decode(changed)
        except FormatError:
            continue
        assert encode(found) == changed


@every_body
@given(octets=st.binary(max_size=200))
def test_nonsense_is_a_format_error(
    values: st.SearchStrategy[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    octets: bytes,
) -> None:
    """Whatever comes, nothing but FormatError is raised."""
    try:
        found = decode(octets)
    except FormatError:
        return
    assert encode(found) == octets


@given(sessions, new_factors, proofs, begun_factors)
def test_no_secret_is_shown(
    session: sign_in.Session,
    new: sign_in.NewFactor,
    proof: sign_in.Proof,
    begun: sign_in.BegunFactor,
) -> None:
    """The representations of these values, as in a traceback, hold neither id nor code."""
    shown = " ".join(map(repr, (session, new, proof, begun)))
    hidden = [session.session, new.secret, proof.code]
    assert [one for one in hidden if len(one) > 20 and one in shown] == []
    assert "secret=" not in shown
