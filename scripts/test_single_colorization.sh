#!/bin/sh
exec python3 "$(dirname -- "$0")/preset.py" test_single_colorization "$@"
