#!/usr/bin/env bash
# Build the environment of the engine lane: the project, its test tools, and Unsloth in its CPU mode.
#
#   tests/engines/make_env.sh FOLDER && FOLDER/bin/python -m pytest tests/engines -m engine
set -euo pipefail
folder=${1:?usage: make_env.sh FOLDER}
root=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet -e "$root[test]"
"$folder/bin/pip" install --quiet --no-deps -r "$root/tests/engines/unsloth.txt"
