"""Run commands on the pretended device, all in one process.

Reads a JSON list of lines, each a command with its flags, where --device cuda is the pretended one:

    steps        six steps of a training run
    train.py     a program; also test.py
    python       a line of Python, about `x`, two numbers on the device

and writes, for each, {"error": "" or what went wrong, "waits": of `pretended`}.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
import traceback

import pretended
import torch
from runs import take_steps

import data
import models
import train
from options.train_options import TrainOptions
from util import runtime
from util.speed.process import begin

STEPS = 6


def steps(line: list[str]) -> None:
    """Take six steps, and forget the waits before."""
    opt = TrainOptions(models.registry, data.registry).parse(line)
    begin(opt)
    run = train.build(opt)
    pretended.waits.clear()
    take_steps(run, STEPS)


def program(script: str, line: list[str]) -> None:
    sys.argv = [script, *line]
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(pretended.ROOT / script), run_name="__main__")
    if runtime.status:
        raise RuntimeError(f"status {runtime.status}")


def python(code: str) -> None:
    x = torch.ones(2, device=pretended.NAME)
    exec(code, {"torch": torch, "x": x})


def main() -> None:
    torch.set_num_threads(1)
    pretended.register()
    results = []
    for command in json.load(sys.stdin):
        what, _, rest = command.partition(" ")
        said, error = io.StringIO(), ""
        pretended.waits.clear()
        with pretended.Device(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                if what == "steps":
                    steps(rest.split())
                elif what == "python":
                    python(rest)
                else:
                    program(what, rest.split())
            except Exception:
                error = f"{command}\n{said.getvalue()}\n{traceback.format_exc()}"
        results.append({"error": error, "waits": [*pretended.waits]})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
