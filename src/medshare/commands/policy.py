"""`medshare policy`: look at the rules of this station, and check them before they are in force."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medshare.commands.explain import explain
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.review import judge, review, reviewed
from medshare.errors import UsageError

if TYPE_CHECKING:
    from medshare.trust.policy import Policy


@click.group(
    epilog=examples(
        """
        medshare policy show
        medshare policy check draft.toml     # exit code 7 and the reason, if it is not valid
        medshare policy explain 3f2a9c1b     # why a parcel may be opened here, or not
        medshare policy review               # the emergencies that await review
        """
    )
)
def policy() -> None:
    """Show and check the rules of this station.

    The file policy.toml in the station's folder says what each sensitivity tier demands:
    how often keys are replaced, which suites and keystores are allowed, how long the far
    side keeps a parcel; which departments open what; and who may break the glass. Without it,
    a built-in policy holds.
    """


policy.add_command(explain)
policy.add_command(review)
policy.add_command(judge)
policy.add_command(reviewed)


@policy.command()
@output_options
def show(mode: Mode) -> None:
    """Show the rules that are in force, as a policy file."""
    from medshare.config import load_settings
    from medshare.station.policy_file import policy_of
    from medshare.trust.policy import to_toml

    home = load_settings().home
    rules = policy_of(home)
    with choose(mode) as out:
        record = {"event": "policy", "built_in": not _file(home).exists(), **policy_record(rules)}
        out.result(record, lambda: to_toml(rules).rstrip("\n"))


@policy.command(
    epilog=examples(
        """
        medshare policy check               # that of this station
        medshare policy check draft.toml
        """
    )
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@output_options
def check(file: Path | None, mode: Mode) -> None:
    """Check that FILE, or the policy of this station, is valid."""
    from medshare.config import load_settings
    from medshare.station.policy_file import read_policy
    from medshare.trust.policy import BUILT_IN

    place = file or _file(load_settings().home)
    if file is None and not place.exists():
        rules, named = BUILT_IN, "the built-in policy is in force: there is no policy.toml"
    elif not place.exists():
        raise UsageError(f"there is nothing at {place}")
    else:
        rules, named = read_policy(place), f"{place} is a valid policy"
    tiers = ", ".join(one.name for one in rules.tiers)
    with choose(mode) as out:
        record = {"event": "policy_valid", **policy_record(rules)}
        out.result(record, lambda: f"{named}, with the tiers {tiers}")


def _file(home: Path) -> Path:
    from medshare.station.policy_file import POLICY_FILE

    return home / POLICY_FILE


def policy_record(rules: "Policy") -> dict[str, Any]:
    """Return *rules* as programs read them; times in seconds, 0 for never."""
    access = rules.access
    return {
        "departments": [
            {"parcels": one.parcels, "open": list(one.open)} for one in access.departments
        ],
        "break_glass": {
            "roles": list(access.break_glass.roles),
            "least_reason": access.break_glass.least_reason,
            "overrides": list(access.break_glass.overrides),
        },
        "mixed_suites": str(rules.mixed),
        "identity_rotate_after": rules.identity_rotate_after,
        "keep_record": rules.keep_record,
        "tiers": [
            {
                "name": one.name,
                "rotate_after": one.rotate_after,
                "suites": list(one.suites),
                "keystores": list(one.keystores),
                "keep_for": one.keep_for,
                "max_uses": one.max_uses,
                "require": str(one.require),
                "sender": str(one.sender),
                "reader": str(one.reader),
                "grants": str(one.grants),
                "default_role": one.default_role or None,
            }
            for one in rules.tiers
        ],
    }
