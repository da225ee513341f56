#!/bin/sh
exec python3 "$(dirname -- "$0")/download_cyclegan_dataset.py" "$@"
