"""A client whose process was killed continues its session in the next process, from the text in its app's storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.test_resume import diary_of
from tests.harness.polling import acknowledges, eventually
from tests.harness.shard_process import running
from tests.harness.stored_player import SessionFile, stored_player
from tests.harness.tokens import token_of, with_tokens
from tickwire.client import Client, connect
from tickwire.schemas.messages import Joined
from tickwire.server.config import Settings
from tickwire.server.dev.local_stores import free_port
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.shard import Shard


@pytest.fixture
def file(tmp_path: Path) -> SessionFile:
    return SessionFile(tmp_path / "session.json")


def player(url: str, file: SessionFile, token: str = "", **options: Any) -> Any:
    return connect(url, token=token, session_storage=file, **options)


def session_id(client: Client) -> str:
    return client.core.resume_token.partition(".")[0]


async def has_room(client: Client) -> Joined:
    await client.wait_for(lambda: client.room is not None)
    assert client.room is not None
    return client.room


async def test_a_killed_process_continues_in_its_seat(shard: Shard, file: SessionFile) -> None:
    async with stored_player(shard.url, file) as killed:
        first = await killed.next()
        assert (await killed.command("say", {"what": "a", "times": 3}))[0] == [{"what": "a", "times": 3}, 1]
        confirmed = 1 + 3  # of the join and of the command
        await eventually(lambda: file.read()["last_event"] == confirmed, what="a Ping has confirmed the events")
        await killed.command("say", {"what": "not confirmed", "times": 2})
        await killed.kill()
    await eventually(lambda: diary_of(shard).noted == ["join", "disconnect"])
    (away,) = diary_of(shard).players.values()
    away.send("while away")
    async with player(shard.url, file) as client:
        joined: list[Joined] = []
        client.on("joined", joined.append)
        room = await has_room(client)
        assert (room.room_id, room.entity) == (first["room_id"], first["entity"])
        assert joined in ([], [room]), "without a call; before or after the listener was added"
        assert diary_of(shard).noted == ["join", "disconnect", "resume"]
        assert (client.resumes, client.sessions_lost) == (1, 0)

        await client.wait_for(lambda: any(event.name == "while away" for event in client.events))
        numbers = [event.number for event in client.events]
        assert numbers == list(range(confirmed + 1, confirmed + 4)), "in order, once, and none is missing"

        await client.wait_for(lambda: client.world.tick > 0)
        before = client.world.table("walkers").entity(room.entity)["x"]
        await acknowledges(client)
        seq = await client.send_input({"dx": 1.0})
        await client.wait_for(lambda: client.acknowledged_seq >= seq)
        await client.wait_for(lambda: client.world.table("walkers").entity(room.entity)["x"] == before + 1.0)
        assert await client.command("say", {"what": "b", "times": 0}) == [{"what": "b", "times": 0}, 3]
        assert client.core.mismatches == client.core.resyncs == client.core.events_missed == 0
    assert not file.path.exists(), "a client that is closed has no session to resume"
    await eventually(lambda: diary_of(shard).noted[-1] == "leave")


async def test_a_command_that_was_in_flight_runs_once_and_its_reply_answers_no_other(
    shard: Shard, file: SessionFile
) -> None:
    async with stored_player(shard.url, file) as killed:
        await killed.next()
        await killed.send("say", {"what": "in flight", "times": 0})
        await eventually(lambda: len(diary_of(shard).runs) == 1)
        await killed.kill()
    async with player(shard.url, file) as client:
        await has_room(client)
        for number in range(2, 5):
            assert await client.command("count", number) == [number, number]
    assert [*map(str, diary_of(shard).runs[1:])] == ["2", "3", "4"]


async def test_a_session_survives_many_kills(shard: Shard, file: SessionFile) -> None:
    entities = set()
    for number in range(4):
        async with stored_player(shard.url, file) as killed:
            report = await killed.next()
            entities.add(report["entity"])
            assert report["resumes"] == (number > 0)
            assert (await killed.command("count", number))[0] == [number, number + 1]
            await killed.kill()
    assert len(entities) == 1
    assert len(diary_of(shard).runs) == 4
    assert shard.parts.edge.counters.resumes == {"resumed": 3}


async def test_attempts_that_were_not_saved_one_by_one_still_increase(
    shard: Shard, file: SessionFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.client.backoff.MAX_MS", 20)
    monkeypatch.setattr("tickwire.client.backoff.FIRST_MS", 20)
    async with player(shard.url, file) as client:
        await client.join("diary")
        for resumes in range(1, 20):  # more than the text is ahead
            await client.drop()
            await client.wait_for(lambda: client.resumes == resumes and client.is_connected)  # noqa: B023
        attempt, text = client.core.attempt, file.load()
        assert file.read()["attempt"] >= attempt
        await client.drop()
        copy = SessionFile(file.path.with_name("copy.json"))
        assert text is not None
        copy.save(file.path.read_text())
        async with player(shard.url, copy) as restarted:
            await has_room(restarted)
            assert restarted.core.attempt > attempt


async def test_the_session_of_another_player_is_not_used(shard_settings: Settings, file: SessionFile) -> None:
    async with running(with_tokens(shard_settings)) as shard:
        async with stored_player(shard.url, file, token_of("ann")) as killed:
            await killed.next()
            await killed.kill()
        of_ann = file.path.read_text()
        for token in (token_of("bob"), ""):
            file.path.write_text(of_ann)
            async with player(shard.url, file, token) as other:
                assert (other.room, other.resumes, other.sessions_lost) == (None, 0, 0)
                assert file.read()["resume_token"] != msgspec.json.decode(of_ann)["resume_token"]
        assert not shard.parts.edge.counters.resumes, "the token of ann was not sent"
        file.path.write_text(of_ann)
        async with player(shard.url, file, token_of("ann")) as ann:
            await has_room(ann)
            assert ann.resumes == 1


async def test_a_changed_text_does_not_give_the_session_to_another_player(
    shard_settings: Settings, file: SessionFile
) -> None:
    async with running(with_tokens(shard_settings, guests=False)) as shard:
        async with stored_player(shard.url, file, token_of("ann")) as killed:
            await killed.next()
            await killed.kill()
        file.path.write_text(msgspec.json.encode(file.read() | {"player": "mallory"}).decode())
        async with player(shard.url, file, token_of("mallory")) as mallory:
            assert (mallory.room, mallory.resumes, mallory.sessions_lost) == (None, 0, 1)
        assert shard.parts.edge.counters.resumes == {"other_player": 1}


async def test_a_session_whose_window_has_passed_is_a_new_one(shard_settings: Settings, file: SessionFile) -> None:
    edge = EdgeSettings(resume_window_s=0.3)
    async with running(msgspec.structs.replace(shard_settings, edge=edge)) as shard:
        async with stored_player(shard.url, file) as killed:
            await killed.next()
            await killed.kill()
        await eventually(lambda: not len(shard.parts.edge.registry))
        before = file.read()["resume_token"]
        async with player(shard.url, file) as client:
            assert (client.room, client.resumes, client.sessions_lost) == (None, 0, 1)
            assert file.read()["resume_token"] not in ("", before)
            await client.join("diary")
            assert await client.command("count", 1) == [1, 1]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "url": 3}', "\ud7ff" * 10])
async def test_a_text_that_no_client_has_written_is_ignored(shard: Shard, file: SessionFile, text: str) -> None:
    file.path.write_text(text)
    async with player(shard.url, file) as client:
        assert (client.room, client.sessions_lost) == (None, 0)
        assert file.read()["resume_token"] == client.core.resume_token


async def test_a_shard_that_is_gone_is_left_for_the_initial_address(shard: Shard, file: SessionFile) -> None:
    async with stored_player(shard.url, file) as killed:
        first = await killed.next()
        await killed.kill()
    file.path.write_text(msgspec.json.encode(file.read() | {"url": f"ws://127.0.0.1:{free_port()}"}).decode())
    async with player(shard.url, file) as client:
        room = await has_room(client)
        assert (room.room_id, client.url) == (first["room_id"], shard.url)


async def test_a_session_is_found_on_the_shard_to_which_it_moved(shard_settings: Settings, file: SessionFile) -> None:
    settings = with_tokens(msgspec.structs.replace(shard_settings, drain_timeout_s=30.0))
    async with running(settings) as first_shard, stored_player(first_shard.url, file, token_of("ann")) as killed:
        first = await killed.next()
        async with running(settings) as other_shard:
            await killed.kill()
            await eventually(lambda: diary_of(first_shard).noted[-1] == "disconnect")
            await first_shard.drain()
            async with player(first_shard.url, file, token_of("ann")) as client:
                room = await has_room(client)
                assert (room.room_id, client.url) == (first["room_id"], other_shard.url)
                assert (client.resumes, client.sessions_lost) == (1, 0)
