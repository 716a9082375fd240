"""`make release` packages the chart, pushes it, and signs what was pushed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = f"sha256:{'5' * 64}"
REGISTRY = "registry.example.test/charts"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def release(tmp_path: Path, *arguments: str, digest: str = DIGEST) -> tuple[int, list[str]]:
    """Run the target with programs that only write down their arguments; return the exit code and these lines."""
    said = tmp_path / "said"
    said.touch()
    for name in ("helm", "cosign"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {said}\n[ "$1" = push ] && echo "Digest: {digest}" >&2\nexit 0\n'
        )
        program.chmod(0o755)
    for file in ("Makefile", "helm"):
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / file).symlink_to(ROOT / file)
    done = subprocess.run(
        ["make", "release", *arguments],
        cwd=tmp_path / "tree",
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, said.read_text().splitlines()


def test_a_release_is_linted_packaged_pushed_and_signed_by_its_digest(tmp_path: Path) -> None:
    code, said = release(tmp_path, f"REGISTRY={REGISTRY}", "COSIGN_KEY=cosign.key")
    assert code == 0
    assert [line.split()[:2] for line in said] == [
        ["helm", "lint"],
        ["helm", "package"],
        ["helm", "push"],
        ["cosign", "sign"],
    ]
    assert said[2].endswith(f"oci://{REGISTRY}")
    assert said[3] == f"cosign sign --yes --key cosign.key {REGISTRY}/tickwire@{DIGEST}"


def test_push_without_a_digest_is_not_signed(tmp_path: Path) -> None:
    code, said = release(tmp_path, f"REGISTRY={REGISTRY}", digest="")
    assert code != 0
    assert not any(line.startswith("cosign") for line in said)


def test_without_a_registry_nothing_is_packaged(tmp_path: Path) -> None:
    code, said = release(tmp_path)
    assert code != 0
    assert said == []
