"""A swarm over real sockets reports the state of a healthy server, of a faulty one, and of itself."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.server import serve

from benchmarks.certificates import make_certificate
from tests.harness.polling import eventually
from tests.harness.shard_process import ShardProcess, running, scrape, settings_of
from tests.harness.swarm_process import ended, swarm
from tickwire import Player
from tickwire.examples.market import Market
from tickwire.schemas.messages import Input, Reply
from tickwire.server.config import Listen, Settings
from tickwire.server.dev.local_stores import free_port
from tickwire.server.edge import handshake, message_handlers
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.reply_cache import ReplyCache
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import NoSuchRoomType
from tickwire.server.replication import channel
from tickwire.server.rooms.seat import Seat
from tickwire.server.shard import Shard

GUIDE = Path(__file__).parents[2] / "docs" / "loadtesting.md"
EVERYBODY = "wanderer=8 churner=3 reconnector=3 slow_reader=2 queuer=4 spender=3 abuser=1"


@pytest.fixture
def settings(redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str) -> Settings:
    made = settings_of(redis_url, redis_namespace, mongo_url, mongo_database)
    return msgspec.structs.replace(
        made, rooms=["tickwire.examples.arena", "tickwire.examples.market", "tests.harness.sample_rooms"]
    )


@pytest.fixture
async def shard(settings: Settings) -> AsyncIterator[Shard]:
    async with running(settings) as made:
        yield made


async def inputs_of(shard: ShardProcess, count: int) -> bool:
    """Return whether the shard has applied this number of inputs."""
    return (await asyncio.to_thread(scrape, shard.operations_port))["tickwire_inputs_total"] >= count


async def test_every_kind_of_player_plays_without_errors(shard: Shard, tmp_path: Path) -> None:
    code, run = await ended(
        shard.url, tmp_path, "-u", "48", "-r", "48", "-t", "12s", "--mix", EVERYBODY, "--slo", "lost_sessions=0",
        "--report", str(tmp_path / "report.html"),
    )  # fmt: skip
    assert code == 0, run.output
    summary = run.summary
    assert set(summary.times) == {
        "connect", "hello", "join", "input", "reply", "resume", "blackout", "match", "tick", "jitter", "lateness",
    }  # fmt: skip
    assert 0 < summary.seated == summary.expected <= 48
    assert summary.players_most == 48
    assert summary.counts["drops"] > 0
    assert summary.counts["abuses"] >= summary.counts["abuses_closed"] > 0
    assert not {"world", "events", "replies", "seats"} & set(summary.failures)
    assert summary.bytes_per_player > 100
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") >= 7
    assert "locust" in report
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


async def test_broken_level_is_named_and_the_exit_code_is_1(shard: Shard, tmp_path: Path) -> None:
    code, run = await ended(
        shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "3s", "--slo", "input_p50=1us", "--slo", "failures=0"
    )
    assert code == 1, run.output
    assert "BROKEN input_p50" in run.output
    assert "held   failures" in run.output
    assert [verdict.holds for verdict in run.summary.verdicts] == [False, True]


async def test_server_that_sends_a_wrong_world_fails_the_run(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "checksum", lambda tables: b"lies")
    code, run = await ended(shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "8s")
    assert code == 1, run.output
    assert run.summary.failures["world"]["checksum mismatch"] >= 4


async def test_lost_sessions_are_reported(settings: Settings, tmp_path: Path) -> None:
    forgetful = msgspec.structs.replace(settings, edge=EdgeSettings(resume_window_s=0.05))
    async with running(forgetful) as shard:
        code, run = await ended(
            shard.url, tmp_path, "-u", "6", "-r", "6", "-t", "12s", "--mix", "reconnector", "--slo", "lost_sessions=0"
        )
    assert code == 1, run.output
    assert run.summary.failures["resume"]["the session was not kept"] > 0
    assert "BROKEN lost_sessions" in run.output


async def test_stalled_server_is_reported_and_not_the_load(settings: Settings, tmp_path: Path) -> None:
    shard = ShardProcess(settings, tmp_path)
    try:
        await shard.ready()
        async with swarm(shard.url, tmp_path, "-u", "8", "-r", "8", "-t", "10s") as run:
            await eventually(lambda: inputs_of(shard, 8 * 10), 40, "the swarm plays")
            shard.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(1.5)
            shard.process.send_signal(signal.SIGCONT)
            code = await run.end()
    finally:
        shard.process.send_signal(signal.SIGCONT)
        shard.kill()
    assert code == 0, run.output
    row = run.summary.times["input"]
    assert row.max_ms > 1200
    assert row.p95_ms > 700, "inputs that were due in the stall count with all that they have waited"
    assert row.count > 8 * 10 * 5, "and none of them was left out"


async def test_lost_seats_are_reported(shard: Shard, tmp_path: Path) -> None:
    code, run = await ended(
        shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "4s", "--room", "garden", "--slo", "failures=0"
    )
    assert code == 1, run.output
    assert sum(run.summary.failures["seat"].values()) > 0, "whatever is wished for at random breaks a garden"
    assert sum(run.summary.failures["gave up"].values()) > 0


async def test_player_without_a_seat_fails_a_run_without_levels(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often they begin again: the number seated is asserted."""
    async with swarm(shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "18s", "--room", "duel") as run:
        await eventually(lambda: len(shard.parts.host) >= 2, 20, "the swarm plays")

        async def refuse(*_: object, **__: object) -> None:
            raise NoSuchRoomType("not here any more")

        monkeypatch.setattr(shard.parts.join_service, "join", refuse)
        shard.parts.host.close_all("told to")
        assert await run.end() == 1, run.output
    assert run.summary.failures["join"]["NO_SUCH_ROOM_TYPE"] > 0
    assert "4 of 4 had no seat at the end" in run.output


async def test_different_reply_to_a_repeated_command_fails_the_run(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = ReplyCache.find

    def otherwise(replies: ReplyCache, command_id: int) -> Reply | None:
        known = find(replies, command_id)
        return None if known is None else msgspec.structs.replace(known, payload=b"\x63")

    monkeypatch.setattr(ReplyCache, "find", otherwise)
    code, run = await ended(shard.url, tmp_path, "-u", "6", "-r", "6", "-t", "8s", "--mix", "spender")
    assert code == 1, run.output
    assert run.summary.failures["replies"]["a repeated command had another reply"] > 0


async def test_wrong_balance_fails_the_run(shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purse, asked = Market.purse, 0

    def short_changed(market: Market, player: Player) -> dict[str, int]:
        nonlocal asked
        asked += 1
        return {"gold": 1} if asked > 3 else purse(market, player)

    monkeypatch.setattr(Market, "purse", short_changed)
    code, run = await ended(shard.url, tmp_path, "-u", "3", "-r", "3", "-t", "15s", "--mix", "spender")
    assert code == 1, run.output
    assert run.summary.failures["replies"]["the balance differs from the replies"] > 0


async def test_server_that_stalls_for_good_does_not_look_fast(settings: Settings, tmp_path: Path) -> None:
    shard = ShardProcess(settings, tmp_path)
    try:
        await shard.ready()
        async with swarm(shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "7s") as run:
            await eventually(lambda: inputs_of(shard, 4 * 10), 40, "the swarm plays")
            shard.process.send_signal(signal.SIGSTOP)
            await run.end()
    finally:
        shard.process.send_signal(signal.SIGCONT)
        shard.kill()
    assert run.summary.times["input"].max_ms > 1000, run.output


async def test_abuser_is_never_expected_to_have_a_seat(shard: Shard, tmp_path: Path) -> None:
    code, run = await ended(shard.url, tmp_path, "-u", "12", "-r", "12", "-t", "16s", "--mix", "wanderer=1 abuser=3")
    assert code == 0, run.output
    assert run.summary.counts["abuses_closed"] > 0
    assert run.summary.expected == 3


async def test_player_whose_inputs_are_not_acknowledged_fails_the_run(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push, deaf = Seat.push_input, set[Seat]()

    def push_input(seat: Seat, message: Input) -> None:
        if message.seq > 5 and not deaf:
            deaf.add(seat)
        if seat not in deaf:
            push(seat, message)

    monkeypatch.setattr(Seat, "push_input", push_input)
    monkeypatch.setattr(message_handlers, "push_input_frame", lambda frame, seat: False)
    code, run = await ended(shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "15s")
    assert code == 1, run.output
    assert set(run.summary.failures["inputs"]) == {"not acknowledged"}, run.output


async def test_player_that_raises_is_counted_and_fails_the_run(shard: Shard, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from tickwire.loadtest.locustfile import *\n"
        "from tickwire.loadtest.players import SwarmPlayer\n\n\n"
        "class Broken(SwarmPlayer):\n"
        "    def play(self):\n"
        "        self.session.open()\n"
        "        self.join()\n"
        "        self.session.stay(0.5)\n"
        "        raise KeyError('a mistake of the player')\n"
    )
    code, run = await ended(shard.url, tmp_path, "-u", "3", "-r", "3", "-t", "7s", "-f", str(mine), "--mix", "broken")
    assert code == 1, run.output
    ((reason, times),) = run.summary.failures["players"].items()
    assert reason == "Broken raised KeyError: 'a mistake of the player'"
    assert times >= 6, "and each begins again"
    assert "BROKEN players" in run.output


async def test_player_of_the_guide_plays(shard: Shard, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    command = '"build", {"what": "wall"}'
    assert command in block
    mine = tmp_path / "mine.py"
    mine.write_text(block.replace(command, '"say", "a wall"'))  # a command of the arena
    code, run = await ended(
        shard.url, tmp_path, "-u", "2", "-r", "2", "-t", "5s", "-f", str(mine), "--mix", "builder=1"
    )
    assert code == 0, run.output
    assert run.summary.times["reply"].count >= 2
    assert run.summary.times["input"].count > 0


async def test_swarm_that_loses_a_worker_fails(shard: Shard, tmp_path: Path) -> None:
    port = str(free_port())
    master = ["--master", "--master-bind-port", port, "--expect-workers", "2", "-u", "8", "-r", "8", "-t", "16s"]
    worker = ["--worker", "--master-port", port]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    async with (
        swarm(shard.url, tmp_path, *master) as leads,
        swarm("", tmp_path / "a", *worker),
        swarm("", tmp_path / "b", *worker) as lost,
    ):
        await eventually(lambda: len(shard.parts.edge.registry) >= 8, 30, "both play")
        await asyncio.sleep(1.5)
        lost.process.kill()
        assert await leads.end() == 1, leads.output
    assert sum(leads.summary.failures["workers"].values()) == 1
    assert "1 of 2 workers" in leads.output


@pytest.mark.parametrize(
    ("url", "better"),
    [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080"),
        ("https://game.example", "wss://game.example"),
        ("game.example:8080", "ws://game.example:8080"),
    ],
)
async def test_host_that_is_not_a_websocket_address_is_refused_with_a_message(
    tmp_path: Path, url: str, better: str
) -> None:
    for arguments in (("--host", url), ("--host", "ws://127.0.0.1:1", "--entry", url)):
        code, run = await ended("ws://127.0.0.1:1", tmp_path, "-u", "1", *arguments)
        assert code == 2, run.output
        assert f"{url!r} is not a WebSocket address: did you mean {better!r}?" in run.output
        assert "Traceback" not in run.output


async def test_stalled_load_is_reported(shard: Shard, tmp_path: Path) -> None:
    async with swarm(shard.url, tmp_path, "-u", "8", "-r", "8", "-t", "8s", "--load-lateness", "300") as run:
        await eventually(lambda: len(shard.parts.edge.registry) >= 8, 20, "the swarm plays")
        await asyncio.sleep(2)
        run.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        run.process.send_signal(signal.SIGCONT)
        code = await run.end()
    assert code == 3, run.output
    assert "THE LOAD ITSELF WAS LATE" in run.output
    assert run.summary.outcome == "load was late"


# -- shapes -------------------------------------------------------------------------------------------------


async def test_storm_reports_when_all_players_have_resumed(shard: Shard, tmp_path: Path) -> None:
    code, run = await ended(
        shard.url, tmp_path, "-u", "30", "-r", "30", "-t", "10s", "--shape", "storm", "--warmup", "2",
        "--slo", "lost_sessions=0",
    )  # fmt: skip
    assert code == 0, run.output
    summary = run.summary
    assert summary.counts["drops"] == summary.times["resume"].count == 30
    assert summary.recovered_after_s == pytest.approx(summary.times["resume"].max_ms / 1000, abs=0.01)
    assert "all players had resumed" in run.output


async def test_steps_end_where_a_level_breaks_and_say_the_last_good_one(shard: Shard, tmp_path: Path) -> None:
    code, run = await ended(
        shard.url, tmp_path, "-u", "12", "-r", "12", "--shape", "steps", "--step-players", "4", "--step-seconds", "2",
        "--warmup", "1", "--slo", "input_p50=10s",
    )  # fmt: skip
    assert code == 0, run.output
    assert [(step.players, step.holds) for step in run.summary.steps] == [(4, True), (8, True), (12, True)]
    assert run.summary.last_good == 12
    code, run = await ended(
        shard.url, tmp_path, "-u", "12", "-r", "12", "--shape", "steps", "--step-players", "4", "--step-seconds", "2",
        "--warmup", "1", "--slo", "input_p50=1us",
    )  # fmt: skip
    assert code == 1, run.output
    assert [step.players for step in run.summary.steps] == [4]
    assert "input_p50 was" in run.summary.steps[0].reason


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("false", 1), ("no-such-program", 1)])
async def test_a_rolling_run_lives_through_its_command(shard: Shard, tmp_path: Path, command: str, code: int) -> None:
    found, run = await ended(
        shard.url, tmp_path, "-u", "4", "-r", "4", "-t", "4s", "--shape", "rolling", "--warmup", "1",
        "--during", command,
    )  # fmt: skip
    assert found == code, run.output
    assert bool(run.summary.command_failed) == bool(code)


async def test_two_workers_play_as_one_swarm(shard: Shard, tmp_path: Path) -> None:
    port = str(free_port())
    master = ["--master", "--master-bind-port", port, "--expect-workers", "2", "-u", "20", "-r", "20",
              "-t", "18s", "--shape", "storm", "--warmup", "3", "--room", "pulse",
              "--mix", "wanderer=1 reconnector=1"]  # fmt: skip
    worker = ["--worker", "--master-port", port]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    async with (
        swarm(shard.url, tmp_path, *master) as leads,
        swarm("", tmp_path / "a", *worker) as a,
        swarm("", tmp_path / "b", *worker) as b,
    ):
        assert await leads.end() == 0, leads.output
        assert await a.end() == await b.end() == 0, a.output + b.output
    summary = leads.summary
    assert summary.players_most == 20
    assert 10 <= summary.seated == summary.expected
    assert {room.room.room_type for room in shard.parts.host} == {"pulse"}, "the master's options are the workers'"
    assert summary.times["join"].count == 20
    assert summary.counts["drops"] > 20, "those of the storm, and the reconnectors' own"
    assert summary.times["input"].count > 20 * 10 * 5


# -- runs that are refused -----------------------------------------------------------------------------------


async def test_a_missing_server_is_one_sentence(tmp_path: Path) -> None:
    code, run = await ended(f"ws://127.0.0.1:{free_port()}", tmp_path, "-u", "1")
    assert code == 2
    assert "the server cannot be reached" in run.output
    assert "Connection refused" in run.output
    assert "Traceback" not in run.output


async def test_untrusted_certificate_is_refused_and_ca_makes_it_trusted(settings: Settings, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    secure = msgspec.structs.replace(settings, listen=Listen(port=0, certificate=str(certificate), key=str(key)))
    async with running(secure) as shard:
        url = shard.url.replace("127.0.0.1", "localhost")
        code, run = await ended(url, tmp_path, "-u", "1", "-t", "2s")
        assert code == 2
        assert "not trusted" in run.output
        assert "--ca FILE" in run.output
        code, run = await ended(
            url, tmp_path, "-u", "2", "-t", "4s", "--ca", str(certificate), "--mix", "reconnector"
        )
        assert code == 0, run.output
        assert run.summary.times["input"].count > 0


async def test_wrong_token_is_refused_and_right_token_accepted(settings: Settings, tmp_path: Path) -> None:
    secret = "a secret that is shared with the issuer"
    strict = msgspec.structs.replace(settings, auth=AuthSettings(guests=False, secret=secret, audience="game"))
    token, right = tmp_path / "token", tmp_path / "secret"
    token.write_text("not.a.token")
    right.write_text(secret)
    async with running(strict) as shard:
        code, run = await ended(shard.url, tmp_path, "-u", "1", "--token-file", str(token))
        assert code == 2
        assert "does not accept the token" in run.output
        signed = ("--token-secret-file", str(right), "--token-audience", "game")
        code, run = await ended(shard.url, tmp_path, "-u", "3", "-r", "3", "-t", "3s", *signed)
        assert code == 0, run.output
        assert run.summary.seated == 3
        assert secret not in run.output + run.summary_file.read_text()


async def test_a_server_that_is_too_new_is_one_sentence(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "SCHEMA_VERSION_MIN", 99)
    code, run = await ended(shard.url, tmp_path, "-u", "1")
    assert code == 2
    assert "too new for this swarm: it requires schema version 99" in run.output


async def test_old_or_other_server_is_reported(tmp_path: Path) -> None:
    async def hang_up(connection: object) -> None:
        pass

    async with serve(hang_up, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        code, run = await ended(f"ws://127.0.0.1:{port}", tmp_path, "-u", "1")
    assert code == 2
    assert "does not support tickwire.1" in run.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--room", "nowhere"], "does not host rooms of type 'nowhere'"),
        (["--slo", "latency=5"], "unknown service level 'latency'"),
        (["--mix", "dragon=1"], "unknown players 'dragon'; the names are abuser, churner"),
        (["--mix", "wanderer=x"], "must have a number"),
        (["--mix", "wanderer=0"], "no player has a weight above 0"),
        (["--shape", "rolling"], "requires --during COMMAND"),
        (["--shape", "steps"], "requires at least one --slo"),
        (["--room-options", "[1]"], "is not a JSON object"),
        (["--token-file", "/no/such/file"], "No such file"),
        (["--ca", "/no/such/file"], "No such file"),
        (["--report", "/proc/no/report.html"], "--report /proc/no/report.html: cannot be written"),
    ],
)
async def test_invalid_options_are_reported_in_a_sentence(
    shard: Shard, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, run = await ended(shard.url, tmp_path, "-u", "1", *arguments)
    assert code == 2, run.output
    assert words in run.output
    assert "Traceback" not in run.output


async def test_a_file_says_the_same_as_the_command_line(shard: Shard, tmp_path: Path) -> None:
    config = tmp_path / "swarm.toml"
    config.write_text(
        '[tool.locust]\nusers = 3\nspawn-rate = 3\nrun-time = "3s"\nmix = "wanderer=1 churner=1"\n'
        'slo = ["input_p99=30s", "failures=0"]\n'
    )
    code, run = await ended(shard.url, tmp_path, "--config", str(config))
    assert code == 0, run.output
    assert [verdict.level for verdict in run.summary.verdicts] == ["input_p99", "failures"]
    assert run.summary.plan.players == 3


async def test_a_report_that_cannot_be_written_at_the_end_leaves_the_outcome_as_it_is(
    shard: Shard, tmp_path: Path
) -> None:
    report = tmp_path / "full.html"
    report.symlink_to("/dev/full")  # opens at the start, and has no space at the end
    code, run = await ended(shard.url, tmp_path, "-u", "1", "-t", "3s", "--report", str(report))
    assert code == 0, run.output
    assert f"{report} cannot be written: No space left on device" in run.output
