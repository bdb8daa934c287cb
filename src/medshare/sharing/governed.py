"""The policy of a station, applied: to what it is about to send, and to what it is asked to take.

The tier decides and the caller may only ask for less: fewer suites, a shorter retention, fewer
recipients.
"""

from dataclasses import replace

from medshare.envelope import Envelope
from medshare.sharing.outgoing import SendOptions
from medshare.station import Identity
from medshare.trust.policy import Policy, Require
from medshare.trust.suite_choice import require_acceptable


def governed(options: SendOptions, policy: Policy, identity: Identity) -> SendOptions:
    """Return *options* as the tier that they name makes them.

    Raises PolicyError, naming the rule, for an unknown tier, a keystore or suite that the
    tier does not allow, or a retention longer than it grants.
    """
    tier = policy.tier(options.tier)
    tier.require_keystore(identity.backend)
    return replace(
        options,
        suites=tier.allowed_suites(options.suites),
        mixed=policy.allows_mixed(options.mixed),
        keep_for=tier.retention(options.keep_for),
        licensed=options.licensed or tier.require is Require.LICENSED,
    )


def require_allowed(
    envelope: Envelope,
    policy: Policy,
    identity: Identity,
    *,
    suites: frozenset[str] | None,
    mixed: bool,
) -> None:
    """Raise PolicyError, naming the rule, unless a parcel like this one may be taken here.

    Its tier must be known, and allow this station's keystore and the parcel's suite; then
    *suites* and *mixed* are what the caller takes (see `require_acceptable`).
    """
    tier = policy.tier(envelope.tier)
    tier.require_keystore(identity.backend)
    tier.allowed_suites(frozenset({envelope.suite}))
    tier.require_grants(stated=bool(envelope.grants) or envelope.sender == identity.station)
    require_acceptable(envelope, identity.card, suites, mixed=policy.allows_mixed(mixed))
