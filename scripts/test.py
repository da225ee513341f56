"""Run the linters and the tests in the project's own environment.

    python3 scripts/test.py           linters, types, and the tests not marked slow
    python3 scripts/test.py --slow    the tests marked slow

Arguments for pytest may follow, for instance: tests/unit -k schedule. Paths are relative to the
project's folder. Exits with pytest's status, or with 1 if only a linter failed.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import environment
from util.errors import exit_status

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    slow = "--slow" in arguments
    start_s = time.monotonic()
    requirements = ["requirements-test.txt", *["requirements-docs.txt"] * slow]
    python = environment.ensure(ROOT, requirements)
    summary = [f"environment  ok          {time.monotonic() - start_s:6.1f} s"]

    linters = {
        "ruff check": ["ruff", "check"],
        "ruff format": ["ruff", "format", "--check"],
        "mypy": ["mypy"],
    }
    # If a flag is given twice, pytest uses the last one.
    chosen = ["-n", "2", "-m", "slow" if slow else "not slow"]
    chosen += [word for word in arguments if word != "--slow"]
    stages = {**({} if slow else linters), "pytest": ["pytest", *chosen]}
    # One thread each, since pytest's workers already fill the cores.
    one_thread = {"OMP_NUM_THREADS": "1", **os.environ}
    statuses = []
    for name, command in stages.items():
        print(f"\n== {shlex.join(command)}", flush=True)
        start_s = time.monotonic()
        status = subprocess.run([python, "-m", *command], cwd=ROOT, env=one_thread).returncode
        verdict = f"FAILED ({status})" if status else "ok"
        summary.append(f"{name:<12} {verdict:<11} {time.monotonic() - start_s:6.1f} s")
        statuses.append(status)

    print("\n== summary", *summary, sep="\n", flush=True)
    return statuses[-1] or int(any(statuses))


if __name__ == "__main__":
    sys.exit(exit_status("scripts/test.py", lambda: main(sys.argv[1:])))
