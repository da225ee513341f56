#!/bin/sh
# Prove the program on this machine's NVIDIA GPU, and measure it. One part at a time, each of which
# ends within nine minutes:
#
#     sh scripts/gpu_proof.sh PART [FOLDER]
#
#     numbers   the GPU computes what the processor computes; resuming, precisions, nccl
#     waits     no training step waits for the card
#     memory    what is allocated, at 256, 512 and 1024 px; running out ends in a line
#     ways256   scripts/benchmark.py --ways at 256 px     (ways1024: at 1024 px)
#     steps     scripts/benchmark.py, the rows of steps and loops
#     all       everything, one after the other
#
# Reports go to FOLDER, by default results/gpu_proof: one log for each part, JSON of all that was measured,
# with card, driver and versions. The packages of requirements-test.txt must be installed.
set -u
part=${1:-all}
case $part in
numbers | waits | memory | ways256 | ways1024 | steps | all) ;;
*)
    echo "scripts/gpu_proof.sh: there is no part $part; see the top of the file" >&2
    exit 2
    ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
folder=${2:-$root/results/gpu_proof}
mkdir -p "$folder" || exit 2
folder=$(cd "$folder" && pwd)
cd "$root" || exit 2
python=.venv/bin/python
[ -x "$python" ] || python=python3
if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "scripts/gpu_proof.sh: PyTorch sees no NVIDIA GPU here" >&2
    exit 2
fi

run() { # NAME COMMAND...: its output goes to a log, and its last lines are shown
    name=$1
    shift
    timeout 540 "$@" >"$folder/$name.log" 2>&1
    status=$?
    tail -n 3 "$folder/$name.log"
    echo "$name: exit status $status"
    [ "$status" = 0 ] || failed=1
}

tests() {
    run "$1" "$python" -m pytest -q -rA -m gpu "tests/gpu/$2"
}

ways() {
    run "ways$1" "$python" scripts/benchmark.py --device cuda --size "$1" --steps "$2" \
        --ways pix2pix cycle_gan --out "$folder/ways$1.json" "$folder/ways$1.md"
}

numbers() { tests numbers test_numbers.py; }
waits() { tests waits test_waits.py; }
memory() { tests memory test_memory.py; }
ways256() { ways 256 3; }
ways1024() { ways 1024 2; }
steps() {
    run steps "$python" scripts/benchmark.py --device cuda --steps 5 --out "$folder/steps.json" \
        "$folder/steps.md" --rows step_pix2pix step_cycle_gan loop_pix2pix loop_cycle_gan
}
all() {
    for each in numbers waits memory ways256 ways1024 steps; do
        "$each"
    done
}

failed=0
"$part"
exit "$failed"
