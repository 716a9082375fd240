"""The admin API on a running shard, over its port: views, sessions, rooms, bans and tuning."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import msgspec
import openapi_spec_validator
import pytest

from tests.harness.admin_endpoints import ENDPOINTS
from tests.harness.polling import eventually
from tests.harness.shard_process import ShardProcess, admin, running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import Client, Refused, connect
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.observability import logs
from tickwire.server.shard import Shard
from tickwire.server.storage import TuningVersion


async def ask(shard: Shard, method: str, path: str, body: Any = None) -> Any:
    return await admin(shard.parts.operations.port, method, path, body)


def session_ids(shard: Shard) -> list[str]:
    return [session.session_id for session in shard.parts.edge.registry]


# -- the door --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
async def test_every_endpoint_requires_the_token(shard: Shard, endpoint: Any) -> None:
    for shown in ("", "wrong"):
        status, words = await admin(shard.parts.operations.port, endpoint.method, endpoint.path, {}, token=shown)
        assert status == 401, words


async def test_admin_api_is_disabled_without_a_token(shard_settings: Settings) -> None:
    operations = msgspec.structs.replace(shard_settings.operations, token="")
    async with running(msgspec.structs.replace(shard_settings, operations=operations)) as shard:
        for shown in ("", "x"):
            status, words = await admin(shard.parts.operations.port, "GET", "/shard", token=shown)
            assert (status, "operations.token" in words) == (403, True)


async def test_openapi_document_is_valid_and_responses_match_it(shard: Shard) -> None:
    url = f"http://127.0.0.1:{shard.parts.operations.port}/v1/openapi.json"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        document = await answer.json()
    openapi_spec_validator.validate(document)
    async with connect(shard.url) as client:
        room_id = (await client.join("garden")).room_id
        await ask(shard, "PUT", "/bans/eve", {"duration_s": 60})
        await ask(shard, "PUT", "/tuning", {"after": 0, "values": {"garden": {"greeting": "hi"}}})
        names = {"room_id": room_id, "mode": "versus"}
        checked = 0
        for path, methods in document["paths"].items():
            if "get" not in methods or "player_id" in path:
                continue
            content = methods["get"]["responses"]["200"]["content"]
            if "application/json" not in content:
                continue  # the download of a file
            query = "?search=p" if path == "/v1/players" else ""
            found = await ask(shard, "GET", path.removeprefix("/v1").format(**names) + query)
            schema = content["application/json"]["schema"]
            jsonschema.validate(found, {**schema, "components": document["components"]})
            checked += 1
        assert checked == 16


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/rooms/none", None, 404, "room 'none' does not exist"),
        ("POST", "/rooms/none/close", {}, 404, "room 'none' does not exist"),
        ("POST", "/sessions/none/kick", {}, 404, "session 'none' does not exist"),
        ("POST", "/fleet/none/drain", None, 404, "does not exist in the directory"),
        ("GET", "/queues/none", None, 404, "mode 'none' does not exist"),
        ("GET", "/sessions?limit=0", None, 400, "limit"),
        ("GET", "/sessions?limit=x", None, 400, "limit"),
        ("GET", "/sessions?limit=000010000999", None, 400, "limit"),
        ("GET", f"/sessions?limit=000000001{'0' * 5000}", None, 400, "limit"),
        ("GET", "/rooms?x=1", None, 400, "unknown query parameters: x"),
        ("PUT", "/bans/ada", {}, 400, "duration_s"),
        ("PUT", "/bans/ada", {"duration_s": 0}, 400, "duration_s"),
        ("PUT", "/bans/ada", {"duration_s": 9, "x": 1}, 400, "x"),
        ("PUT", "/log-level", {"level": "loud"}, 400, "loud"),
        ("PUT", "/tuning", {"after": 7, "values": {}}, 409, "newest tuning version is 0"),
        ("PUT", "/tuning", {"after": 0, "values": {"none": {}}}, 404, "none"),
        ("PUT", "/tuning", {"after": 0, "values": {"garden": {"none": 1}}}, 400, "none"),
        ("PUT", "/tuning", {"after": 0, "values": {"garden": {"greeting": 1}}}, 400, "greeting"),
        ("PUT", "/tuning", {"after": 0, "values": {}, "percentage": 101}, 400, "percentage"),
        ("POST", "/tuning/rollback", {"to": 9}, 400, "tuning version 9 does not exist"),
    ],
)
async def test_invalid_request_is_refused_with_the_reason(
    shard: Shard, method: str, path: str, body: Any, status: int, words: str
) -> None:
    found = await ask(shard, method, path, body)
    assert isinstance(found, tuple), found
    assert found[0] == status
    assert words in found[1]


# -- looking ---------------------------------------------------------------------------------------------------------


async def test_views_describe_the_shard_its_rooms_and_sessions(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two:
        joined = await one.join("garden", name="home")
        await two.join("garden", name="home")
        await one.command("plant", {"x": 5.0})
        (room,) = await ask(shard, "GET", "/rooms")
        assert (room["room_id"], room["name"], room["players"], room["is_durable"]) == (
            joined.room_id,
            "home",
            2,
            True,
        )
        assert await ask(shard, "GET", f"/rooms/{room['room_id']}") == {
            **room,
            "tick": pytest.approx(room["tick"], abs=40),
        }
        state = await ask(shard, "GET", f"/rooms/{room['room_id']}/state")
        flowers = next(table for table in state["tables"] if table["name"] == "flowers")
        assert flowers["columns"]["x"] == [5.0]
        assert flowers["fields"][0]["kind"] == "real"
        assert len(flowers["ids"]) == 1
        sessions = await ask(shard, "GET", f"/sessions?room_id={room['room_id']}")
        assert {session["session_id"] for session in sessions} == set(session_ids(shard))
        assert all(session["is_connected"] and session["rtt_ms"] > 0 for session in sessions)
        assert len(await ask(shard, "GET", f"/sessions?player_id={sessions[0]['player_id']}")) == 1
        assert len(await ask(shard, "GET", "/sessions?limit=1")) == 1
        detail = await ask(shard, "GET", "/shard")
        assert (detail["shard_id"], detail["rooms"], detail["sessions"]) == (shard.shard_id, 1, 2)
        assert detail["is_ready"]
        (this,) = await ask(shard, "GET", "/fleet")
        assert (this["shard_id"], this["is_this"], this["state"]) == (shard.shard_id, True, "ready")


# -- acting ----------------------------------------------------------------------------------------------------------


async def test_kicked_player_receives_the_reason_and_may_reconnect(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        (session_id,) = session_ids(shard)
        assert await ask(shard, "POST", f"/sessions/{session_id}/kick", {"reason": "be nice"}) == {"count": 1}
        await client.wait_for(lambda: client.goodbye is not None)
        assert client.goodbye is not None
        assert (client.goodbye.code, client.goodbye.message) == (ErrorCode.KICKED, "be nice")
        assert not client.goodbye.come_back
        await eventually(lambda: client.close_code == 4504)
    assert len(shard.parts.edge.registry) == 0
    async with connect(shard.url) as again:
        await again.join("garden")


async def test_banned_player_is_disconnected_from_every_shard_until_the_ban_is_lifted(
    shard_settings: Settings,
) -> None:
    settings = msgspec.structs.replace(shard_settings, auth=AUTH)
    async with running(settings) as a, running(settings) as b:
        async with connect(b.url, token=token_of("ada")) as ada, connect(b.url, token=token_of("bob")) as bob:
            await ada.join("garden")
            await bob.join("garden")
            found = await ask(a, "PUT", "/bans/ada", {"duration_s": 60, "reason": "cheats"})
            assert found["player_id"] == "ada"
            await ada.wait_for(lambda: ada.goodbye is not None)
            assert ada.goodbye is not None
            assert (ada.goodbye.code, ada.goodbye.message) == (ErrorCode.BANNED, "cheats")
            for shard in (a, b):
                with pytest.raises(Refused, match="cheats") as refused:
                    async with connect(shard.url, token=token_of("ada")):
                        pass
                assert refused.value.error.code is ErrorCode.BANNED
            assert bob.is_connected
        assert [ban["player_id"] for ban in await ask(b, "GET", "/bans")] == ["ada"]
        await ask(b, "DELETE", "/bans/ada")

        async def is_let_in() -> bool:
            try:
                async with connect(a.url, token=token_of("ada")):
                    return True
            except Refused:
                return False

        await eventually(is_let_in)


async def test_ban_survives_a_restart_and_expires(shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, auth=AUTH)
    async with running(settings) as first:
        await ask(first, "PUT", "/bans/ada", {"duration_s": 60})
        await ask(first, "PUT", "/bans/bob", {"duration_s": 0.2})
    async with running(settings) as second:
        await eventually(lambda: "ada" in second.parts.operator_policy.bans._by_player)
        with pytest.raises(Refused):
            async with connect(second.url, token=token_of("ada")):
                pass
        await eventually(lambda: not _is_banned(second, "bob"))
        async with connect(second.url, token=token_of("bob")):
            pass


def _is_banned(shard: Shard, player_id: str) -> bool:
    try:
        shard.parts.operator_policy.bans.check(player_id)
    except Exception:
        return True
    return False


async def test_closed_room_is_saved_and_broadcast_reaches_all_players(shard: Shard) -> None:
    async with connect(shard.url) as one, connect(shard.url) as two:
        room_id = (await one.join("garden", name="home")).room_id
        await two.join("garden", name="home")
        await one.command("plant", {"x": 5.0})
        assert await ask(shard, "POST", f"/rooms/{room_id}/broadcast", {"name": "news", "payload": {"at": 5}}) == {
            "count": 2
        }
        for client in (one, two):
            await client.wait_for(lambda client=client: any(event.name == "news" for event in client.events))
        assert await ask(shard, "POST", f"/rooms/{room_id}/close", {"reason": "repairs"}) == {"count": 2}
        await one.wait_for(lambda: one.core.joined is None)
        await eventually(lambda: not shard.parts.lease_keeper._releasing)  # until then a join is refused, retryable
        await one.join("garden", name="home")
        assert await one.command("planted") == 1


async def test_shard_id_has_the_name_as_prefix_and_changes_on_restart(shard_settings: Settings) -> None:
    named = msgspec.structs.replace(shard_settings, shard_name="game-a-0")
    ids = set()
    for _ in range(2):
        async with running(named) as shard:
            found = await ask(shard, "GET", "/shard")
            ids.add(found["shard_id"])
    assert len(ids) == 2
    assert all(one.startswith("game-a-0-") for one in ids)


async def test_log_level_changes_at_run_time(shard: Shard) -> None:
    before = logs.level.name
    try:
        await ask(shard, "PUT", "/log-level", {"level": "error"})
        assert (await ask(shard, "GET", "/shard"))["log_level"] == "error"
    finally:
        logs.level.name = before


async def test_any_shard_can_drain_another(shard_settings: Settings, shard: Shard, tmp_path: Path) -> None:
    process = ShardProcess(shard_settings, tmp_path)
    try:
        await process.ready()
        other = next(one["shard_id"] for one in await ask(shard, "GET", "/fleet") if not one["is_this"])
        answer = await ask(shard, "POST", f"/fleet/{other}/drain")
        assert answer["count"] == 1
        assert "restarts it" in answer["note"], "Kubernetes does so within seconds"
        assert await asyncio.to_thread(process.process.wait, 20) == 0
    finally:
        process.stop()


# -- tuning ----------------------------------------------------------------------------------------------------------


async def greeting_of(client: Client) -> str:
    return str(await client.command("greeting"))


async def test_tuning_and_rollback_reach_all_shards_without_a_restart(shard_settings: Settings) -> None:
    async with (
        running(shard_settings) as a,
        running(shard_settings) as b,
        connect(a.url) as one,
        connect(b.url) as two,
    ):
        await one.join("garden", name="here")
        await two.join("garden", name="there")
        assert (await greeting_of(one), await greeting_of(two)) == ("hello", "hello")
        made = await ask(a, "PUT", "/tuning", {"after": 0, "values": {"garden": {"greeting": "ahoy"}}, "note": "x"})
        assert (made["version"], made["note"]) == (1, "x")
        for client in (one, two):
            await eventually(lambda client=client: _says(client, "ahoy"))
        for client in (one, two):
            await client.wait_for(lambda client=client: any(event.name == "tuned" for event in client.events))
        assert (await ask(b, "PUT", "/tuning", {"after": 0, "values": {}}))[0] == 409
        rolled = await ask(b, "POST", "/tuning/rollback", {"to": 0})
        assert (rolled["version"], rolled["values"]) == (2, {})
        for client in (one, two):
            await eventually(lambda client=client: _says(client, "hello"))
        tunings = await ask(a, "GET", "/tuning")
        assert [version["version"] for version in tunings["versions"]] == [2, 1]
        assert tunings["newest"] == 2
        assert "greeting" in str(tunings["schemas"]["garden"])


async def _says(client: Client, words: str) -> bool:
    return await greeting_of(client) == words


async def test_tuning_with_labels_applies_to_matching_rooms_including_new_ones(shard: Shard) -> None:
    values = {"garden": {"greeting": "howdy"}}
    await ask(shard, "PUT", "/tuning", {"after": 0, "values": values, "labels": {"map": "west"}})
    async with connect(shard.url) as west, connect(shard.url) as east:
        await west.join("garden", name="west", labels={"map": "west"})
        await east.join("garden", name="east", labels={"map": "east"})
        assert (await greeting_of(west), await greeting_of(east)) == ("howdy", "hello")
        rooms = {room["name"]: room["tuning_version"] for room in await ask(shard, "GET", "/rooms")}
        assert rooms == {"west": 1, "east": 0}


async def test_tuning_stays_in_force_despite_many_newer_versions_for_other_rooms(
    shard: Shard, shard_settings: Settings
) -> None:
    values = {"garden": {"greeting": "howdy"}}
    await ask(shard, "PUT", "/tuning", {"after": 0, "values": values, "labels": {"map": "west"}})
    for number in range(1, 61):
        labels = {"map": f"east-{number}"}
        await shard.parts.store.tunings.add(TuningVersion(number + 1, {"garden": {"greeting": "hi"}}, labels=labels))
    await shard.parts.operator_policy.poll()
    assert (await ask(shard, "GET", "/tuning"))["newest"] == 61
    async with running(shard_settings) as newcomer:
        await newcomer.parts.operator_policy.poll()
        for one in (shard, newcomer):
            async with connect(one.url) as west:
                await west.join("garden", name=f"west of {one.shard_id}", labels={"map": "west"})
                assert await greeting_of(west) == "howdy"


async def test_older_build_ignores_a_tuning_that_it_cannot_read(shard: Shard) -> None:
    async with connect(shard.url) as client:
        await client.join("garden")
        await ask(shard, "PUT", "/tuning", {"after": 0, "values": {"garden": {"greeting": "ahoy"}}})
        await shard.parts.store.tunings.add(TuningVersion(2, {"garden": {"of_a_newer_build": 1}}))
        await eventually(lambda: shard.parts.operator_policy.tunings.versions[0].version == 2)
        assert await greeting_of(client) == "ahoy"
