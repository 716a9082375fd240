"""Writes schemas/scenarios."""

from __future__ import annotations

from tests.scenarios.files import FOLDER, created_files

if __name__ == "__main__":
    files = created_files()
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (FOLDER / name).write_bytes(data)
        print(f"{FOLDER.name}/{name}: {len(data)} bytes")
