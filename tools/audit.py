"""Looks up published faults (CVE, GHSA, PYSEC) of every package in .venv, with pip-audit.

Ends with 0 when none is known, 1 when one is, and 3 when not one package could be looked up, as
without a network.  pip-audit gets an environment of its own, so that what it needs is not taken for
a part of medshare.
"""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any, Final

TOOL: Final = Path(sys.prefix) / "audit"
WANTED: Final = "pip-audit>=2.10,<3"
FOUND, NOT_LOOKED_UP = 1, 3
PATIENCE: Final = 300  # seconds, so that a network that only listens does not hold everything up


def install() -> bool:
    """Let pip-audit be in `TOOL`; return whether it is."""
    program = TOOL / "bin/pip-audit"
    if not program.exists():
        venv.create(TOOL, with_pip=True)
        words = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", WANTED]
        subprocess.run([TOOL / "bin/python", *words], check=False, timeout=PATIENCE)
    return program.exists()


def look_up() -> list[dict[str, Any]]:
    """Return what pip-audit says of each package in this environment."""
    place = sysconfig.get_path("purelib")
    words = ["--path", place, "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    done = subprocess.run(
        [TOOL / "bin/pip-audit", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"] if done.stdout else []
    return found


def main() -> int:
    """Print what was found; return the exit code."""
    try:
        packages = look_up() if install() else []
    except subprocess.TimeoutExpired:
        packages = []
    known = [one for one in packages if "vulns" in one]
    faults = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {fault['fix_versions']}"
        for one in known
        for fault in one["vulns"]
    ]
    print(f"{len(known)} of {len(packages)} packages looked up, {len(faults)} known faults")
    for fault in faults:
        print(f"  {fault}")
    if faults:
        return FOUND
    return 0 if known else NOT_LOOKED_UP


if __name__ == "__main__":
    sys.exit(main())
