#!/bin/sh
exec python3 "$(dirname -- "$0")/download_pix2pix_dataset.py" "$@"
