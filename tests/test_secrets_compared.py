"""Secrets are compared in constant time by construction, and the rules on security are on."""

import ast
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECRETS = {"passphrase", "password", "pin", "secret", "seed", "mac", "hmac", "commitment"}
"""What a value is called, in the last word of its name, that nobody must find by timing."""


def _name(node: ast.expr) -> str:
    """The name of a value, or of the function that returns it."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _name(function)
    return ""


def comparisons(source: str) -> list[str]:
    """Each place where two values are compared by `==` of which one is called like a secret."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        plain = any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
        for side in (node.left, *node.comparators):
            telling = _name(side).lower().rpartition("_")[2] in SECRETS
            if plain and telling:
                found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    "source",
    ["if given == self._passphrase: pass", "x = stored.commitment != found", "get_password() == a"],
)
def test_a_careless_comparison_is_found(source: str) -> None:
    """The search finds a secret on either side, in a name, an attribute or a call."""
    assert comparisons(source)


def test_secrets_are_compared_by_compare_digest_alone() -> None:
    """No `==` on a passphrase, a seed, a commitment or the like, anywhere in the package."""
    found = {
        str(file.relative_to(ROOT)): places
        for file in sorted((ROOT / "src").rglob("*.py"))
        if (places := comparisons(file.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_signatures_tags_and_codes_are_compared_where_they_should_be() -> None:
    """The places that decide by a secret use `hmac.compare_digest`, so that they stay known."""
    holding = {
        file.name
        for file in (ROOT / "src").rglob("*.py")
        if "hmac.compare_digest(" in file.read_text(encoding="utf-8")
    }
    assert holding >= {"backup.py", "digest.py", "os_keyring.py", "pkcs11_session.py", "sealed.py"}


def test_the_rules_on_security_are_on() -> None:
    """Ruff checks the package for what bandit looks for, without an exception for a whole file."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in settings["select"]
    assert not [rule for rule in settings["ignore"] if rule.startswith("S") and rule[1:].isdigit()]
    for pattern, rules in settings["per-file-ignores"].items():
        assert not (pattern.startswith("src") and any(one[:1] == "S" for one in rules)), pattern


@pytest.mark.parametrize(
    ("package", "least", "fault"),
    [("pydicom", "3.0.2", "CVE-2026-32711"), ("h11", "0.16", "CVE-2025-43859")],
)
def test_versions_with_known_faults_are_excluded(package: str, least: str, fault: str) -> None:
    """The lower bound stands above the fault, and the fault beside it."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert any(f'"{package}>={least}' in line and fault in line for line in text.splitlines())


def test_an_own_bound_for_cryptography() -> None:
    """Everything before 46.0.7 has CVE-2026-39892; what we need of the library is newer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (bound,) = (one for one in project["dependencies"] if one.startswith("cryptography>="))
    major = int(Path(bound).name.removeprefix("cryptography>=").split(".")[0])
    assert major > 46
