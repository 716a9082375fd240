"""Tables and channels: rows, saves, baselines, interest sets, ids and texts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness.frames import apply, frames_in
from tickwire.client.world import World
from tickwire.schemas.delta import ENTITIES_MAX
from tickwire.schemas.fields import NotANumber
from tickwire.schemas.messages import StateDescription, StateFrame
from tickwire.schemas.parts import HAS_CHECKSUM, decode_parts
from tickwire.server.replication.client_view import ClientView, InterestSet
from tickwire.server.replication.columns import blob, local, real, text, uint
from tickwire.server.replication.entity_ids import QUARANTINE_TICKS, EntityIds
from tickwire.server.replication.replicator import AGE_TICKS_MAX, Replicator
from tickwire.server.replication.table import NOBODY, Table, TableFull
from tickwire.server.replication.text_encoder import InvalidText

pytestmark = pytest.mark.usefixtures("each_kernel")


class LocalShips(Table):
    x = real(-100, 100, step=0.5)
    hp = uint(bits=7)
    speed = local(np.float32)


def test_a_row_reads_and_writes_its_columns() -> None:
    ships = LocalShips()
    ship = ships.spawn(x=1.0, hp=100, speed=2.0)
    ship.x += 0.5
    assert (ship.x, ship.hp, ship.speed) == (1.5, 100, 2.0)
    assert ships.x.tolist() == [1.5]


def test_columns_move_all_rows_at_once() -> None:
    ships = LocalShips()
    for _ in range(40):  # more than the first allocation
        ships.spawn(x=0.0, speed=4.0)
    ships.x += ships.speed * 0.25
    ships.hp = 7
    assert set(ships.x.tolist()) == {1.0}
    assert set(ships.hp.tolist()) == {7}


def test_despawned_row_exists_until_the_end_of_the_tick_and_its_id_is_not_reused_at_once() -> None:
    ships = LocalShips()
    first, second = ships.spawn(x=1.0), ships.spawn(x=2.0)
    ships.despawn(first.id)
    ships.despawn(first.id)
    ships.despawn(12345)
    assert len(ships) == 2
    assert first.id not in ships
    ships.compact()
    assert ships.ids.tolist() == [second.id]
    assert second.x == 2.0
    with pytest.raises(KeyError, match="was despawned"):
        _ = first.x
    assert ships.spawn().id > second.id


def test_spawn_with_an_unknown_column_names_it() -> None:
    with pytest.raises(ValueError, match="no column y"):
        LocalShips().spawn(y=1.0)


def test_restored_table_has_the_values_that_clients_saw() -> None:
    ships = LocalShips()
    for x in (1.26, -300.0, 99.9):
        ships.spawn(x=x, hp=3, speed=9.0)
    restored = LocalShips()
    restored.restore(ships.state())
    assert restored.ids.tolist() == ships.ids.tolist()
    assert restored.x.tolist() == [1.5, -100.0, 100.0]
    assert restored.speed.tolist() == [0.0, 0.0, 0.0], "local columns are not saved"
    assert restored[int(ships.ids[1])].hp == 3


class TickedReplicator:
    """A replicator with its own tick counter."""

    def __init__(self, *tables: Table, checksum_ticks: int = 200) -> None:
        self.replication = Replicator(tables, checksum_ticks=checksum_ticks)
        self.everyone = self.replication.everyone
        self.tick = 0

    def next(self, ticks: int = 1) -> None:
        self.tick += ticks
        self.replication.capture(self.tick)

    def update(
        self, view: ClientView | None, interest: InterestSet | None = None
    ) -> tuple[list[StateFrame], ClientView]:
        data, after = self.replication.update(view, interest or self.everyone)
        return frames_in(data), after

    def counts(self) -> tuple[int, int]:
        return self.replication.reset_counts()


def test_clients_with_equal_baselines_share_one_encoded_frame() -> None:
    ships = LocalShips()
    ships.spawn(x=1.0)
    room = TickedReplicator(ships)
    room.next()
    first, second = (room.replication.update(None, room.everyone) for _ in range(2))
    assert first[0] == second[0]
    assert first[1] is second[1]
    ships.x += 1.0
    room.next()
    assert room.replication.prepare(room.everyone).before is first[1]
    assert frames_in(room.everyone.data)[0].age == 1
    assert room.counts() == (1, 1)


def test_clients_that_skipped_different_ticks_share_a_view_one_tick_later() -> None:
    ships = LocalShips()
    ships.spawn(x=1.0)
    room = TickedReplicator(ships)
    views: list[ClientView] = []
    for _ in range(3):
        ships.x += 1.0
        room.next()
        views.append(room.update(views[-1] if views else None)[1])
    ships.x += 1.0
    room.next()
    (quick,), quick_view = room.update(views[2])
    (slow,), slow_view = room.update(views[0])
    assert (quick.age, slow.age) == (1, 3)
    assert quick_view is not slow_view
    ships.x += 1.0
    room.next()
    room.counts()
    quick_frame, slow_frame = room.update(quick_view), room.update(slow_view)
    assert quick_frame[1] is slow_frame[1]
    assert room.counts() == (0, 2)
    ships.x += 1.0
    room.next()
    room.update(quick_frame[1])
    assert room.counts() == (0, 1)


def test_client_that_joins_an_unchanged_room_shares_the_baseline_of_all_others() -> None:
    ships = LocalShips()
    ships.spawn(x=1.0)
    room = TickedReplicator(ships)
    room.next()
    _, early = room.update(None)
    room.next()
    (frame,), late = room.update(None)
    assert frame.age == 0
    _, early = room.update(early)
    ships.x += 1.0
    room.next()
    (one,), after_one = room.update(early)
    (other,), after_other = room.update(late)
    assert (one.age, other.age) == (2, 1), "the age of a frame counts from the client's last frame"
    assert one.packed == other.packed
    assert after_one is after_other


def test_unchanged_channel_is_sent_only_when_its_checksum_is_due() -> None:
    ships = LocalShips()
    ships.spawn(x=1.0)
    room = TickedReplicator(ships, checksum_ticks=50)
    room.next()
    _, view = room.update(None)
    for _ in range(48):
        room.next()
        frames, view = room.update(view)
        assert frames == []
    room.next()
    ((frame,), view) = room.update(view)
    assert (frame.age, frame.flags, len(frame.packed)) == (49, HAS_CHECKSUM, 1 + 4)


def test_delta_falls_back_to_keyframe_when_the_baseline_is_too_old() -> None:
    for ticks, age in ((AGE_TICKS_MAX, AGE_TICKS_MAX), (AGE_TICKS_MAX + 1, 0)):
        ships = LocalShips()
        ships.spawn(x=1.0)
        room = TickedReplicator(ships)
        room.next()
        _, view = room.update(None)
        ships.x += 1.0
        room.next(ticks)
        assert room.update(view)[0][0].age == age


def test_entity_that_moves_between_subscribed_channels_stays_in_the_world() -> None:
    ships = LocalShips()
    ship, other = ships.spawn(x=1.0, channel=1), ships.spawn(x=9.0, channel=2)
    room = TickedReplicator(ships)
    both, one = (room.replication.get_interest(frozenset(numbers)) for numbers in ((1, 2), (1,)))
    for interest in (both, one):
        room.replication.subscribe(interest)
    worlds = {interest: World(StateDescription((LocalShips.describe("ships"),))) for interest in (both, one)}
    views: dict[InterestSet, ClientView | None] = {both: None, one: None}
    for seen in ({both: [1, 2], one: [1]}, {both: [1, 2], one: []}, {both: [1, 2], one: [1]}):
        room.next()
        for interest, ids in seen.items():
            frames, views[interest] = room.update(views[interest], interest)
            assert len(frames) == 1
            assert apply(worlds[interest], frames[0])
            assert worlds[interest].table("ships").ids.tolist() == ids
        ship.channel = 3 - ship.channel
    assert other.channel == 2


def test_entities_in_the_channel_nobody_are_not_sent() -> None:
    ships = LocalShips()
    room = TickedReplicator(ships)
    ships.spawn(x=1.0)
    room.next()
    shown, view = room.update(None)
    ships.spawn(x=50.0, channel=NOBODY)
    room.next()
    assert room.update(view)[0] == []
    assert room.update(None)[0][0].packed == shown[0].packed
    for _ in range(3):
        ships.x[1] += 1.0
        room.next()
        frames, view = room.update(view)
        assert frames == [], "the change is not visible either"
    everything = room.replication.get_interest(frozenset((0, NOBODY)))
    room.replication.subscribe(everything)
    room.next()
    world = World(StateDescription((LocalShips.describe("ships"),)))
    assert apply(world, room.update(None, everything)[0][0])
    assert world.table("ships").ids.tolist() == [1], "a subscriber of NOBODY receives no entity"


def test_channel_that_rests_in_the_tick_of_its_checksum_moves_on_from_rest() -> None:
    """A checksum without changes still brings the client one tick further: it predicts from rest."""
    ships = LocalShips()
    for number in range(8):
        ships.spawn(x=number, channel=1)
    room = TickedReplicator(ships, checksum_ticks=3)
    interest = room.replication.subscribe(room.replication.get_interest(frozenset((1,))))
    world, view = World(StateDescription((LocalShips.describe("ships"),))), None
    for tick in range(1, 10):
        ships.x += 0.0 if tick == 5 else 3.0  # the checksums are due at 2, 5 and 8
        room.next()
        (frame,), view = room.update(view, interest)
        assert bool(frame.flags & HAS_CHECKSUM) == (tick % 3 == 2)
        assert apply(world, frame)
        assert world.table("ships").column("x").tolist() == ships.x.tolist()


def test_interest_set_that_is_skipped_receives_one_cumulative_update() -> None:
    ships = LocalShips()
    ships.spawn(x=1.0, channel=1)
    room = TickedReplicator(ships)
    one, both = (room.replication.get_interest(frozenset(numbers)) for numbers in ((1,), (1, 2)))
    for interest in (one, both):
        room.replication.subscribe(interest)
    world = World(StateDescription((LocalShips.describe("ships"),)))
    views: dict[InterestSet, ClientView | None] = {one: None, both: None}
    for updated in ((one, both), (one, both), (both,), (both,), (one, both), (one, both)):
        ships.x += 1.0
        room.next()
        for interest in updated:
            prepared = room.replication.prepare(interest)
            view = views[interest]
            if view is not None and view is prepared.before:
                frames, views[interest] = frames_in(prepared.data), prepared.after
            else:
                frames, views[interest] = room.update(view, interest)
            if interest is one:
                for frame in frames:
                    assert apply(world, frame)
                assert world.table("ships").column("x").tolist() == ships.x.tolist()


def test_unsubscribed_channel_is_cleared_and_can_be_subscribed_again() -> None:
    ships = LocalShips()
    ship = ships.spawn(x=1.0, channel=7)
    room = TickedReplicator(ships)
    with_seven = room.replication.get_interest(frozenset((0, 7)))
    room.replication.subscribe(with_seven)
    world = World(StateDescription((LocalShips.describe("ships"),)))
    view = None
    for interest, ids in ((with_seven, [1]), (room.everyone, []), (with_seven, [1])):
        room.next()
        frames, view = room.update(view, interest)
        for frame in frames:
            assert apply(world, frame)
        assert world.table("ships").ids.tolist() == ids
        ship.x += 1.0


def test_requested_keyframe_is_sent_for_an_empty_channel() -> None:
    ships = LocalShips()
    ship = ships.spawn(x=1.0)
    room = TickedReplicator(ships)
    room.next()
    _, view = room.update(None)
    ships.despawn(ship.id)
    ships.compact()
    room.next()
    _, view = room.update(view)
    room.next()
    ((frame,), _) = room.update(view.without_channel(0))
    assert [(part.channel, part.is_keyframe) for part in decode_parts(frame)] == [(0, True)]


def test_id_is_reused_only_after_its_quarantine_and_rows_stay_sorted() -> None:
    ids = EntityIds()
    ships = LocalShips(ids)
    first, second = ships.spawn(x=1.0), ships.spawn(x=2.0)
    first_id = first.id
    ships.despawn(first_id)
    ships.compact()
    ids.tick = QUARANTINE_TICKS - 1
    ids.recycle((ships,), in_use=())
    third = ships.spawn(x=3.0)
    ids.tick = QUARANTINE_TICKS
    ids.recycle((ships,), in_use=())
    again = ships.spawn(x=4.0)
    assert (third.id, again.id) == (3, first_id)
    ships.compact()
    assert ships.ids.tolist() == [again.id, second.id, third.id]
    assert ships.x.tolist() == [4.0, 2.0, 3.0]
    assert again.x == 4.0


def test_values_out_of_range_are_clamped_and_counted_and_nan_names_field_and_entity() -> None:
    ships = LocalShips()
    for x in (-900.0, 0.0, 900.0):
        ships.spawn(x=x, hp=200)
    assert ships.quantise().tolist() == [[0, 200, 400], [127, 127, 127]]
    assert ships.clamped == {"x": 2, "hp": 3}
    ships.x[1] = np.nan
    with pytest.raises(NotANumber, match=f"'x' of entity {ships.ids[1]}"):
        ships.quantise()


class Signs(Table):
    words = text(bytes_max=8)
    seal = blob(bytes_max=4)


def test_texts_are_truncated_at_whole_characters_and_counted() -> None:
    signs = Signs()
    signs.spawn(words="abcdefgé", seal=b"1234")
    signs.spawn()
    assert signs.texts().tolist() == [[b"abcdefg", b""], [b"1234", b""]]
    assert signs.clamped == {"words": 1}
    assert signs.texts() is signs.texts(), "unchanged texts are not encoded again"
    signs[1].seal = b"12345"
    with pytest.raises(InvalidText, match="'seal' of entity 1: 5 bytes; at most 4"):
        signs.texts()
    signs[1].seal = "text"
    with pytest.raises(InvalidText, match="'seal' of entity 1 must be bytes, not str"):
        signs.texts()


def test_texts_are_sent_when_they_change_and_saved() -> None:
    signs = Signs()
    sign = signs.spawn(words="hi", seal=b"x")
    room = TickedReplicator(signs)
    world = World(StateDescription((Signs.describe("signs"),)))
    view, sizes = None, []
    for words in ("hi", "hi", "ho"):
        sign.words = words
        room.next()
        frames, view = room.update(view)
        sizes.append(len(frames))
        for frame in frames:
            assert apply(world, frame)
        assert world.table("signs").entity(sign.id) == {"words": words, "seal": b"x"}
    assert sizes == [1, 0, 1]
    restored = Signs()
    restored.restore(signs.state())
    assert restored[sign.id].words == "ho"
    assert restored[sign.id].seal == b"x"


def test_saved_table_keeps_the_channels_of_its_rows() -> None:
    ships = LocalShips()
    ships.spawn(channel=9)
    restored = LocalShips()
    restored.restore(ships.state())
    assert restored.channel.tolist() == [9]


def test_full_table_raises_and_accepts_entities_again_in_the_next_tick() -> None:
    ships = LocalShips()
    for _ in range(ENTITIES_MAX):
        ships.spawn()
    with pytest.raises(TableFull, match=r"Ships is full: a table can have at most 65,536 entities"):
        ships.spawn()
    ships.despawn(1)
    with pytest.raises(TableFull):
        ships.spawn()
    ships.compact()
    assert ships.spawn().id == ENTITIES_MAX + 1
