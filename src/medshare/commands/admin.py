"""`medshare admin`: what several administrators of a relay decide together."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medshare.commands.admin_place import administering, matter_of, now
from medshare.commands.admin_propose import propose
from medshare.commands.opening import Way, way_options
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.errors import AuditError, CancelledError, NotFoundError, UsageError

if TYPE_CHECKING:
    from medshare.transport.administration import AdminTransport, Matter
    from medshare.trust.charter import Charter


@click.group(
    epilog=examples(
        """
        medshare admin propose enroll st-mary.card --relay https://relay.example.org
        medshare admin list                        # what waits, and what was decided
        medshare admin approve 6f1c20b7            # shows it in full, and asks
        medshare admin verify --relay-data /srv/relay
        """
    )
)
def admin() -> None:
    """Administer a relay under four eyes.

    What one administrator proposes is done when enough others have approved it. All of it is
    signed, and in the record of the relay. No administrator gets a key that opens anything.
    """


admin.add_command(propose)


@admin.command(
    epilog=examples(
        """
        medshare admin approve 6f1c20b7 --relay https://relay.example.org
        medshare admin approve 6f1c20b7 --yes      # for scripts, which have compared it
        """
    )
)
@click.argument("proposal")
@click.option("--yes", is_flag=True, help="Approve without asking, for scripts.")
@way_options
@output_options
def approve(proposal: str, yes: bool, way: Way, mode: Mode) -> None:
    """Approve PROPOSAL, the first digits of its id.

    What will happen is shown in full before. Let the proposer read you the digits to compare,
    by telephone. With the last approval that is needed it is done.
    """
    _vote(proposal, way, mode, approves=True, yes=yes)


@admin.command(epilog=examples("medshare admin reject 6f1c20b7"))
@click.argument("proposal")
@way_options
@output_options
def reject(proposal: str, way: Way, mode: Mode) -> None:
    """Reject PROPOSAL, the first digits of its id; that is final.

    Whoever proposed it takes it back like this.
    """
    _vote(proposal, way, mode, approves=False, yes=True)


def _vote(text: str, way: Way, mode: Mode, *, approves: bool, yes: bool) -> None:
    from medshare.commands import admin_views
    from medshare.trust.proposal import vote

    with administering(way) as (identity, relay):
        matter = matter_of(relay, text)
        charter, _ = relay.overview()
        if not yes:
            _confirm(matter, charter, json=mode.json)
        cast = vote(matter.proposal, identity.card, identity.signers, approves=approves, now=now())
        result = relay.vote(cast)
    record = {
        "event": "voted",
        "proposal": matter.proposal.digest.hex(),
        "approves": approves,
        **admin_views.result_record(result),
    }
    choose(mode).result(record, lambda: admin_views.standing(matter.proposal, result))


def _confirm(matter: "Matter", charter: "Charter", *, json: bool) -> None:
    """Ask the person at the terminal; raise UsageError where nobody can be asked."""
    from medshare.commands import admin_views

    if json or not sys.stdin.isatty():
        raise UsageError(
            "a proposal is approved only after it was read and compared, and nobody is here to ask",
            hint=f"its digits are {matter.proposal.fingerprint}; if those are right, add --yes",
        )
    for line in admin_views.asked(matter.proposal, admin_views.names_of(charter)):
        click.echo(line, err=True)
    click.echo("Let the proposer read you the digits to compare, by telephone.", err=True)
    if not click.confirm("Are they the same, and is it to happen?", err=True):
        raise CancelledError("nothing was approved")


@admin.command("list", epilog=examples("medshare admin list --last 50"))
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@way_options
@output_options
def list_(last: int, way: Way, mode: Mode) -> None:
    """List what was proposed: first what waits, then what was decided."""
    from medshare.commands import admin_views

    with administering(way) as (_, relay):
        charter, _ = relay.overview()
        matters = _matters(relay, last)
    names = admin_views.names_of(charter)
    record = {
        "event": "proposals",
        "proposals": [admin_views.matter_record(one) for one in matters],
    }
    choose(mode).result(record, lambda: admin_views.table(matters, names))


def _matters(relay: "AdminTransport", most: int) -> "list[Matter]":
    return [relay.matter(digest) for digest, _ in relay.proposals()[:most]]


@admin.command(
    epilog=examples(
        """
        medshare admin show                # who administers the relay, and its bounds
        medshare admin show 6f1c20b7       # a proposal, and who has said what to it
        """
    )
)
@click.argument("proposal", required=False)
@way_options
@output_options
def show(proposal: str | None, way: Way, mode: Mode) -> None:
    """Show PROPOSAL with its votes, or who administers the relay."""
    from medshare.commands import admin_views

    with administering(way) as (_, relay):
        charter, settings = relay.overview()
        matter = None if proposal is None else matter_of(relay, proposal)
    if matter is None:
        record = admin_views.charter_record(charter, settings, event="administration")
        lines = "\n".join(admin_views.charter_lines(charter, settings))
        choose(mode).result(record, lambda: lines)
        return
    record, names = admin_views.matter_record(matter), admin_views.names_of(charter)
    choose(mode).result(record, lambda: admin_views.shown(matter, names))


@admin.command(
    epilog=examples(
        """
        medshare admin verify --relay-data /srv/relay      # on the machine of the relay
        medshare admin verify --log copy-of-audit/         # anywhere, from a copy of its folder
        """
    )
)
@click.option(
    "--relay-data", type=click.Path(path_type=Path), metavar="DIR", help="The folder of a relay."
)
@click.option(
    "--log", type=click.Path(path_type=Path), metavar="DIR", help="A copy of its folder audit."
)
@output_options
def verify(relay_data: Path | None, log: Path | None, mode: Mode) -> None:
    """Check that every administrative act in a relay's record had its quorum.

    With --relay-data also that nobody is enrolled of whom the record does not say so. No network
    and no key is needed. That the record itself is whole is for medshare audit
    verify to say, which checks this too.
    """
    from medshare.record.administration import judge_record
    from medshare.record.reader import RecordReader

    if (relay_data is None) == (log is None):
        raise UsageError("name either the folder of a relay, or a copy of its record")
    folder = log if relay_data is None else relay_data / "audit"
    if folder is None or not folder.is_dir():
        raise NotFoundError("there is no record of a relay")
    judgement = judge_record(RecordReader(folder))
    from medshare.commands.audit_views import administration_record, administration_text

    strangers = _unrecorded(relay_data) if judgement.governed_from is not None else []
    found = administration_record(judgement)
    record = {"event": "administration_verified", **found, "unrecorded": strangers}
    choose(mode).result(record, lambda: administration_text(judgement))
    if strangers:
        raise AuditError(
            f"station {strangers[0][:16]} is enrolled, and by the record it is not",
            hint="somebody put its card there without the relay",
            code="audit.quorum",
        )
    if judgement.objections:
        first = judgement.objections[0]
        raise AuditError(
            f"entry {first.entry} ({first.act}) lacks its quorum: {first.sentence}",
            code="audit.quorum",
        )


def _unrecorded(relay_data: Path | None) -> list[str]:
    """Return the ids of stations that are enrolled there, and not by the record."""
    from medshare.record.administration import unrecorded
    from medshare.record.reader import RecordReader
    from medshare.relay.enrolment import Stations
    from medshare.relay.folder import DataFolder

    if relay_data is None:
        return []
    cards = Stations(DataFolder(relay_data).cards).cards()
    reader = RecordReader(relay_data / "audit")
    return [one.hex() for one in unrecorded(reader, [card.station for card in cards])]
