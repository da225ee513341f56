#!/bin/sh
exec python3 "$(dirname -- "$0")/../datasets/download.py" cyclegan_model "$@"
