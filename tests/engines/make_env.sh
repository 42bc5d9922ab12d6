#!/usr/bin/env bash
# Build the environment of an engine on a machine without a GPU: the project, its test tools, and the engine's own list.
# Each has one of its own, since TRL imports vLLM wherever it is installed, and Unsloth changes both.
#
#   tests/engines/make_env.sh vllm FOLDER && FOLDER/bin/python -m pytest tests/engines -m engine
set -euo pipefail
usage="usage: make_env.sh unsloth|vllm|unsloth-vllm FOLDER"
engine=${1:?$usage} folder=${2:?$usage}
root=$(cd "$(dirname "$0")/../.." && pwd)
list=$root/tests/engines/$engine.txt
[ -f "$list" ] || { echo "$usage" >&2; exit 2; }
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet -e "$root[test]"
"$folder/bin/pip" install --quiet --no-deps -r "$list"
