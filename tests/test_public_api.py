"""`import medshare`: what is there, and what it costs."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import medshare

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "medshare" / "__init__.py"


def names_for_type_checkers() -> dict[str, str]:
    """Name and module of each import below `if TYPE_CHECKING`."""
    block = next(
        node
        for node in ast.parse(SOURCE.read_bytes()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def test_the_list_of_names_is_sorted_and_complete() -> None:
    """`__all__` is sorted, without repetition, and is all that is public."""
    names = medshare.__all__
    constants = sorted(name for name in names if name.isupper())
    types = sorted(name for name in names if name[0].isupper() and name not in constants)
    functions = sorted(name for name in names if not name[0].isupper())
    assert names == [*constants, *types, *functions]
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(medshare))


@pytest.mark.parametrize("name", medshare.__all__)
def test_every_name_is_there(name: str) -> None:
    """Each public name can be used, and is documented where it is a thing of ours."""
    value = getattr(medshare, name)
    assert value is not None
    if callable(value):
        assert value.__doc__


def test_checkers_and_interpreter_see_the_same() -> None:
    """The imports for type checkers name the very objects that the interpreter finds."""
    for name, module in names_for_type_checkers().items():
        place = importlib.import_module(f"{module}.{name}" if name == "errors" else module)
        assert getattr(medshare, name) is (place if name == "errors" else getattr(place, name))
    own = {"FORMAT", "__version__"}
    assert names_for_type_checkers().keys() == set(medshare.__all__) - own


def test_an_unknown_name_is_an_attribute_error() -> None:
    """What is not there says so as any module does."""
    with pytest.raises(AttributeError, match="no attribute 'sendd'"):
        medshare.sendd  # type: ignore[attr-defined]  # noqa: B018  # the point of the test
    assert not hasattr(medshare, "annotations")


def test_a_star_import_brings_the_public_names() -> None:
    """`from medshare import *` works, lazily exported or not."""
    namespace: dict[str, object] = {}
    exec("from medshare import *", namespace)
    assert set(medshare.__all__) <= namespace.keys()


def test_the_version_is_stated_once_more_in_the_project() -> None:
    """`__version__` and pyproject.toml agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert medshare.__version__ == project["version"]


def test_the_format_is_the_one_that_is_written() -> None:
    """`FORMAT` is the prefix of every label that is signed."""
    from medshare import envelope, receipt, seal

    for module in (envelope, receipt, seal):
        assert module.LABEL.startswith(f"{medshare.FORMAT} ")


@pytest.mark.parametrize("name", ["send", "RelayTransport", "Station"])
def test_a_name_is_imported_alone(name: str) -> None:
    """A fresh interpreter finds a name without anything having been imported before."""
    program = f"import medshare; print(medshare.{name}.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == name
