#!/bin/sh
# Afterwards .venv holds medshare (editable) and its development tools, as pyproject.toml asks.
# A second run compares one checksum and needs no network.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/installed-for
# Settings of ruff, mypy and pytest stand below the dashed line and install nothing.
wanted=$(sed '/^# -----/,$d' pyproject.toml | cksum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

usable() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info)' >/dev/null 2>&1
}

chosen=
incomplete=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if usable "$candidate"; then
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            chosen=$candidate
            break
        fi
        incomplete=${incomplete:-$candidate}
    fi
done
if [ -z "$chosen" ] && [ -n "$incomplete" ]; then
    version=$("$incomplete" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "medshare: $incomplete cannot make virtual environments" >&2
    echo "medshare: on Debian or Ubuntu: sudo apt-get install python3-venv python$version-venv" >&2
    exit 1
elif [ -z "$chosen" ]; then
    echo "medshare: no Python 3.11 or newer found (looked for: ${PYTHON:-python3, python3.11 to python3.14})" >&2
    echo "medshare: on Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2
    exit 1
fi

echo "medshare: preparing .venv with $("$chosen" --version) (once; about a minute)" >&2
rm -f "$stamp"
# --clear: a half-made environment, or one of a Python that is gone, is not worth mending.
"$chosen" -m venv --clear .venv
export PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install --quiet --no-input --editable '.[dev]'
printf '%s\n' "$wanted" >"$stamp"
