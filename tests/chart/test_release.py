"""`make release` packages, pushes and signs the chart. The programs of these tests only record their arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = f"sha256:{'5' * 64}"
REGISTRY = "registry.example.test/charts"
IMAGE = f"registry.example.test/game@sha256:{'6' * 64}"
TOOLS = ("bash", "dirname", "env", "make", "mkdir", "rm", "sed", "sh")
"""The only other programs that the target may use."""
PROGRAM = """#!/bin/sh
echo "{name} $*" >> {record}
[ "$1" = push ] || exit 0
echo "{output}" >&2
exit {code}
"""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@dataclass(frozen=True)
class Release:
    """A tree with the chart, and a PATH with programs that record their arguments.

    Args:
        folder: the folder of both.
        programs: the installed programs.
        push: the output and the exit code of `helm push`.
    """

    folder: Path
    programs: tuple[str, ...] = ("helm", "cosign")
    push: tuple[str, int] = (f"Digest: {DIGEST}", 0)
    record: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run the target; return its exit code and its output."""
        tree, path, record = (self.folder / name for name in ("tree", "path", "record"))
        tree.mkdir()
        path.mkdir()
        record.touch()
        shutil.copy(ROOT / "Makefile", tree)
        shutil.copytree(ROOT / "helm", tree / "helm")
        for name in TOOLS:
            (path / name).symlink_to(str(shutil.which(name)))
        for name in self.programs:
            output, code = self.push
            (path / name).write_text(PROGRAM.format(name=name, record=record, output=output, code=code))
            (path / name).chmod(0o755)
        done = subprocess.run(
            ["make", "release", *arguments],
            cwd=tree,
            env={"PATH": str(path), "HOME": os.environ.get("HOME", "/")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.record.extend(record.read_text().splitlines())
        return done.returncode, done.stdout


def test_release_is_linted_packaged_pushed_and_signed_by_its_digest(tmp_path: Path) -> None:
    key = tmp_path / "cosign.key"
    key.touch()
    release = Release(tmp_path)
    assert release.run(f"REGISTRY={REGISTRY}", f"COSIGN_KEY={key}")[0] == 0
    assert [line.split()[:2] for line in release.record] == [
        ["helm", "lint"],
        ["helm", "package"],
        ["helm", "push"],
        ["cosign", "sign"],
    ]
    assert release.record[2].endswith(f"oci://{REGISTRY}")
    assert release.record[3] == f"cosign sign --yes --key {key} {REGISTRY}/tickwire@{DIGEST}"


def test_release_without_a_key_is_signed_with_the_callers_identity(tmp_path: Path) -> None:
    release = Release(tmp_path)
    assert release.run(f"REGISTRY={REGISTRY}")[0] == 0
    assert release.record[-1] == f"cosign sign --yes {REGISTRY}/tickwire@{DIGEST}"


def test_image_is_signed_by_its_digest(tmp_path: Path) -> None:
    release = Release(tmp_path)
    assert release.run(f"REGISTRY={REGISTRY}", f"IMAGE={IMAGE}", "COSIGN_KEY=awskms:///alias/k")[0] == 0
    assert release.record[-1] == f"cosign sign --yes --key awskms:///alias/k {IMAGE}"


def test_provenance_is_signed_with_the_pgp_key(tmp_path: Path) -> None:
    keyring = tmp_path / "secring.gpg"
    keyring.touch()
    release = Release(tmp_path)
    arguments = "HELM_KEY=Releases", f"HELM_KEYRING={keyring}", "HELM_PASSPHRASE_FILE=words"
    assert release.run(f"REGISTRY={REGISTRY}", *arguments)[0] == 0
    assert release.record[1].endswith(f"--sign --key Releases --keyring {keyring} --passphrase-file words")


@pytest.mark.parametrize(
    ("programs", "arguments", "words"),
    [
        (("helm", "cosign"), (), "REGISTRY is required"),
        (("cosign",), (f"REGISTRY={REGISTRY}",), "helm is not installed: see https://helm.sh"),
        (("helm",), (f"REGISTRY={REGISTRY}",), "cosign is not installed: see https://docs.sigstore.dev"),
        (("helm", "cosign"), (f"REGISTRY={REGISTRY}", "IMAGE=game:1"), "IMAGE: must end in the digest"),
        (("helm", "cosign"), (f"REGISTRY={REGISTRY}", "HELM_KEY=Releases"), "HELM_KEYRING: must be the file"),
        (("helm", "cosign"), (f"REGISTRY={REGISTRY}", "COSIGN_KEY=no.key"), "COSIGN_KEY: must be a readable file"),
        (("helm", "cosign"), (f"REGISTRY={REGISTRY}", "SIGN=false"), "SIGN: must be yes or no; got false"),
    ],
)
def test_release_that_cannot_be_signed_is_not_pushed(
    tmp_path: Path, programs: tuple[str, ...], arguments: tuple[str, ...], words: str
) -> None:
    release = Release(tmp_path, programs)
    code, output = release.run(*arguments)
    assert code != 0
    assert words in output
    assert release.record == []


def test_release_without_signatures_needs_no_cosign(tmp_path: Path) -> None:
    release = Release(tmp_path, ("helm",))
    code, output = release.run(f"REGISTRY={REGISTRY}", "SIGN=no")
    assert code == 0, output
    assert [line.split()[1] for line in release.record] == ["lint", "package", "push"]


@pytest.mark.parametrize("push", [("Pushed", 0), ("unauthorized", 1)])
def test_failed_push_is_reported_and_not_signed(tmp_path: Path, push: tuple[str, int]) -> None:
    release = Release(tmp_path, push=push)
    code, output = release.run(f"REGISTRY={REGISTRY}")
    assert code != 0
    assert push[0] in output
    assert not any(line.startswith("cosign") for line in release.record)
