"""Runs the linters and the whole test suite in the project's own environment.

    python3 scripts/test.py [arguments for pytest, for instance: tests/unit -k schedule]

Paths count from the project's folder. Ends with pytest's status, or with 1 if only a linter
complained.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import environment
from util.errors import exit_status

ROOT = Path(__file__).resolve().parent.parent


def main(pytest_arguments: list[str]) -> int:
    start_s = time.monotonic()
    python = environment.ensure(ROOT, ["requirements-test.txt"])
    summary = [f"environment  ok          {time.monotonic() - start_s:6.1f} s"]

    chooses_workers = any(word.startswith(("-n", "--numprocesses")) for word in pytest_arguments)
    workers = [] if chooses_workers else ["-n", "2"]
    stages = {
        "ruff check": ["ruff", "check"],
        "ruff format": ["ruff", "format", "--check"],
        "mypy": ["mypy"],
        "pytest": ["pytest", *workers, *pytest_arguments],
    }
    # One thread each: the workers of pytest already fill the cores.
    one_thread = {"OMP_NUM_THREADS": "1", **os.environ}
    statuses = []
    for name, command in stages.items():
        print(f"\n== {' '.join(command)}", flush=True)
        start_s = time.monotonic()
        status = subprocess.run([python, "-m", *command], cwd=ROOT, env=one_thread).returncode
        verdict = f"FAILED ({status})" if status else "ok"
        summary.append(f"{name:<12} {verdict:<11} {time.monotonic() - start_s:6.1f} s")
        statuses.append(status)

    print("\n== summary", *summary, sep="\n", flush=True)
    return statuses[-1] or int(any(statuses))


if __name__ == "__main__":
    sys.exit(exit_status("scripts/test.py", lambda: main(sys.argv[1:])))
