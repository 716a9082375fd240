"""A harness of several rooms: joins, moves, matches and lists of rooms, by the parts of a real shard."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire import CommandRefused, MoveOutcome, Player, Room, Table, command, uint
from tickwire.client.errors import Refused
from tickwire.client.options import JoinOptions, MatchOptions
from tickwire.examples.arena import MODES, Arena
from tickwire.examples.tag import Tag
from tickwire.matchmaking import Mode, Rules
from tickwire.schemas.messages import ErrorCode, QueueState
from tickwire.testing import Network, RoomHarness


class Chairs(Table):
    number = uint(bits=8)


class WaitingRoom(Room):
    """Moves a player to a contest, and counts the outcomes."""

    room_type = "waiting"
    chairs: Chairs

    def on_create(self, options: Any) -> None:
        self.refusals: list[str] = []

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.chairs.spawn(number=len(self.players))

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    @command
    def play(self, player: Player, name: str = "", level: int = 1) -> None:
        player.move_to("contest", name=name, options={"level": level}, then=self.moved)

    def moved(self, outcome: MoveOutcome) -> None:
        self.refusals.append(outcome.refused)


class Contest(Room):
    """A small room with labels and locks."""

    room_type = "contest"
    max_players = 2
    chairs: Chairs

    def on_create(self, options: Any) -> None:
        self.levels: dict[str, int] = {}

    def on_join(self, player: Player, options: Any) -> None:
        self.levels[player.id] = options.get("level", 0)
        player.entity = self.chairs.spawn(number=player.team)

    def on_leave(self, player: Player) -> None:
        player.entity.despawn()

    @command
    def close_doors(self, player: Player) -> None:
        if self.access == "locked":
            raise CommandRefused("the room is locked already")
        self.lock()


DUEL = Mode("duel", Rules(room_type="contest", teams=2, team_size=1, skill_window=100))
PAIRS = Mode("pairs", Rules(room_type="contest", teams=1, team_size=2, timeout_s=30))
LATE = Network(latency_ms=(20, 90))


def create_harness(**more: Any) -> RoomHarness[WaitingRoom]:
    return RoomHarness(WaitingRoom, rooms=[Contest], modes=[DUEL, PAIRS], **more)


def test_a_room_moves_its_players_to_another_room() -> None:
    with create_harness(network=LATE) as harness:
        ann, bob, cid = (harness.join(name) for name in ("ann", "bob", "cid"))
        for client, level in ((ann, 1), (bob, 2), (cid, 3)):
            client.command("play", level=level)
            harness.run(seconds=1)
        first, second = harness.rooms_of(Contest)
        assert (first.levels, second.levels) == ({"ann": 1, "bob": 2}, {"cid": 3}), "a room fills up first"
        assert harness.room_of(ann) is harness.room_of(bob) is first
        assert harness.room.refusals == ["", "", ""]
        assert len(harness.room.players) == 0
        harness.check_convergence()


def test_a_move_to_a_full_room_is_refused_and_the_player_keeps_its_seat() -> None:
    with create_harness() as harness:
        clients = [harness.join(name) for name in ("ann", "bob", "cid")]
        for client in clients:
            client.command("play", name="final")
            harness.run(seconds=1)
        (final,) = harness.rooms_of(Contest)
        assert list(final.players) == ["ann", "bob"]
        assert harness.room_of(clients[2]) is harness.room
        assert [bool(refusal) for refusal in harness.room.refusals] == [False, False, True]
        harness.check_convergence()


def test_a_locked_room_refuses_players() -> None:
    with create_harness() as harness:
        ann = harness.join("ann", room_class=Contest, request=JoinOptions(name="final"))
        ann.command("close_doors")
        harness.run(seconds=2)
        with pytest.raises(Refused) as refused:
            harness.join("bob", room_class=Contest, request=JoinOptions(name="final"))
        assert refused.value.error.code == ErrorCode.ROOM_LOCKED


def test_a_private_room_opens_by_its_code_only() -> None:
    with create_harness() as harness:
        harness.join("host", room_class=Contest, request=JoinOptions(is_private=True))
        (private,) = harness.rooms_of(Contest)
        harness.join("friend", room_class=Contest, request=JoinOptions(code=private.code))
        stranger = harness.join("stranger", room_class=Contest)
        assert list(private.players) == ["host", "friend"]
        assert harness.room_of(stranger) is not private


def test_two_players_are_matched_into_one_room_with_a_team_each() -> None:
    with create_harness(network=LATE) as harness:
        ann, bob = harness.open_session("ann"), harness.join("bob")
        first = ann.match("duel", MatchOptions(options={"level": 7}))
        harness.run(seconds=5)
        assert not first.is_done
        assert first.status is not None
        assert (first.status.state, first.status.position) == (QueueState.WAITING, 1)
        second = bob.match("duel")
        harness.run(seconds=2)
        assert (first.has_joined, second.has_joined) == (True, True)
        (contest,) = harness.rooms_of(Contest)
        assert contest.levels == {"ann": 7, "bob": 0}
        assert sorted(player.team for player in contest.players.values()) == [1, 2]
        assert contest.mode == "duel"
        assert len(harness.room.players) == 0, "bob has left the waiting room"
        harness.check_convergence()


def test_a_second_match_is_refused_and_leaves_the_first_one_as_it_is() -> None:
    with create_harness() as harness:
        ann, bob = harness.open_session("ann"), harness.open_session("bob")
        first = ann.match("duel")
        harness.run(seconds=1)
        second = ann.match("pairs")
        assert "another match is waiting" in str(second.failure)
        bob.match("duel")
        harness.run(seconds=2)
        assert (first.is_found, first.has_joined, second.status) == (True, True, None)


def test_a_party_is_matched_together() -> None:
    with create_harness() as harness:
        clients = [harness.open_session(f"p{number}") for number in range(4)]
        calls = [
            client.match("pairs", MatchOptions(party=(f"party {number % 2}", 2)))
            for number, client in enumerate(clients)
        ]
        harness.run(seconds=2)
        assert all(call.has_joined for call in calls)
        assert {frozenset(room.players) for room in harness.rooms_of(Contest)} == {
            frozenset({"p0", "p2"}),
            frozenset({"p1", "p3"}),
        }


def test_a_wait_ends_by_a_cancel_or_after_the_time_of_the_mode() -> None:
    with create_harness() as harness:
        ann, bob = harness.open_session("ann"), harness.open_session("bob")
        cancelled, late = ann.match("duel"), bob.match("pairs")
        harness.run(seconds=1)
        ann.cancel_match()
        harness.run(seconds=1)
        assert (cancelled.has_ended, late.has_ended) == (True, False)
        harness.run(seconds=40)
        assert late.status is not None
        assert (late.has_ended, late.status.state) == (True, QueueState.TIMED_OUT)


def test_a_player_that_loses_its_connection_finds_its_match_when_it_resumes() -> None:
    with create_harness() as harness:
        ann, bob = harness.open_session("ann"), harness.open_session("bob")
        call = ann.match("duel")
        harness.run(seconds=1)
        ann.disconnect()
        bob.match("duel")
        harness.run(seconds=2)
        ann.reconnect()
        harness.run(seconds=2)
        assert call.has_joined
        (contest,) = harness.rooms_of(Contest)
        assert set(contest.players) == {"ann", "bob"}


def test_open_rooms_are_listed_the_fullest_first() -> None:
    with create_harness() as harness:
        ann = harness.open_session("ann")
        for number, map_name in enumerate(("ice", "sand", "ice")):
            request = JoinOptions(labels={"map": map_name}) if number < 2 else JoinOptions(name="named")
            harness.join(f"p{number}", room_class=Contest, request=request)
        call = ann.list_rooms("contest")
        harness.run(seconds=1)
        assert [(room.players, room.players_max) for room in call.rooms] == [(1, 2), (1, 2)]
        some = ann.list_rooms("contest", {"map": "ice"})
        harness.run(seconds=1)
        (listed,) = some.rooms
        bob = harness.join("bob", room_class=Contest, request=JoinOptions(room_id=listed.room_id))
        room = harness.room_of(bob)
        assert room is not None
        assert room.labels == {"map": "ice"}
        assert not ann.list_rooms("contest").is_done


def test_all_rooms_and_waiting_players_move_with_a_migration() -> None:
    with create_harness() as harness:
        ann, bob = harness.join("ann"), harness.join("bob", room_class=Contest)
        call = ann.match("duel")
        harness.run(seconds=1)
        harness.migrate()
        harness.run(seconds=2)
        (contest,) = harness.rooms_of(Contest)
        assert harness.room_of(bob) is contest
        assert harness.room_of(ann) is harness.room
        cid = harness.join("cid")
        other = cid.match("duel")
        harness.run(seconds=2)
        assert (call.has_joined, other.has_joined) == (True, True)
        dan = harness.join("dan", room_class=Contest)
        assert harness.room_of(dan) is contest, "the matchmaker knows where the room is"
        harness.check_convergence()


def test_a_seat_of_a_room_is_free_when_its_player_has_left() -> None:
    with create_harness() as harness:
        ann = harness.join("ann", room_class=Contest)
        harness.join("bob", room_class=Contest)
        ann.leave()
        harness.run(seconds=1)
        cid = harness.join("cid", room_class=Contest)
        (contest,) = harness.rooms_of(Contest)
        assert harness.room_of(cid) is contest


def test_the_same_seed_creates_the_same_rooms() -> None:
    def play(seed: int) -> list[str]:
        with create_harness(seed=seed, network=LATE) as harness:
            for number in range(6):
                harness.open_session(f"p{number}").match("duel")
            harness.run(seconds=3)
            return [f"{room.room_id} {sorted(room.players)}" for room in harness.rooms_of(Contest)]

    assert len(play(1)) == 3
    assert play(1) == play(1)
    assert play(1) != play(2)


def test_the_arena_is_filled_by_its_mode_and_its_backfill() -> None:
    with RoomHarness(Tag, rooms=[Arena], modes=MODES) as harness:
        ann, bob = harness.join("ann"), harness.open_session("bob")
        for client in (ann, bob):
            client.match("skirmish")
        harness.run(seconds=3)
        assert harness.rooms_of(Arena) == [], "the mode waits for more players"
        harness.run(seconds=5)
        (arena,) = harness.rooms_of(Arena)
        assert sorted(arena.players) == ["ann", "bob"]
        late = harness.open_session("late").match("skirmish")
        harness.run(seconds=4)
        assert late.has_joined
        assert harness.rooms_of(Arena) == [arena]
        assert len(arena.players) == 3
        harness.check_convergence()


class SavedLobby(WaitingRoom):
    """A durable lobby."""

    room_type = "saved lobby"
    durable = True


def test_a_crash_loses_the_other_rooms_and_their_names_can_be_joined_again() -> None:
    with RoomHarness(SavedLobby, rooms=[Contest]) as harness:
        ann = harness.join("ann")
        bob = harness.join("bob", room_class=Contest, request=JoinOptions(name="final"))
        harness.run(seconds=2)
        harness.crash_and_restore()
        assert harness.rooms_of(Contest) == []
        harness.run(seconds=5)
        assert harness.room_of(ann) is harness.room
        assert not bob.is_seated
        bob.join("contest", JoinOptions(name="final"))
        harness.run(seconds=2)
        (contest,) = harness.rooms_of(Contest)
        assert harness.room_of(bob) is contest
        for number in range(8):
            harness.join(f"p{number}", room_class=Contest, request=JoinOptions(name=f"room {number}"))
        assert len(harness.rooms_of(Contest)) == 9, "no room is created on the shard that has crashed"


def test_a_match_that_is_requested_before_the_session_is_open_is_found() -> None:
    with create_harness(network=LATE) as harness:
        calls = [harness.connect(name).match("duel") for name in ("ann", "bob")]
        harness.run(seconds=3)
        assert [call.has_joined for call in calls] == [True, True]


def test_a_mode_needs_a_room_of_the_harness() -> None:
    with pytest.raises(ValueError, match="add it to `rooms`"):
        RoomHarness(WaitingRoom, modes=[DUEL])


def test_tag_is_joined_by_its_type_like_a_game_does() -> None:
    with RoomHarness(Tag) as harness:
        ann = harness.join("ann")
        assert harness.room_of(ann) is harness.room
        harness.run(seconds=2)
        harness.check_convergence()


@pytest.mark.parametrize("gap_s", [0.0, 0.8, 0.9, 1.1])
def test_players_outside_a_room_wait_on_when_their_shard_stops(gap_s: float) -> None:
    """Their match may be requested, found or joined while they move from shard to shard."""
    with create_harness(network=LATE) as harness:
        harness.join("ann")
        bob, cem = harness.open_session("bob"), harness.open_session("cem")
        matches = [bob.match("duel"), cem.match("duel")]
        harness.run(seconds=gap_s)
        harness.migrate()
        harness.run(seconds=0.1)
        harness.migrate()
        harness.run(seconds=10)
        assert [match.has_joined for match in matches] == [True, True]
        assert harness.room_of(bob) is harness.room_of(cem)
        harness.check_convergence()
        players = sorted(session.player_id for shard in harness.shards.values() for session in shard.registry)
        assert players == ["ann", "bob", "cem"], "a session that has moved ends on its first shard"
        dan = harness.open_session("dan")
        alone = dan.match("duel")
        harness.run(seconds=5)
        assert not alone.is_done, "the players of the first match wait for no second one"


def test_a_player_who_is_away_keeps_the_queue_position_through_two_moves() -> None:
    with create_harness() as harness:
        bob, cem = harness.open_session("bob"), harness.open_session("cem")
        harness.migrate()
        harness.run(seconds=1)
        waits = bob.match("duel")
        harness.run(seconds=0.5)
        bob.disconnect()
        harness.migrate()
        harness.migrate()
        found = cem.match("duel")
        harness.run(seconds=3)
        bob.reconnect()
        harness.run(seconds=3)
        assert waits.has_joined
        assert found.has_joined
