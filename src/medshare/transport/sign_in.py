"""Second factors and sessions at a relay, the client's side of docs/relay-protocol.md §9."""

from typing import Final

from medshare.transport.relay import RelayTransport
from medshare.wire import routes, sign_in
from medshare.wire.routes import Target
from medshare.wire.sign_in import BegunFactor, Challenge, Factors, NewFactor, Proof, Session

_LIMIT: Final = sign_in.MAX_ANSWER


class SignInTransport(RelayTransport):
    """A relay as one who signs in sees it; raises what `RelayTransport` raises."""

    @property
    def url(self) -> str:
        """The address of the relay, in one spelling."""
        return f"{self._url.scheme}://{self._authority}"

    @property
    def origin(self) -> str:
        """What security keys know the relay by."""
        return f"https://{self._authority}"

    def begin_factor(self, new: NewFactor) -> BegunFactor:
        """Begin to add a second factor."""
        body = sign_in.encode_new_factor(new)
        with self._ask(Target(routes.BEGIN_FACTOR), body=body) as answer:
            return answer.decoded(sign_in.decode_begun_factor, limit=_LIMIT)

    def finish_factor(self, factor: bytes, proof: Proof) -> tuple[str, ...]:
        """Show that a factor works; return recovery codes when it is the first one."""
        target, body = Target(routes.FINISH_FACTOR, factor=factor), sign_in.encode_proof(proof)
        with self._ask(target, body=body) as answer:
            return answer.decoded(sign_in.decode_recovery, limit=_LIMIT)

    def factors(self) -> Factors:
        """Return the second factors of this station; needs a session."""
        with self._ask(Target(routes.LIST_FACTORS)) as answer:
            return answer.decoded(sign_in.decode_factors, limit=_LIMIT)

    def remove_factor(self, factor: bytes) -> None:
        """Remove a second factor; needs a session, and ends all."""
        self._put(Target(routes.REMOVE_FACTOR, factor=factor), None)

    def recovery_codes(self) -> tuple[str, ...]:
        """Return new recovery codes; needs a session."""
        with self._ask(Target(routes.RECOVERY_CODES)) as answer:
            return answer.decoded(sign_in.decode_recovery, limit=_LIMIT)

    def challenge(self) -> Challenge:
        """Return what a security key is to sign."""
        with self._ask(Target(routes.CHALLENGE)) as answer:
            return answer.decoded(sign_in.decode_challenge, limit=_LIMIT)

    def sign_in(self, proof: Proof) -> Session:
        """Begin a session."""
        with self._ask(Target(routes.SIGN_IN), body=sign_in.encode_proof(proof)) as answer:
            return answer.decoded(sign_in.decode_session, limit=_LIMIT)

    def sign_out(self) -> None:
        """End the session that this transport shows."""
        self._put(Target(routes.SIGN_OUT), None)
