"""Runs the Python client's code in docs/clients.md against a shard with the guide's room."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.shard_process import running
from tickwire.server.config import Settings

GUIDE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
SECTION = GUIDE[GUIDE.index("## Python") : GUIDE.index("## Rules for every client")]


def code(text: str, part: str) -> str:
    """Return the Python code that has this part."""
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if part in block)


def function(name: str) -> Any:
    """Return the coroutine function of the guide that has this name."""
    names: dict[str, Any] = {}
    exec(code(SECTION, f"async def {name}("), names)
    return names[name]


@pytest.fixture
def settings(shard_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a shard with the guide's room."""
    (tmp_path / "guide_squares.py").write_text(code(GUIDE, "class SquareField"))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return msgspec.structs.replace(shard_settings, rooms=["guide_squares"])


async def test_the_guide_s_client_reports_a_lost_connection(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(settings) as shard:
        room = await function("watch")(shard.url)
        assert room.room_type == "field"
    printed = capsys.readouterr().out
    assert re.search(r"^reconnecting: .*\nresumed\nover: ", printed, re.MULTILINE), printed
    assert "raised" not in printed


async def test_the_guide_s_storage_is_cleared_when_the_session_ends(settings: Settings, tmp_path: Path) -> None:
    async with running(settings) as shard:
        play = function("play")
        storage = play.__globals__["SessionFile"](tmp_path / "session.json")
        first = await play(shard.url, tmp_path)
        assert storage.load() is None
        storage.save("a text that no client has written")
        assert await play(shard.url, tmp_path) != first
        assert not storage.path.exists()


async def test_the_guide_s_prediction_is_where_the_server_has_the_square(settings: Settings) -> None:
    async with running(settings) as shard:
        drawn, read = await function("steer")(shard.url)
    assert read["x"] > 200.0
    assert drawn == pytest.approx(read, abs=1.0)
