"""The edge of the command line: exceptions become one sentence and one number."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from medshare import cli, errors
from medshare.errors import MedshareError

ROOT = Path(__file__).resolve().parent.parent
PATIENT = "Doe^Jane"
KINDS = list(cli.EXIT_CODES)


class Trial(cli.Edge):
    """The edge, with one command under the name of a real one."""

    action: Callable[[], Any]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return a command that does what the test asks for."""
        options: list[click.Parameter] = [
            click.Option(["--json"], is_flag=True),
            click.Option(["-v"], count=True),
        ]
        return click.Command(cmd_name, callback=lambda json, v: self.action(), params=options)


def run(action: Callable[[], Any], *words: str) -> Result:
    """Run `medshare send` with the given words, doing *action* instead of sending."""
    trial = Trial("medshare")
    trial.action = action
    return CliRunner().invoke(trial, ["send", *words], prog_name="medshare")


def raising(error: BaseException) -> Callable[[], Any]:
    """Return an action that raises *error*."""

    def action() -> None:
        secret_of_a_frame = PATIENT
        if secret_of_a_frame:
            raise error

    return action


def classes(root: type[MedshareError] = MedshareError) -> Iterator[type[MedshareError]]:
    """Every class of the tree of errors."""
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


def test_every_class_of_error_has_its_number() -> None:
    """The table has exactly the classes of the tree, and every number is explained."""
    tree = {kind for kind in classes() if kind.__module__ == "medshare.errors"}
    assert set(cli.EXIT_CODES) == tree
    assert set(cli.EXIT_CODES.values()) <= cli.MEANINGS.keys()
    assert 0 not in cli.EXIT_CODES.values()


def test_the_documented_table_is_the_generated_one() -> None:
    """docs/exit-codes.md is what `python tools/write_docs.py` writes."""
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    assert page == cli.exit_codes_page()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_becomes_a_sentence_a_hint_and_a_number(kind: type[MedshareError]) -> None:
    """Text goes to stderr, nothing to stdout, and the number is that of the class."""
    done = run(raising(kind("chunk 7 is damaged", hint="ask for it again")))
    assert done.exit_code == cli.EXIT_CODES[kind]
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "medshare: error: chunk 7 is damaged",
        "medshare: hint: ask for it again",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_becomes_one_object_for_programs(kind: type[MedshareError]) -> None:
    """With --json there is one line on stdout, with stable keys, and nothing on stderr."""
    done = run(raising(kind("chunk 7 is damaged", hint="ask again")), "--json")
    assert done.stderr == ""
    assert done.exit_code == cli.EXIT_CODES[kind]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "event": "error",
            "code": kind.code,
            "exit": cli.EXIT_CODES[kind],
            "message": "chunk 7 is damaged",
            "hint": "ask again",
        }
    ]


def test_a_new_class_of_error_counts_as_its_parent() -> None:
    """A subclass outside the table, and a code of its own, never mean success."""

    class Novel(errors.DigestMismatchError):
        pass

    assert run(raising(Novel("other bytes", code="integrity.novel"))).exit_code == 3


def test_what_others_wrote_cannot_command_the_terminal() -> None:
    """Escape sequences and directions in a message are shown, not obeyed."""
    done = run(raising(errors.AccessDeniedError("relay says \x1b[2J\u202egnp.exe\nmedshare: ok")))
    assert done.stderr == "medshare: error: relay says \\x1b[2J\\u202egnp.exe\\x0amedshare: ok\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), errors.CancelledError("stopped")])
def test_an_interrupted_transfer_says_how_to_go_on(error: BaseException) -> None:
    """Ctrl-C ends in 130 and in the advice to run the same command again."""
    done = run(raising(error))
    assert done.exit_code == 130
    assert done.stderr.strip().endswith("medshare: hint: run the same command again to resume")


@pytest.mark.parametrize("flags", [[], ["--json"], ["-v"]])
def test_a_bug_does_not_spill_what_it_handled(flags: list[str]) -> None:
    """An unexpected exception names its class and place, not its text, which may be a name."""
    done = run(raising(KeyError(PATIENT)), *flags)
    assert done.exit_code == 1
    assert PATIENT not in done.output
    assert "KeyError" in done.output
    assert "report" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("flags", [["-vv"], ["-v", "-v"], ["--json", "-vv"]])
def test_a_traceback_shows_no_values(flags: list[str]) -> None:
    """With -vv the traceback goes to stderr, without the values of local variables."""
    done = run(raising(RuntimeError("boom")), *flags)
    assert "Traceback" in done.stderr
    assert "boom" in done.stderr
    assert PATIENT not in done.output
    assert done.exit_code == 1


@pytest.mark.parametrize("words", [["send", "--no-such"], ["no-such"], ["completion", "tcsh"]])
def test_a_wrong_command_line_is_a_usage_error(words: list[str]) -> None:
    """What cannot be parsed ends in 2, and says where help is; with --json as an object."""
    done = CliRunner().invoke(cli.cli, words, prog_name="medshare")
    assert done.exit_code == 2
    assert "--help" in done.stderr.splitlines()[-1]
    for_programs = CliRunner().invoke(cli.cli, [*words, "--json"], prog_name="medshare")
    assert for_programs.exit_code == 2
    assert json.loads(for_programs.stdout)["code"] == "usage"


def test_no_command_at_all_shows_the_help() -> None:
    """Bare `medshare` prints the help to stderr and ends in 2."""
    done = CliRunner().invoke(cli.cli, [], prog_name="medshare")
    assert done.exit_code == 2
    assert done.stderr.startswith("Usage: medshare")


@pytest.mark.parametrize("entry", cli.COMMANDS, ids=lambda entry: entry.name)
def test_every_command_teaches(entry: cli.Entry) -> None:
    """Each command of the table exists, and its help has examples."""
    done = CliRunner().invoke(cli.cli, [entry.name, "--help"], prog_name="medshare")
    assert done.exit_code == 0, done.output
    assert f"Usage: medshare {entry.name}" in done.output
    assert "Example" in done.output


def test_the_help_lists_every_command() -> None:
    """`medshare --help` has a line for each command."""
    lines = CliRunner().invoke(cli.cli, ["--help"], prog_name="medshare").output.splitlines()
    for entry in cli.COMMANDS:
        assert any(line.split()[:1] == [entry.name] for line in lines), entry.name


def medshare(*words: str, **more: str) -> subprocess.Popen[bytes]:
    """Start the real program."""
    return subprocess.Popen(
        [sys.executable, "-m", "medshare", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_reader_that_goes_away_is_no_fault() -> None:
    """When stdout is closed the program ends in silence."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "medshare", "completion", "bash"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert process.communicate()[1] == b""
    assert process.returncode == cli.OUTPUT_GONE


def test_a_shell_learns_the_commands() -> None:
    """The completion protocol answers with the commands that begin as typed."""
    process = medshare(
        _MEDSHARE_COMPLETE="bash_complete", COMP_WORDS="medshare rec", COMP_CWORD="1"
    )
    out, err = process.communicate()
    assert err == b""
    assert out.split() == [b"plain,receive", b"plain,receipt"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_program(shell: str) -> None:
    """Each script calls medshare back through the variable that it defines."""
    done = CliRunner().invoke(cli.cli, ["completion", shell], prog_name="medshare")
    assert done.exit_code == 0
    assert f"_MEDSHARE_COMPLETE={shell}_complete" in done.output


def test_the_version_is_the_one_of_the_package() -> None:
    """`medshare --version` and pyproject.toml agree."""
    done = CliRunner().invoke(cli.cli, ["--version"], prog_name="medshare")
    assert f'version = "{done.output.split()[1]}"' in (ROOT / "pyproject.toml").read_text()
