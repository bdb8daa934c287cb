"""What README.md and the examples in `--help` tell people to type can be typed."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medshare import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TORN = re.compile(r"[\w-]-$")
PROMPT = re.compile(r"^\s*(?:\w*\$ |\w+=\S+ )*(medshare .*)$")


def commands_in(text: str) -> Iterator[str]:
    """Each line of a text that starts medshare, after a prompt or an assignment."""
    for line in text.replace(" \\\n", " ").splitlines():
        found = PROMPT.match(line)
        if found:
            yield found[1].split(" > ")[0].split(" | ")[0]


def walk(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*path, name))


COMMANDS = dict(walk(cli.cli))
EXAMPLES = sorted(
    {line for command in COMMANDS.values() for line in commands_in(command.epilog or "")}
    | {
        line
        for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
        for line in commands_in(block)
    }
    | {line[1:-1] for line in re.findall(r"`medshare [^`]+`", README)}
)


def test_there_are_examples() -> None:
    """The search above finds what it looks for."""
    assert len(EXAMPLES) > 40


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_can_be_typed(line: str) -> None:
    """Its command exists, takes these options, and has its arguments; nothing is run."""
    words = shlex.split(line.replace("…", ""), comments=True)[1:]
    command: click.Command = cli.cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(click.Context(command), words.pop(0))
        assert below is not None, line
        command = below
    if isinstance(command, click.Group):
        assert words in ([], ["--help"], ["--version"]), line
        return
    command.make_context(line, words, resilient_parsing="--help" in words)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_a_command_says_what_it_does(path: tuple[str, ...]) -> None:
    """Every command has a help text that is a sentence, and every option its own."""
    command = COMMANDS[path]
    assert (command.help or "").split("\n")[0].endswith(".")
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert all(one.help for one in options), path


@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(path: tuple[str, ...]) -> None:
    """No line of a help page is wider, and no example is torn by the terminal."""
    done = CliRunner().invoke(cli.cli, [*path, "--help"], prog_name="medshare", terminal_width=80)
    assert done.exit_code == 0
    assert [line for line in done.output.splitlines() if len(line) > 80] == []
    assert [line for line in done.output.splitlines() if TORN.search(line)] == []


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_a_link_leads_somewhere(link: str) -> None:
    """Each relative link of the README is to a file or folder of the project."""
    assert (ROOT / link).exists()


def test_the_python_example_is_python() -> None:
    """The example for Python parses, and uses public names alone."""
    import medshare

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    used = {
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "medshare"
    }
    assert used <= set(medshare.__all__)
    assert used


def test_every_variable_is_explained() -> None:
    """The README names each environment variable that the settings read."""
    config = (ROOT / "src" / "medshare" / "config.py").read_text(encoding="utf-8")
    read = set(re.findall(r'environ\.get\("(\w+)"', config)) - {"HOME"}
    assert len(read) >= 4
    assert all(f"`{name}`" in README for name in read)
