"""The wheel in a clean virtual environment, and a game whose packages have the names of ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.harness.polling import eventually
from tickwire.server.dev.local_stores import free_port

ROOT = Path(__file__).parents[2]
OURS = (
    "server",
    "services",
    "client",
    "schemas",
    "matchmaking",
    "loadtest",
    "testing",
    "examples",
    "benchmarks",
    "tests",
)

TEMPLATE = "server/dev/new_game/rooms.py.in"

ROOMS = """
from client import OWNER as CLIENT
from examples import OWNER as EXAMPLES
from matchmaking import OWNER as MATCHMAKING
from schemas import OWNER as SCHEMAS
from tests import OWNER as TESTS
from tickwire import Room, Table, real


class Squares(Table):
    x = real(0.0, 100.0, step=0.1)


class Field(Room):
    room_type = "field"
    squares: Squares

    def on_join(self, player, options):
        player.entity = self.squares.spawn(x=50.0)

    def on_command(self, player, name, payload):
        return [CLIENT, EXAMPLES, MATCHMAKING, SCHEMAS, TESTS]


ROOMS = [Field]
"""
PLAY = """
import asyncio
import json
import sys

import client
import server
from tickwire.client import connect


async def play():
    async with connect(sys.argv[1]) as player:
        room = await player.join("field")
        print(json.dumps([await player.command("owners"), room.room_type, client.OWNER, server.OWNER]))


asyncio.run(play())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("tickwire", *(link.name for link in (ROOT / "tickwire").iterdir() if link.is_symlink())):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    (found,) = folder.glob("tickwire-*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of a virtual environment that has the wheel. Its dependencies are those of this process."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--prefix", str(folder)]
    subprocess.run([*command, "--ignore-installed", str(wheel)], check=True, capture_output=True, timeout=150)
    # A path in a .pth file is added to sys.path behind the environment's own packages. The .pth files in it are not
    # read: the editable installation of the checkout stays unknown.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


@pytest.fixture
def game(tmp_path: Path) -> Path:
    """Return a game's repository with packages that have the names of ours."""
    for name in OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"OWNER = 'the game, {name}'\n")
    (tmp_path / "server" / "rooms.py").write_text(ROOMS)
    (tmp_path / "play.py").write_text(PLAY)
    return tmp_path


def run_in(environment: Path, folder: Path, *arguments: str) -> str:
    command = [str(environment / "python"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_brings_one_top_level_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tickwire"}
    data = ("schemas/client.fbs", "loadtest/report.html.j2", "py.typed")
    scripts = (ROOT / "matchmaking" / "lua").rglob("*.lua")
    page = (ROOT / "server" / "viewer" / "page").rglob("*.*")  # empty if the page is not built in this checkout
    files = [file.relative_to(ROOT).as_posix() for file in (*scripts, *page)]
    assert "matchmaking/lua/presence/claim.lua" in files
    for name in (*data, TEMPLATE, *files):
        assert f"tickwire/{name}" in names
    assert not [name for name in names if "benchmarks" in name or "/tests/" in name]


def test_the_wheel_has_every_script_schema_and_vector(wheel: Path) -> None:
    """A script of Redis that is missing fails the first player of an installed server, and no test of a checkout."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    links = [link.name for link in (ROOT / "tickwire").iterdir() if link.is_symlink()]
    files = [
        file
        for name in links
        for kind in ("lua", "fbs", "j2", "in", "pyi")
        for file in (ROOT / name).rglob(f"*.{kind}")
    ]
    files += (ROOT / "schemas" / "golden").rglob("*.json")
    needed = {f"tickwire/{file.relative_to(ROOT).as_posix()}" for file in files if "released" not in file.parts}
    assert len(needed) > 50
    assert needed - names == set()


def test_the_wheel_has_the_kernel_in_one_binary_where_it_can_be_built(wheel: Path, environment: Path) -> None:
    """One binary runs on all versions of Python. A wheel without it works, too."""
    with zipfile.ZipFile(wheel) as archive:
        built = [name for name in archive.namelist() if "/_kernel" in name and not name.endswith(".pyi")]
    printed = run_in(environment, Path("/"), "-m", "tickwire", "version").splitlines()[1]
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    is_unwanted = os.environ.get("TICKWIRE_NO_NATIVE", "0") not in ("", "0")
    if is_unwanted or shutil.which("cc") is None or not headers.exists():
        assert built == []
        assert printed.startswith("kernel: python")
    else:
        assert built == ["tickwire/schemas/_kernel.abi3.so"]
        assert "-cp311-abi3-" in wheel.name
        assert printed == "kernel: native"


def test_the_public_api_is_imported_without_the_server_that_runs_it(environment: Path, tmp_path: Path) -> None:
    code = "import sys, tickwire.client, tickwire.matchmaking; print('tickwire.server.rooms' in sys.modules)"
    assert run_in(environment, tmp_path, "-c", code) == "False\n"
    code = "import tickwire; print(all(getattr(tickwire, name) is not None for name in tickwire.__all__))"
    assert run_in(environment, tmp_path, "-c", code) == "True\n"
    code = "import tickwire; print(tickwire.__file__)"
    assert run_in(environment, tmp_path, "-c", code).startswith(str(environment.parent))
    assert run_in(environment, tmp_path, "-m", "tickwire", "version").strip()


def test_a_new_game_is_created_by_the_wheel_and_its_rooms_are_valid(environment: Path, tmp_path: Path) -> None:
    assert "gold_rush/rooms.py" in run_in(environment, tmp_path, "-m", "tickwire", "new", "gold_rush").splitlines()
    game = tmp_path / "gold_rush"
    assert "Field" in run_in(environment, game, "-m", "tickwire", "codegen", "typescript", "rooms")


def test_a_new_game_is_tested_with_the_plugin_that_pytest_finds_in_the_wheel(
    environment: Path, tmp_path: Path
) -> None:
    run_in(environment, tmp_path, "-m", "tickwire", "new", "gold_rush")
    options = ("--tickwire-seed", "3", "-p", "no:cacheprovider", "--rootdir", ".")
    assert "4 passed" in run_in(environment, tmp_path / "gold_rush", "-m", "pytest", "-q", *options)


async def test_a_game_with_packages_of_our_names_is_hosted_and_its_own_modules_win(
    environment: Path, game: Path
) -> None:
    port = free_port()
    arguments = ["dev", "--rooms", "server.rooms", "--bots", "0", "--port", str(port), "--data", str(game / "data")]
    output = game / "dev.log"
    environ = {**os.environ, "TICKWIRE__OPERATIONS__PORT": "0"}  # other tests use the default port
    with output.open("wb") as file:
        server = await asyncio.create_subprocess_exec(
            str(environment / "tickwire"), *arguments, cwd=game, env=environ, stdout=file, stderr=file
        )
    try:
        await eventually(
            lambda: "players connect to" in output.read_text() or server.returncode is not None,
            120,
            "the server runs",
        )
        assert server.returncode is None, output.read_text()
        printed = await asyncio.to_thread(run_in, environment, game, "play.py", f"ws://127.0.0.1:{port}")
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), 60)
    own = ", ".join(f'"the game, {name}"' for name in ("client", "examples", "matchmaking", "schemas", "tests"))
    assert printed == f'[[{own}], "field", "the game, client", "the game, server"]\n'
