#!/usr/bin/env bash
# Writes the Python and the TypeScript that flatc makes from the schemas.
# Usage: schemas/generate.sh [PYTHON_DIR TYPESCRIPT_DIR]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${1:-$here/generated}
typescript=${2:-$here/../web/sdk/src/generated}
command -v flatc >/dev/null || { echo "flatc is missing: install the package flatbuffers-compiler" >&2; exit 1; }
mkdir -p "$python" "$typescript"
cd "$here"
flatc --python --gen-onefile -o "$python" client.fbs server.fbs
# shellcheck disable=SC2016 # the backticks are Python's
printf '"""Made by `make schemas` from the .fbs files; never edited."""\n' >"$python/__init__.py"
flatc --ts -o "$typescript" client.fbs server.fbs
rm -f "$typescript"/*_generated.ts # they only name what is in tickwire/
