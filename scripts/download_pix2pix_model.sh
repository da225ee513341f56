#!/bin/sh
exec python3 "$(dirname -- "$0")/../datasets/download.py" pix2pix_model "$@"
