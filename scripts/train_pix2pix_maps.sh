#!/bin/sh
exec python3 "$(dirname -- "$0")/preset.py" train_pix2pix_maps "$@"
