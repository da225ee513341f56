#!/bin/sh
exec python3 "$(dirname -- "$0")/preset.py" retouch_few "$@"
