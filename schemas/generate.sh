#!/usr/bin/env bash
# Writes the Python that flatc makes from the schemas. Usage: schemas/generate.sh [OUTPUT_DIR]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/generated}
command -v flatc >/dev/null || { echo "flatc is missing: install the package flatbuffers-compiler" >&2; exit 1; }
mkdir -p "$out"
cd "$here"
flatc --python --gen-onefile -o "$out" client.fbs server.fbs
printf '"""Made by `make schemas` from the .fbs files; never edited."""\n' >"$out/__init__.py"
