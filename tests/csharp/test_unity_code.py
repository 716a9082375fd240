"""The package's code for Unity compiles, against stand-ins for Unity's API, and its plugin for WebGL runs in Node.

The editor, players and IL2CPP cannot run here. These tests hold the code to the language and to the API that
clients/csharp/UnityStandIns~ declares.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.csharp.conftest import COMPILER, FLAGS, PACKAGE, RUNTIME
from tickwire.server.codegen.csharp import generate_csharp
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.game_modules import load_room_types

PLAYERS = {
    "editor": ("UNITY_5_3_OR_NEWER", "UNITY_EDITOR"),
    "editor_for_webgl": ("UNITY_5_3_OR_NEWER", "UNITY_EDITOR", "UNITY_WEBGL"),
    "player": ("UNITY_5_3_OR_NEWER",),
    "webgl_player": ("UNITY_5_3_OR_NEWER", "UNITY_WEBGL"),
}
NODE = shutil.which("node")


@pytest.mark.skipif(COMPILER is None, reason="mono is not installed")
@pytest.mark.parametrize("player", PLAYERS)
def test_the_unity_code_and_the_sample_compile(player: str, tmp_path: Path) -> None:
    folders = ["Runtime", "UnityStandIns~", "Samples~", *(["Editor"] if player.startswith("editor") else [])]
    sources = [str(path) for folder in folders for path in sorted((PACKAGE / folder).rglob("*.cs"))]
    # Unity assigns the fields of scripts that have [SerializeField]; its own values are set nowhere in the stand-ins.
    options = [
        "-target:library",
        "-nowarn:649",
        f"-define:{','.join(PLAYERS[player])}",
        f"-out:{tmp_path / 'unity.dll'}",
    ]
    command = [str(COMPILER), *FLAGS, *options, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(COMPILER is None or RUNTIME is None, reason="mono is not installed")
def test_a_frame_polls_each_client_whatever_the_others_do(tmp_path: Path) -> None:
    sources = [
        str(path) for folder in ("Runtime", "UnityStandIns~") for path in sorted((PACKAGE / folder).rglob("*.cs"))
    ]
    script = str(Path(__file__).with_name("unity_pump.cs"))
    built = tmp_path / "pump.exe"
    command = [str(COMPILER), *FLAGS, "-define:UNITY_5_3_OR_NEWER", f"-out:{built}", *sources, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([str(RUNTIME), str(built)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "after a failed connection: ConnectFailedException 0",
        "after a listener has disposed of all: no exception 0",
        "beside a transport that fails: no exception 1 2",
        "delays: True False",
    ]


def test_the_types_of_the_sample_are_current() -> None:
    made = generate_csharp(read_game(load_room_types(["tickwire.examples.arena"])), "Tickwire.Samples")
    assert (PACKAGE / "Samples~" / "Arena" / "ArenaRooms.cs").read_text() == made, "run `make unity-types`"


def test_the_code_uses_no_reflection() -> None:
    """Unity removes what is only reached by reflection, and IL2CPP cannot generate code at run time."""
    forbidden = re.compile(
        r"System\.Reflection|Activator\.|\bdynamic\b|Expression\.|MakeGeneric|GetMethod\(|GetField\("
    )
    for path in sorted((PACKAGE / "Runtime").rglob("*.cs")):
        assert not forbidden.search(path.read_text()), path


def test_the_runtime_names_no_type_of_unity_outside_of_its_define() -> None:
    for path in sorted((PACKAGE / "Runtime").rglob("*.cs")):
        text = re.sub(r"#if UNITY_.*?(#else|#endif)", "", path.read_text(), flags=re.DOTALL)
        assert "UnityEngine" not in text, path


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
def test_the_webgl_plugin_passes_binary_messages_and_the_close_code() -> None:
    script = Path(__file__).parent / "webgl_plugin.mjs"
    plugin = PACKAGE / "Runtime" / "Transports" / "WebGL" / "TickwireSocket.jslib"
    done = subprocess.run(
        [str(NODE), str(script), str(plugin)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


def test_csharp_and_the_plugin_declare_the_same_functions() -> None:
    folder = PACKAGE / "Runtime" / "Transports" / "WebGL"
    declared = re.findall(r"extern \w+ (TickwireSocket\w+)\(([^)]*)\)", (folder / "WebGlTransport.cs").read_text())
    plugin = (folder / "TickwireSocket.jslib").read_text()
    defined = re.findall(r"^  (TickwireSocket\w+): function \(([^)]*)\)", plugin, re.MULTILINE)
    counts = {name: len(parameters.split(",")) for name, parameters in declared}
    assert counts == {name: len(parameters.split(",")) for name, parameters in defined}
    assert len(counts) == 7
