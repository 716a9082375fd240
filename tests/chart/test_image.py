"""The image: built unchanged on a local base, and run as it will be. Wants root, four programs, and a minute or two;
`make image-test` runs it, and CI. Where containers cannot run, it says so and skips."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE, IMAGE = "localhost/tickwire-base:tested", "localhost/tickwire:tested"
BUILD_BASE = "localhost/tickwire-build-base:tested"
BASE_WITH_PIP, GAME = "localhost/tickwire-base-pip:tested", "localhost/tickwire-game:tested"
HOW = ("--isolation", "chroot", "--pull-never", "--network", "host")
TRUSTED = ("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro")
"""A build trusts what this machine trusts."""
PROGRAMS = ("mmdebstrap", "buildah", "podman", "runc")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]

pytestmark = [
    pytest.mark.skipif(not os.environ.get("TICKWIRE_IMAGE"), reason="takes minutes: make image-test"),
    pytest.mark.skipif(bool(MISSING), reason=f"apt-get install {' '.join(MISSING)}"),
    pytest.mark.timeout(900),
]


def run(*command: str) -> str:
    """Return the output of a program that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of the unchanged Dockerfile, built on a local Debian base."""
    folder = tmp_path_factory.mktemp("base")
    packages = "python3,python3-venv,ca-certificates"
    try:
        for base, more in ((BASE, ""), (BUILD_BASE, ",gcc,libc6-dev,python3-dev")):
            tar = folder / "base.tar"
            run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}{more}", "bookworm", str(tar))
            run("podman", "import", "-q", str(tar), base)
            tar.unlink()
        inside(BASE, entrypoint="/bin/true")
    except AssertionError as error:
        pytest.skip(f"containers cannot be made or run here: {str(error)[-300:]}")
    try:
        bases = ("--build-arg", f"BASE={BASE}", "--build-arg", f"BUILD_BASE={BUILD_BASE}")
        run("buildah", "bud", *HOW, *TRUSTED, *bases, "-t", IMAGE, ".")
        yield IMAGE
    finally:
        images = (GAME, IMAGE, BASE_WITH_PIP, BUILD_BASE, BASE)
        subprocess.run(["podman", "rmi", "-f", *images], capture_output=True, check=False, timeout=120)


def inside(image: str, *arguments: str, entrypoint: str = "tickwire", environ: Sequence[str] = ()) -> str:
    """Return the output of a program in the image, on a read-only root."""
    limits = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")
    how = ("--rm", "--network", "host", "--read-only", *limits, "--entrypoint", entrypoint)
    how += tuple(part for text in environ for part in ("--env", text))
    return run("podman", "--runtime", "runc", "run", *how, image, *arguments)


def test_image_is_unprivileged_and_has_no_build_tools(image: str) -> None:
    script = (
        "import json, os, shutil; from tickwire.server.shard import Shard; "
        "print(json.dumps([os.getuid(), [p for p in ('pip', 'gcc', 'cc', 'apt-get') if shutil.which(p)]]))"
    )
    said = inside(image, "-c", script, entrypoint="python")
    assert json.loads(said.splitlines()[-1]) == [10001, []]


def test_image_runs_on_a_read_only_root(image: str) -> None:
    assert "listen" in inside(image, "check", environ=["TICKWIRE__LISTEN__PLAINTEXT=true"])


def test_image_runs_both_roles(image: str) -> None:
    for role in ("serve", "api"):
        assert "--config" in inside(image, role, "--help")


def test_image_has_the_native_kernel(image: str) -> None:
    assert "kernel: native" in inside(image, "version")


def test_image_has_labels_and_stop_signal(image: str) -> None:
    config = json.loads(run("buildah", "inspect", "--type", "image", image))["OCIv1"]["config"]
    assert config["Labels"]["org.opencontainers.image.title"] == "tickwire"
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["tickwire"]
    assert config["WorkingDir"] == "/game", "not /tmp, where the chart mounts an empty volume"


GAME_ROOMS = """
import humanize
from tickwire import Room, Table, real


class Fighters(Table):
    x = real(-1, 1, step=0.1)


class Duel(Room):
    room_type = "duel" + humanize.ordinal(1)[0]
    fighters: Fighters


ROOMS = [Duel]
"""
"""The rooms of a game that has a library of its own."""


def documented_dockerfile() -> str:
    """Return the Dockerfile of a game as docs/operations.md has it."""
    found = re.search(r"```dockerfile\n(.+?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_a_games_image_is_the_five_documented_lines(image: str, tmp_path: Path) -> None:
    lines = documented_dockerfile()
    assert len(lines.splitlines()) == 5
    with_pip = tmp_path / "Dockerfile.pip"
    with_pip.write_text(f"FROM {BASE}\nRUN python3 -m venv /pip && ln -s /pip/bin/pip /usr/local/bin/pip\n")
    run("buildah", "bud", *HOW, "-t", BASE_WITH_PIP, "-f", str(with_pip), str(tmp_path))
    game = tmp_path / "game"
    (game / "duels").mkdir(parents=True)
    (game / "requirements.txt").write_text("humanize==4.11.0\n")
    (game / "duels" / "rooms.py").write_text(GAME_ROOMS)
    (game / "Dockerfile").write_text(
        lines.replace("FROM python:3.12-slim", f"FROM {BASE_WITH_PIP}").replace(
            "FROM tickwire:0.1.0", f"FROM {image}"
        )
    )
    run("buildah", "bud", *HOW, *TRUSTED, "-t", GAME, str(game))
    assert "Duel1Room" in inside(GAME, "codegen", "typescript", "duels.rooms")
    assert "duels.rooms" in inside(
        GAME, "check", "--rooms", "duels.rooms", environ=["TICKWIRE__LISTEN__PLAINTEXT=true"]
    )
