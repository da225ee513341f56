"""Set everything up, train pix2pix on the bundled portraits, test it, and say where to look.

    python3 scripts/demo.py

The page of its results opens in the browser, where there is a display. Needs only Python: the first
run creates .venv and installs what is missing. The network learns to undo a portrait retouch from
three pairs, which it memorises. Then it is tried on these, and on a face that it has never seen.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

import environment
from util.errors import exit_status
from util.show.browser import has_display

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "checkpoints" / "demo_portrait_retouch"
RESULTS = ROOT / "results" / RUN.name
LAMBDA_L1 = 1000.0
ACTIVATE = r".venv\Scripts\activate" if os.name == "nt" else "source .venv/bin/activate"

# Half the usual width at 256 px takes two CPU cores two minutes. Of the preset retouch_few this has
# --residual and --lambda_L1 alone, and no dropout and flips: here the network is to memorise three
# pairs, and what augments pictures or helps the discriminator teaches for other faces.
MODEL = f"--dataroot datasets/portrait_retouch --name {RUN.name} --model pix2pix".split()
MODEL += "--load_size 256 --crop_size 256 --num_threads 2".split()
TRAINING = "--ngf 32 --ndf 16 --residual --no_dropout --no_flip --lr 0.001".split()
TRAINING += f"--lambda_L1 {LAMBDA_L1}".split()
TRAINING += "--n_epochs 80 --n_epochs_decay 80 --save_epoch_freq 1000 --seed 1".split()
TRAINING += "--print_freq 6 --update_html_freq 60".split()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no_browser", action="store_true", help="open no browser")
    own = parser.parse_args()
    try:
        python = environment.ensure(ROOT, ["requirements.txt"])
    except KeyboardInterrupt:
        early_end()
        return 130
    for old in (RUN, RESULTS):
        shutil.rmtree(old, ignore_errors=True)
    start_s = time.monotonic()
    print("\n1/3 Training: the input is a retouched portrait, the target the original.", flush=True)
    run(python, ["train.py", *MODEL, *TRAINING])
    print("\n2/3 Testing: the pictures it was trained on.", flush=True)
    run(python, ["test.py", *MODEL, "--phase", "train"])
    print("\n3/3 Testing: a face it has never seen.", flush=True)
    run(python, ["test.py", *MODEL, "--phase", "test"])

    print(f"\nDone in {time.monotonic() - start_s:.0f} s.")
    print(summary(l1_of_training(), l1_of_results("train"), l1_of_results("test")))
    known = (RESULTS / "train_latest" / "index.html").as_uri()
    opens = not own.no_browser and has_display()
    print(
        f"""{"The first opens now" if opens else "Open in a browser"}:
    known faces  {known}
    a new face   {(RESULTS / "test_latest" / "index.html").as_uri()}
    training     {(RUN / "web" / "index.html").as_uri()}
{next_steps()}""",
        flush=True,
    )
    if opens:
        webbrowser.open(known)
    return 0


def next_steps() -> str:
    """What to type after the demo."""
    return f"""Next, try this network on a photograph, or train one on your own pairs: each input in
my_data/trainA, and its target, under the same name, in my_data/trainB:
    {ACTIVATE}
    python scripts/try_it.py --name {RUN.name}
    python scripts/check_pairs.py --dataroot my_data
    python train.py --dataroot my_data --name my_run --model pix2pix
docs/first_hour.md explains each step (in Korean: docs/first_hour.ko.md)."""


def early_end() -> None:
    print("The demo has ended early; the same command begins it anew.", flush=True)
    print(f"Before commands that begin with python, type {ACTIVATE}", flush=True)


def summary(
    training: tuple[float, float], known: tuple[float, float], new: tuple[float, float]
) -> str:
    """What the figures say: those at the start and the end, and of results and doing nothing."""

    def judged(own: float, nothing: float) -> str:
        is_better = "better" if own < nothing else "no better"
        return f"{own:6.1f}, {is_better} than doing nothing ({nothing:.1f})"

    text = f"""Mean difference between generated and original pictures (L1), of 255 grey levels:
    at the start of the training {training[0]:6.1f}
    at its end                   {training[1]:6.1f}
    tested on the three pairs    {judged(*known)}
    tested on a new face         {judged(*new)}
"Doing nothing" is what the retouched picture itself scores."""
    if new[0] >= new[1]:
        text += (
            "\nThree pairs teach these three faces; for others it needs more pairs, and flags for"
            "\nfew (docs/few_pairs.md)."
        )
    return text


def run(python: Path, command: list[str]) -> None:
    """Print and run a command in the environment; ends with it if it fails or is stopped."""
    print("    python " + " ".join(command), flush=True)
    # The command handles Ctrl-C, which the terminal sends to both; we wait until it has saved.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    status = subprocess.run([python, *command], cwd=ROOT).returncode
    signal.signal(signal.SIGINT, before)
    if status:
        early_end()
        sys.exit(status if status > 0 else 128 - status)  # by a signal


def l1_of_training() -> tuple[float, float]:
    """Mean L1, in grey levels (0 to 255), of the first three and the last three logged losses."""
    lines = (RUN / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["losses"]["G_L1"] / LAMBDA_L1 * 127.5 for line in lines]
    return sum(losses[:3]) / 3, sum(losses[-3:]) / 3


def l1_of_results(phase: str) -> tuple[float, float]:
    """Mean L1 of the results of a phase and of doing nothing, from the data of their page."""
    found: dict[str, list[float]] = {"result": [], "nothing": []}
    data = RESULTS / f"{phase}_latest" / "data" / "0001.js"
    for line in data.read_text(encoding="utf-8").splitlines():  # as page.result("hopper", ...);
        kind, _, values = line[len("page.") : -len(");")].partition("(")
        if kind in found:
            found[kind].append(json.loads(f"[{values}]")[-1]["L1"])
    results, nothing = (sum(values) / len(values) for values in found.values())
    return results, nothing


if __name__ == "__main__":
    sys.exit(exit_status("scripts/demo.py", main))
