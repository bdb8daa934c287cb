#!/bin/sh
# Afterwards .venv holds medshare (editable) and its development tools, as pyproject.toml asks.
# A second run compares one checksum and needs no network.  PYTHON=… chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/installed-for
# Settings of ruff, mypy and pytest stand below the dashed line and install nothing.  The place
# counts because scripts in .venv carry it.
wanted="$(sed '/^# -----/,$d' pyproject.toml | cksum) $(pwd)"
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

chosen=
incomplete=
if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.14 python3.13 python3.12 python3.11
fi
for candidate in "$@"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
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
    echo "medshare: on Debian or Ubuntu: sudo apt-get install python$version-venv" >&2
    exit 1
elif [ -z "$chosen" ]; then
    echo "medshare: no Python 3.11 or newer found (looked for: $*)" >&2
    echo "medshare: on Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2
    exit 1
fi

echo "medshare: preparing .venv with $("$chosen" --version) (about a minute)" >&2
rm -f "$stamp"
# --clear: a half-made environment, or one of a Python that is gone, is not worth mending.
"$chosen" -m venv --clear .venv
PIP_DISABLE_PIP_VERSION_CHECK=1 \
    .venv/bin/python -m pip install --quiet --no-input --editable '.[dev]'
printf '%s\n' "$wanted" >"$stamp"
