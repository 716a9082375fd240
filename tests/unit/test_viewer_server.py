"""The HTTP API of the viewer, over a socket, with a recorded arena."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.arena_recordings import TICKS, record_arena
from tests.harness.polling import eventually
from tickwire.examples.arena import Arena
from tickwire.server.errors import ConfigError
from tickwire.server.recording.reader import Recording
from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.server import ViewerServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ViewerServer]:
    """A server with a page of two files."""
    (tmp_path / "index.html").write_text("<!doctype html><title>replay</title>")
    (tmp_path / "page.js").write_text("1;")
    player = RecordingPlayer(Recording(record_arena(pilots=3).data), Arena, "arena.tickrec")
    server = ViewerServer(player, tmp_path)
    await server.start(0)
    player.start()
    await eventually(lambda: player.timeline.is_complete, 60)
    yield server
    await server.stop()
    await player.stop()


async def get(server: ViewerServer, path: str, **headers: str) -> tuple[int, Any, Any]:
    """The status, the decoded body and the headers of a response."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}", headers=headers) as response,
    ):
        is_json = response.content_type == "application/json"
        return response.status, await (response.json() if is_json else response.text()), response.headers


async def test_the_api_answers_with_the_recording_its_timeline_and_states(server: ViewerServer) -> None:
    status, recording, _ = await get(server, "/api/recording")
    assert (status, recording["room_type"], recording["last_tick"]) == (200, "arena", TICKS)
    status, states, _ = await get(server, "/api/states?from=10&to=12")
    assert (status, [state["tick"] for state in states]) == (200, [10, 11, 12])
    status, page, _ = await get(server, "/api/timeline?from=0&to=1&limit=10")
    assert (status, [entry["kind"] for entry in page["entries"]].count("join")) == (200, 3)
    status, overview, _ = await get(server, "/api/overview?buckets=4")
    assert (status, len(overview["buckets"])) == (200, 4)


@pytest.mark.parametrize(
    "path",
    [
        "/api/states",
        "/api/states?from=1",
        "/api/states?from=-1&to=2",
        "/api/states?from=1&to=99999999999999999999",
        "/api/timeline?from=0&to=9&limit=1001",
        "/api/timeline?from=0&to=9&limit=0",
        "/api/overview?buckets=x",
        "/api/overview?buckets=100000",
        "/api/overview?buckets=%D9%A3",
    ],
)
async def test_invalid_parameters_are_refused_with_a_sentence(server: ViewerServer, path: str) -> None:
    status, answer, _ = await get(server, path)
    assert status == 422
    assert "must be a whole number" in answer["error"]


async def test_the_page_is_served_with_a_strict_policy(server: ViewerServer) -> None:
    status, text, headers = await get(server, "/")
    assert (status, "replay" in text) == (200, True)
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert (await get(server, "/page.js"))[0] == 200
    assert (await get(server, "/../server.py"))[0] == 404
    assert (await get(server, "/missing"))[0] == 404


HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:80",
    "evil[",
    "localhost:99999999",
    "[::1",
    "",
]


@pytest.mark.parametrize("host", HOSTS)
async def test_a_request_for_another_host_is_refused(server: ViewerServer, host: str) -> None:
    for path in ("/", "/api/recording"):
        assert (await get(server, path, Host=host))[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "[::1]"])
async def test_names_of_this_machine_are_accepted(server: ViewerServer, host: str) -> None:
    for name in (host, f"{host}:{server.port}"):
        assert (await get(server, "/api/recording", Host=name))[0] == 200


async def test_a_port_in_use_is_reported(server: ViewerServer, tmp_path: Path) -> None:
    player = RecordingPlayer(Recording(record_arena(pilots=3).data), Arena, "arena.tickrec")
    with pytest.raises(ConfigError, match=f"--port: cannot listen on 127.0.0.1:{server.port}"):
        await ViewerServer(player, tmp_path).start(server.port)
    await player.stop()


async def test_a_missing_page_is_reported_with_the_remedy(tmp_path: Path) -> None:
    player = RecordingPlayer(Recording(record_arena(pilots=3).data), Arena, "arena.tickrec")
    with pytest.raises(ConfigError, match="make web"):
        ViewerServer(player, tmp_path)
    await player.stop()
