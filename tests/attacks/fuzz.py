"""Feeds every decoder with damaged input: only refusals of a documented kind may come out.

    python -m tests.attacks.fuzz --seconds 60 [--target NAME …] [--seed N]

The damage is at random from the seed that is printed.  Where atheris is installed, half of
the time goes to its runs, one process a target, which are guided by coverage.  The last line
says how many inputs each decoder was given; reports/fuzz.json holds the same, and what broke.
"""

import argparse
import importlib
import importlib.util
import json
import os
import random
import re
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from medshare.errors import MedshareError
from tests.attacks.mutate import MAX_SIZE, mutated

MAX_CPU_SECONDS = 4.0
"""What one input may cost, in processor time: a busy machine does not count."""
MAX_GROWTH_KIB = 96 * 1024
"""By how much the largest memory of the process may grow while one decoder is fed."""
_MAX_FINDINGS = 10
_LEAST_SHARE = 6.0  # seconds
_REPORT = Path("reports/fuzz.json")


@dataclass(frozen=True)
class Target:
    """One decoder, examples of what it reads, and the errors that it documents."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[MedshareError], ...]


@dataclass
class Outcome:
    """What became of the inputs of one target."""

    target: str
    executions: int = 0
    guided: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)

    def as_record(self) -> dict[str, object]:
        """Return what goes into the report."""
        return {
            "target": self.target,
            "executions": self.executions,
            "guided": self.guided,
            "answers": dict(sorted(self.answers.items())),
            "findings": self.findings,
        }


class TooSlowError(BaseException):
    """One input took too long; not an Exception, so that no decoder catches it."""


@contextmanager
def _limited_time() -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _within_time(target: Target, data: bytes) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_SECONDS)
    try:
        target.read(data)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def judge(target: Target, data: bytes) -> tuple[str, str]:
    """Return the answer of the decoder to *data*, and what is wrong with it, if anything."""
    before = _peak_kib()
    try:
        _within_time(target, data)
    except target.refusals as error:
        answer, fault = error.code, ""
    except MedshareError as error:
        answer = error.code
        fault = f"refused as {type(error).__name__}, which is not documented"
    except TooSlowError:
        answer, fault = "-", f"took more than {MAX_CPU_SECONDS} s"
    except Exception as error:  # noqa: BLE001  # that nothing else comes out is what is tried
        answer, fault = "-", f"{type(error).__name__}: {error}"
    else:
        answer, fault = "accepted", ""
    if not fault and _peak_kib() - before > MAX_GROWTH_KIB:
        fault = f"took more than {MAX_GROWTH_KIB} KiB of memory"
    return answer, fault


def fuzz(
    target: Target, rng: random.Random, *, executions: int | None = None, seconds: float = 0
) -> Outcome:
    """Feed *target* so many damaged inputs, or for so many seconds; stop after ten findings."""
    outcome = Outcome(target.name)
    corpus = list(target.seeds)
    known: set[str] = set()
    end = time.monotonic() + seconds
    with _limited_time():
        while len(outcome.findings) < _MAX_FINDINGS:
            done = outcome.executions
            if done >= executions if executions is not None else time.monotonic() >= end:
                break
            data = corpus[done] if done < len(target.seeds) else _next(corpus, rng)
            answer, fault = judge(target, data)
            outcome.executions += 1
            outcome.answers[answer] += 1
            if fault:
                outcome.findings.append({"fault": fault, "input": data.hex()})
            elif answer not in known:  # an answer not heard before: worth damaging further
                known.add(answer)
                corpus.append(data)
    return outcome


def _next(corpus: Sequence[bytes], rng: random.Random) -> bytes:
    return mutated(rng.choice(corpus), rng, rng.choice(corpus))


def guided(name: str, seconds: int, seed: int) -> None:
    """Let atheris feed a target and end the process, at once when something broke."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["medshare"]):
        from tests.attacks.fuzz_targets import all_targets
    target = next(one for one in all_targets() if one.name == name)

    def one(data: bytes) -> None:
        _, fault = judge(target, data)
        if fault:
            raise AssertionError(f"{fault}: {data.hex()}")

    def damaged(data: bytes, max_size: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return _next((data, *target.seeds), rng)[:max_size]

    signal.signal(signal.SIGVTALRM, lambda *_: (_ for _ in ()).throw(TooSlowError()))
    options = (f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_SIZE}")
    atheris.Setup(["fuzz", *options, "-print_final_stats=1"], one, custom_mutator=damaged)
    atheris.Fuzz()


def _run_guided(target: Target, seconds: int, seed: int, outcome: Outcome) -> None:
    words = ("--guided", "--target", target.name, "--seconds", str(seconds), "--seed", str(seed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.fuzz", *words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 120,
        check=False,
    )
    found = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    outcome.guided = int(found[1]) if found else 0
    if done.returncode or not found:
        fault = re.search(r"AssertionError: ([^:]*(?:: [^:]*)?): ([0-9a-f]*)\n", done.stderr)
        said = {"fault": fault[1], "input": fault[2]} if fault else {"fault": done.stderr[-2000:]}
        outcome.findings.append(said)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", action="append")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(outcome: Outcome) -> None:
    broken = f"  {len(outcome.findings)} BROKEN" if outcome.findings else ""
    _say(f"{outcome.target:28} {outcome.executions:9} {outcome.guided:9} guided{broken}")
    for finding in outcome.findings:
        _say(f"    {finding['fault'][:200]}  {finding.get('input', '')[:200]}")


@contextmanager
def _silenced() -> Iterator[None]:
    """Drop what libraries in C write to standard error about each signature that is not good."""
    before = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def main(words: Sequence[str] | None = None) -> int:
    """Feed all targets, print a table, write the report; return 1 when something broke."""
    asked = _arguments(words)
    if asked.guided:
        guided(asked.target[0], int(asked.seconds), asked.seed)
    from tests.attacks.fuzz_targets import all_targets

    targets = [one for one in all_targets() if not asked.target or one.name in asked.target]
    share = asked.seconds / len(targets)
    # A process of its own needs seconds to begin; a small share is better spent here.
    guides = importlib.util.find_spec("atheris") is not None and share >= _LEAST_SHARE
    spent = int(share / 2) if guides else 0
    outcomes = []
    _say(f"fuzzing {len(targets)} decoders for {asked.seconds:.0f} s, seed {asked.seed}")
    for target in targets:
        with _silenced():
            outcome = fuzz(target, random.Random(asked.seed), seconds=share - spent)
        if spent:
            _run_guided(target, spent, asked.seed, outcome)
        outcomes.append(outcome)
        _show(outcome)
    _REPORT.parent.mkdir(exist_ok=True)
    report = {"seed": asked.seed, "seconds": asked.seconds, "atheris": guides}
    records = [outcome.as_record() for outcome in outcomes]
    _REPORT.write_text(json.dumps({**report, "targets": records}, indent=1), encoding="utf-8")
    total = sum(one.executions + one.guided for one in outcomes)
    broken = sum(bool(one.findings) for one in outcomes)
    _say(f"{total} executions; {broken} of {len(targets)} decoders broken; see {_REPORT}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
