#!/bin/sh
exec python3 "$(dirname -- "$0")/preset.py" horse2zebra_cut "$@"
