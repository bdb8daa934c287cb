"""The rules of the house that a type checker does not see; `make lint` has the import contracts."""

import ast
import graphlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {c["id"]: c for c in PYPROJECT["tool"]["importlinter"]["contracts"]}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 35
# "module:function" -> why it may be longer.
LONG_FUNCTIONS: dict[str, str] = {}

# What a module that does no I/O has no use for.  The operating system's generator of random
# bytes is the exception: it has no state that a test would need to set.  So is what frees a lock
# in a child process.
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "__import__"}
IMPURE_ATTRIBUTES = {
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
    "os": None,
    "time": None,
    "urllib": {"request"},
    "urllib.request": None,
}
PURE_ATTRIBUTES = {("os", "urandom"), ("os", "register_at_fork"), ("time", "struct_time")}
PURE_PATHS = {"PurePath", "PurePosixPath", "PureWindowsPath"}

# 0.15 s for `medshare --help` leave no room for these.
HEAVY = {
    "asyncio",
    "blake3",
    "cbor2",
    "cryptography",
    "granian",
    "httpx",
    "keyring",
    "numpy",
    "pkcs11",
    "pydicom",
    "rich",
    "shamir_mnemonic",
    "sqlite3",
    "ssl",
    "zstandard",
}


def python_files(*folders: str) -> list[Path]:
    """Every Python file below the folders, which must not be empty."""
    found = sorted(f for folder in folders for f in (ROOT / folder).rglob("*.py"))
    assert found
    return found


def path_name(file: Path) -> str:
    """How a test calls a file: its path below the root."""
    return str(file.relative_to(ROOT))


def module_name(file: Path) -> str:
    """The dotted name of a file below src."""
    parts = file.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_core(name: str) -> bool:
    """Say whether the contract that forbids I/O covers a module."""
    return any(f"{name}.".startswith(f"{s}.") for s in CONTRACTS["core"]["source_modules"])


CORE = [f for f in python_files("src") if is_core(module_name(f))]


@pytest.mark.parametrize("file", python_files("src", "tests", "benchmarks"), ids=path_name)
def test_a_file_can_be_read_in_one_sitting(file: Path) -> None:
    """No file has more than 400 lines."""
    lines = file.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES


@pytest.mark.parametrize("file", python_files("src", "benchmarks"), ids=path_name)
def test_a_function_fits_a_screen(file: Path) -> None:
    """No function has more than 35 lines, its decorators and docstring not counted."""
    sizes = {
        f"{file.stem}:{node.name}": body_lines(node)
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    too_long = {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES}
    assert too_long.keys() <= LONG_FUNCTIONS.keys(), too_long


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines from `def` to the end, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


@pytest.mark.parametrize("file", python_files("tests"), ids=path_name)
def test_every_test_states_its_property(file: Path) -> None:
    """Every test has a docstring of one line."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.FunctionDef)
        if node.name.startswith("test_")
        if len((ast.get_docstring(node) or "").splitlines()) != 1
    ]
    assert silent == []


def test_no_module_imports_itself_by_a_detour() -> None:
    """There is no cycle, not even hidden in a function or behind TYPE_CHECKING."""
    graph = grimp.build_graph("medshare", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()


def test_every_module_below_the_effects_is_held_to_purity() -> None:
    """A module that joins a lower floor joins the contract that forbids I/O as well."""
    floors = CONTRACTS["floors"]["layers"]
    below = floors[floors.index("(disk)") + 1 :]
    names = {name.strip(" ()") for layer in below for name in layer.split("|")}
    present = {name for name in names if (SRC / "medshare" / name).is_dir()}
    present |= {name for name in names if (SRC / "medshare" / f"{name}.py").is_file()}
    assert {f"medshare.{name}" for name in present} == set(CONTRACTS["core"]["source_modules"])


@pytest.mark.parametrize("file", CORE, ids=path_name)
def test_the_core_does_no_io(file: Path) -> None:
    """No core module opens, prints, asks the clock, or calls the operating system."""
    assert list(impurities(ast.parse(file.read_bytes()))) == []


def impurities(tree: ast.AST) -> Iterator[str]:
    """Each place where a syntax tree touches the world."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield f"line {node.lineno}: {name}()"
            case ast.Attribute(value=owner, attr=attribute):
                if is_impure(ast.unparse(owner).rpartition(".")[2], attribute):
                    yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    if is_impure(module, alias.name):
                        yield f"line {node.lineno}: from {module} import {alias.name}"


def is_impure(owner: str, attribute: str) -> bool:
    """Say whether `owner.attribute` reaches outside the process."""
    if owner == "pathlib":
        return attribute not in PURE_PATHS
    if owner not in IMPURE_ATTRIBUTES or (owner, attribute) in PURE_ATTRIBUTES:
        return False
    named = IMPURE_ATTRIBUTES[owner]
    return named is None or attribute in named


@pytest.mark.parametrize(
    "source",
    [
        "open('x')",
        "import os\nos.stat('x')",
        "from os import open as o",
        "from pathlib import Path",
        "import pathlib\npathlib.Path('x').read_bytes()",
        "import time\ntime.time()",
        "import urllib.request\nurllib.request.urlopen('x')",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import date\ndate.today()",
    ],
)
def test_impurity_is_noticed(source: str) -> None:
    """The check above sees each way in which a module could touch the world."""
    assert list(impurities(ast.parse(source)))


def loaded_by(program: str) -> set[str]:
    """The top-level modules, and those of medshare, that a program has loaded at its end."""
    report = "\nimport sys; print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program + report],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


HELP = """
import sys
from medshare.cli import main
sys.argv = ["medshare", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize("program", ["import medshare", HELP], ids=["import", "help"])
def test_start_is_light(program: str) -> None:
    """Neither `import medshare` nor `medshare --help` loads a heavy library."""
    assert loaded_by(program) & HEAVY == set()


def test_the_relay_never_loads_what_could_decrypt() -> None:
    """A process that imports every module of the relay holds no code that opens a parcel."""
    relay = [module_name(f) for f in python_files("src/medshare/relay")]
    loaded = loaded_by("".join(f"import {name}\n" for name in relay))
    assert loaded >= set(relay)
    assert {m for m in loaded if m.startswith(("medshare.sealing", "medshare.keys"))} == set()
    assert {m for m in loaded if m.startswith("medshare.codecs")} == set()
