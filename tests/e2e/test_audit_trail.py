"""The audit trail of operators: every request that can change something, with its operator and its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import structlog

from tests.harness.shard_process import admin, running
from tickwire.server.admin import http_server
from tickwire.server.config import Settings
from tickwire.server.errors import Unavailable
from tickwire.server.operator_settings import OperatorSettings
from tickwire.server.shard import Shard

ANN, BEN = "the token of ann, who supports players", "the token of ben, who looks and does not act"


@pytest.fixture
async def operated(shard_settings: Settings) -> AsyncIterator[Shard]:
    operators = {"ann": OperatorSettings(ANN, "support"), "ben": OperatorSettings(BEN, "read")}
    operations = msgspec.structs.replace(shard_settings.operations, operators=operators)
    async with running(msgspec.structs.replace(shard_settings, operations=operations)) as shard:
        yield shard


async def ask(shard: Shard, token: str, method: str, path: str, body: Any = None) -> Any:
    return await admin(shard.parts.operations.port, method, path, body, token=token)


async def test_changes_refusals_and_failures_are_recorded_with_their_operator(operated: Shard) -> None:
    assert (await ask(operated, ANN, "PUT", "/bans/eve%2F1", {"duration_s": 60, "reason": "spam"}))[
        "reason"
    ] == "spam"
    assert (await ask(operated, BEN, "DELETE", "/bans/eve%2F1"))[0] == 403
    assert (await ask(operated, ANN, "PUT", "/bans/eve%2F1", {"duration_s": -1}))[0] == 400
    assert (await ask(operated, "nobody's", "DELETE", "/bans/eve%2F1"))[0] == 401
    await ask(operated, BEN, "GET", "/bans")
    entries = (await ask(operated, BEN, "GET", "/audit"))["items"]
    assert [(one["operator"], one["role"], one["action"], one["result"]) for one in entries] == [
        ("ann", "support", "PUT /bans/{player_id}", 400),
        ("ben", "read", "DELETE /bans/{player_id}", 403),
        ("ann", "support", "PUT /bans/{player_id}", 200),
    ]
    assert all(one["target"] == {"player_id": "eve/1"} for one in entries)
    assert msgspec.json.decode(entries[2]["request"]) == {"duration_s": 60, "reason": "spam"}


async def test_entries_are_filtered_and_paged(operated: Shard) -> None:
    for player in ("eve", "bob", "eve", "eve"):
        await ask(operated, ANN, "DELETE", f"/bans/{player}")
    await ask(operated, BEN, "DELETE", "/bans/eve")
    for query, count in (
        ("operator=ann", 4),
        ("operator=ben", 1),
        ("player_id=eve", 4),
        ("player_id=eve&operator=ann", 3),
    ):
        assert len((await ask(operated, BEN, "GET", f"/audit?{query}"))["items"]) == count, query
    found, cursor = [], ""
    while True:
        page = await ask(operated, BEN, "GET", f"/audit?limit=2&player_id=eve&cursor={cursor}")
        assert len(page["items"]) <= 2
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(found) == len(set(found)) == 4
    assert (await ask(operated, BEN, "GET", "/audit?cursor=abc"))[0] == 400


async def test_an_outage_of_mongodb_does_not_keep_operators_from_acting(
    operated: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(entry: object) -> None:
        raise Unavailable("MongoDB does not answer")

    monkeypatch.setattr(operated.parts.store.audit, "add", fail)
    with structlog.testing.capture_logs() as lines:
        answer = await ask(operated, ANN, "POST", "/sessions/none/kick")
    assert answer[0] == 404
    events = {line["event"]: line for line in lines}
    assert events["audit_write_failed"]["operator"] == "ann"
    assert events["admin_request_refused"]["session_id"] == "none"


async def send_raw(shard: Shard, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request with a head of its own as ann, and return the status and the rest of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shard.parts.operations.port)
    try:
        lines = f"{head}\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {ANN}\r\n\r\n"
        writer.write(lines.encode() + body)
        async with asyncio.timeout(10):
            status = await reader.readline()
            return int(status.split()[1]), await reader.read()
    finally:
        writer.transport.abort()


@pytest.fixture
def short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_S_MAX", 1.0)


@pytest.mark.usefixtures("short_requests")
async def test_a_body_that_never_arrives_does_not_hide_a_change(operated: Shard) -> None:
    await ask(operated, ANN, "PUT", "/bans/eve", {"duration_s": 60, "reason": "spam"})
    status, _ = await send_raw(operated, "DELETE /v1/bans/eve HTTP/1.1\r\nContent-Length: 2")
    assert status == 408
    assert [one["player_id"] for one in await ask(operated, BEN, "GET", "/bans")] == ["eve"], "it has not run"


@pytest.mark.usefixtures("short_requests")
async def test_a_change_that_is_cancelled_is_recorded(operated: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stall(ban: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(operated.parts.store.bans, "lift", stall)
    assert (await ask(operated, ANN, "DELETE", "/bans/eve"))[0] == 503
    (entry,) = (await ask(operated, BEN, "GET", "/audit"))["items"]
    assert (entry["action"], entry["target"]["player_id"]) == ("DELETE /bans/{player_id}", "eve")
    assert entry["result"] == 503


async def test_a_chunked_body_that_is_too_large_is_refused_at_once_and_recorded(operated: Shard) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = "PUT /v1/bans/eve HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    status, rest = await send_raw(operated, head, chunk * 5 + b"0\r\n\r\n")
    assert status == 413
    assert b"application/problem+json" in rest
    (entry,) = (await ask(operated, BEN, "GET", "/audit"))["items"]
    assert (entry["action"], entry["request"], entry["result"]) == ("PUT /bans/{player_id}", "", 413)
