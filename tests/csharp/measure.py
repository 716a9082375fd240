"""How long does the C# client take to decode a tick of 50 and of 1,000 moving entities?

`python -m tests.csharp.measure` compiles the client and prints a line for each.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.decode import frames
from tests.csharp.conftest import build, run

SIZES = (50, 1000)


def decode(program: Path, folder: Path, work: dict[str, Any]) -> dict[str, Any]:
    """Return what the program measures for a description and its frames."""
    path = folder / "work.json"
    path.write_text(json.dumps({name: work[name] for name in ("description", "frames")}))
    done = run(program, "decode-times", str(path))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        program = build(Path(name))
        for entities in SIZES:
            work = frames(400, entities)
            sizes = [len(frame) // 2 for frame in work["frames"][1:]]
            found = decode(program, Path(name), work)
            print(json.dumps({"entities": entities, "frame_bytes": round(sum(sizes) / len(sizes)), **found}))


if __name__ == "__main__":
    main()
