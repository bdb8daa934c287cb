"""The command line: which commands there are, and how a failure becomes text and a number.

This is the one place that turns exceptions into exit codes.  A command is imported when
it is called, so that `medshare --help` stays quick.
"""

import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import click

import medshare
from medshare import errors
from medshare.commands.text import visible
from medshare.errors import MedshareError

EXIT_CODES: Final[dict[type[MedshareError], int]] = {
    errors.MedshareError: 1,
    errors.UsageError: 2,
    errors.FormatError: 3,
    # A flipped bit in a version field looks like a newer version: never less than damage.
    errors.UnsupportedVersionError: 3,
    errors.LimitError: 3,
    errors.IntegrityError: 3,
    errors.DigestMismatchError: 3,
    errors.IncompleteError: 3,
    errors.CodecError: 3,
    errors.AuthenticityError: 3,
    errors.GrantError: 3,
    errors.SignatureError: 3,
    errors.AuditError: 3,
    errors.UntrustedSignerError: 4,
    errors.RevokedError: 4,
    errors.CredentialError: 4,
    errors.KeyUnavailableError: 4,
    errors.NoIdentityMatchError: 4,
    errors.PassphraseError: 4,
    errors.TokenError: 4,
    errors.AccessDeniedError: 4,
    errors.RelayRefusedError: 4,
    errors.TransferError: 5,
    errors.RelayUnavailableError: 5,
    errors.NotFoundError: 5,
    errors.StorageError: 6,
    errors.SourceChangedError: 6,
    errors.PolicyError: 7,
    errors.UnhealthyError: 8,
    errors.CancelledError: 130,
}
"""One number for each class of error; docs/exit-codes.md is written from this table."""

MEANINGS: Final[dict[int, str]] = {
    0: "done",
    1: "unexpected fault, most likely a bug",
    2: "the command makes no sense as it was put, or needs an extra that is not installed",
    3: "damaged, incomplete, or not signed by whom it claims: do not use what arrived",
    4: "not permitted: unknown or untrusted identity, wrong key or passphrase, relay refuses",
    5: "did not get through, or not there yet: run the same command again to resume",
    6: "local storage: full, unreadable, or a file changed while it was sent",
    7: "refused by policy: suite, tier, retention, or who may open what",
    8: "`medshare doctor` found something that should be mended",
    130: "interrupted: run the same command again to resume",
    141: "whoever read the output went away",
}
INTERRUPTED: Final = 130
OUTPUT_GONE: Final = 141

_CONTAINERS: Final = 20_000
_RESUMABLE: Final = frozenset({"amend", "demo", "opinion", "receive", "send", "share"})
_RESUME_HINT: Final = "run the same command again to resume"


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that exists, where to find it, and what `--help` says of it."""

    section: str
    name: str
    place: str
    summary: str


COMMANDS: Final = (
    Entry("Moving studies", "send", "transfer:send", "Seal files and send them."),
    Entry("Moving studies", "receive", "receive:receive", "Fetch, verify and open parcels."),
    Entry("Moving studies", "view", "view:view", "Look at a parcel, in memory only."),
    Entry("Moving studies", "opinion", "continuing:opinion", "Answer a parcel with your own."),
    Entry("Moving studies", "amend", "continuing:amend", "Send a revision of a parcel."),
    Entry("Moving studies", "share", "continuing:share", "Pass on a parcel that you received."),
    Entry("Moving studies", "grant", "grant:grant", "Show who may do what, and take it back."),
    Entry("Moving studies", "verify", "check:verify", "Check a parcel or a received folder."),
    Entry("Moving studies", "receipt", "check:receipt", "Show and check proofs of delivery."),
    Entry("Stations and trust", "init", "station:init", "Make this machine a station."),
    Entry("Stations and trust", "card", "station:card", "Exchange public cards."),
    Entry("Stations and trust", "trust", "trust:trust", "Say which authorities vouch for people."),
    Entry("Stations and trust", "sign-in", "sign_in:sign_in", "Sign in to a relay for a while."),
    Entry("Stations and trust", "sign-out", "sign_in:sign_out", "End the session at a relay."),
    Entry(
        "Stations and trust",
        "second-factor",
        "second_factor:second_factor",
        "Add and list codes and security keys.",
    ),
    Entry("Keys and rules", "keys", "keys:keys", "List, check, back up and restore the keys."),
    Entry("Keys and rules", "rotate-key", "rotate:rotate_key", "Replace keys; answer a loss."),
    Entry("Keys and rules", "vault", "vault:vault", "Keep sealed parcels at rest."),
    Entry("Keys and rules", "policy", "policy:policy", "Show and check the rules of this station."),
    Entry("Keys and rules", "audit", "audit:audit", "Read, verify and export the record."),
    Entry("Infrastructure", "relay", "relay:relay", "Run a relay, which sees only ciphertext."),
    Entry("Infrastructure", "admin", "admin:admin", "Administer a relay, under four eyes."),
    Entry("Infrastructure", "authority", "authority:authority", "Vet people, and certify them."),
    Entry("More", "doctor", "doctor:doctor", "Look for what should be mended on this machine."),
    Entry("More", "demo", "demo:demo", "Watch a study travel between two hospitals."),
    Entry("More", "completion", "completion:completion", "Print completion for a shell."),
)


class Edge(click.Group):
    """The one place where an exception becomes text and a number."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order in which a newcomer needs them."""
        return [entry.name for entry in COMMANDS]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the command *cmd_name*, or return None when there is none."""
        for entry in COMMANDS:
            if entry.name == cmd_name:
                module, _, attribute = entry.place.partition(":")
                found = getattr(importlib.import_module(f"medshare.commands.{module}"), attribute)
                if not isinstance(found, click.Command):
                    raise TypeError(f"{entry.place} is not a command")
                return found
        return None

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands by section, from the table alone: nothing is imported."""
        width = max(len(entry.name) for entry in COMMANDS)
        for section in dict.fromkeys(entry.section for entry in COMMANDS):
            rows = [(e.name.ljust(width), e.summary) for e in COMMANDS if e.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> "list[click.shell_completion.CompletionItem]":
        """Offer commands from the table alone, and the options of the group."""
        from click.shell_completion import CompletionItem

        found = [e for e in COMMANDS if e.name.startswith(incomplete)]
        offered = [CompletionItem(entry.name, help=entry.summary) for entry in found]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end in silence when whoever read the output went away."""
        try:
            ended = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_output()
            ctx.exit(OUTPUT_GONE)
        return ended

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line; always ends in SystemExit with a documented number."""
        words = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            ended = super().main(words, *rest, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = 2
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last line of defence
            code = report(error, words)
        else:
            code = ended if isinstance(ended, int) else 0
        sys.exit(code)


def _forget_output() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush is silent."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def exit_code(error: MedshareError) -> int:
    """Return the number for *error*: that of its class, or of the nearest parent's."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def report(error: BaseException, words: Sequence[str]) -> int:
    """Say on stderr, or as JSON on stdout, what went wrong; return the exit code."""
    failure, code = _as_failure(error)
    hint = failure.hint
    if hint is None and code in {5, INTERRUPTED} and _RESUMABLE.intersection(words[:1]):
        hint = _RESUME_HINT
    if _wants_json(words):
        _write_json(failure, code, hint)
    else:
        _write_line("error", "red", failure.message)
        if hint:
            _write_line("hint", "cyan", hint)
    if _wants_traceback(words):
        _write_traceback(error)
    return code


def _as_failure(error: BaseException) -> tuple[MedshareError, int]:
    """Return what *error* means to a user, and the exit code."""
    match error:
        case MedshareError():
            return error, exit_code(error)
        case click.exceptions.Abort() | KeyboardInterrupt() | EOFError():
            return errors.CancelledError("interrupted"), INTERRUPTED
        case click.ClickException():
            return errors.UsageError(_usage_text(error), hint=_usage_hint(error)), 2
    fault = errors.MedshareError(
        f"unexpected {type(error).__name__} in {_origin(error)}; this is a bug in medshare",
        hint="please report it with the version (medshare --version); -vv shows where it happened",
        code="unexpected",
    )
    return fault, 1


def _usage_text(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    return text[:1].lower() + text[1:].rstrip(".")


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "medshare"
    return f"{path} --help shows how it is used, with examples"


def _origin(error: BaseException) -> str:
    """Return module and line of our code nearest to the fault; never values or file names."""
    place = "medshare"
    trace = error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "medshare":
            place = f"{module} line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _write_line(kind: str, colour: str, sentence: str) -> None:
    """Write `medshare: error: …` to stderr; for a person, coloured and folded between words."""
    prefix = f"medshare: {kind}:"
    line = f"{prefix} {visible(sentence, limit=2000)}"
    if sys.stderr.isatty():
        import shutil
        import textwrap

        width = shutil.get_terminal_size().columns
        line = textwrap.fill(
            line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        if not os.environ.get("NO_COLOR"):
            line = line.replace(prefix, click.style(prefix, fg=colour, bold=True), 1)
    click.echo(line, err=True)


def _write_json(failure: MedshareError, code: int, hint: str | None) -> None:
    import json

    record = {
        "event": "error",
        "code": failure.code,
        "exit": code,
        "message": failure.message,
        "hint": hint,
    }
    click.echo(json.dumps(record))


def _write_traceback(error: BaseException) -> None:
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        click.echo(visible(line, limit=2000), err=True)


def _options(words: Sequence[str]) -> list[str]:
    """Return the words before `--` that look like options.

    Read from the raw words, because the command line that failed may be one that could
    not be parsed.
    """
    end = words.index("--") if "--" in words else len(words)
    return [word for word in words[:end] if word.startswith("-")]


def _wants_json(words: Sequence[str]) -> bool:
    return "--json" in _options(words)


def _wants_traceback(words: Sequence[str]) -> bool:
    options = _options(words)
    short = sum(word.count("v") for word in options if re.fullmatch(r"-[qv]+", word))
    return short + options.count("--verbose") >= 2


def exit_codes_page() -> str:
    """Return docs/exit-codes.md, written from the tables above."""
    lines = [
        "# Exit codes",
        "",
        "Written from the tables in `src/medshare/cli.py` by `python tools/write_docs.py`; do not",
        "edit. A number that is not listed here means failure. With `--json` the last line on",
        "stdout of a failed command is an object with `code`, `exit`, `message` and `hint`; the",
        "codes below are stable, the sentences are not. Some failures carry a more exact code,",
        "such as `transfer.no-receipt` or `storage.permissions`: decide by `exit` first.",
        "",
        "| exit | meaning | codes |",
        "|---|---|---|",
    ]
    for number, meaning in MEANINGS.items():
        codes = sorted(kind.code for kind, exits in EXIT_CODES.items() if exits == number)
        if number == 1:
            codes.append("unexpected")
        lines.append(f"| {number} | {meaning} | {', '.join(f'`{code}`' for code in codes)} |")
    return "\n".join([*lines, ""])


_TOUR: Final = """\b
A first transfer, from one hospital to another:
  A$ medshare init --name 'St. Mary, radiology'
  A$ medshare card import dr-wang.card   # compare fingerprints by telephone
  A$ medshare send ct_head/ --to dr-wang --wait --relay https://relay.example
  B$ medshare receive --output inbox/ --relay https://relay.example
  B$ medshare verify inbox/

\b
Each command has its own --help, with examples.
What exit codes mean is in docs/exit-codes.md.
"""


@click.group(
    cls=Edge,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_TOUR,
)
@click.version_option(medshare.__version__, message="medshare %(version)s")
def cli() -> None:
    """Move medical studies so that only the addressed can read them, and nothing is lost."""


def main() -> NoReturn:
    """Start `medshare`: what the console script and `python -m medshare` call."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name in a script that the locale cannot write must not end a transfer.
            stream.reconfigure(errors="backslashreplace")
    # What is loaded stays: looking through it for garbage, again and again, is a tenth of a start.
    gc.set_threshold(_CONTAINERS)
    cli.main(prog_name="medshare")
