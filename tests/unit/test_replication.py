"""Tables and channels, one promise at a time."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.codec import decode_server
from schemas.messages import StateFrame
from server.replication.channel import AGE_TICKS_MAX, QUIET_TICKS_MAX, Channel, Frame
from server.replication.columns import local, real, uint
from server.replication.table import Table


class Ships(Table):
    x = real(-100, 100, step=0.5)
    hp = uint(bits=7)
    speed = local(np.float32)


def message_of(frame: Frame | None) -> StateFrame:
    assert frame is not None
    message = decode_server(frame.data[2:])
    assert isinstance(message, StateFrame)
    return message


def test_a_row_reads_and_writes_its_columns() -> None:
    ships = Ships()
    ship = ships.spawn(x=1.0, hp=100, speed=2.0)
    ship.x += 0.5
    assert (ship.x, ship.hp, ship.speed) == (1.5, 100, 2.0)
    assert ships.x.tolist() == [1.5]


def test_columns_move_all_rows_at_once() -> None:
    ships = Ships()
    for _ in range(40):  # more than the first allocation
        ships.spawn(x=0.0, speed=4.0)
    ships.x += ships.speed * 0.25
    ships.hp = 7
    assert set(ships.x.tolist()) == {1.0}
    assert set(ships.hp.tolist()) == {7}


def test_a_despawned_row_stays_until_the_end_of_the_tick_and_its_id_is_never_used_again() -> None:
    ships = Ships()
    first, second = ships.spawn(x=1.0), ships.spawn(x=2.0)
    ships.despawn(first.id)
    ships.despawn(first.id)
    ships.despawn(12345)
    assert len(ships) == 2
    assert first.id not in ships
    ships.compact()
    assert ships.ids.tolist() == [second.id]
    assert second.x == 2.0
    with pytest.raises(KeyError, match="no entity"):
        _ = first.x
    assert ships.spawn().id > second.id


def test_a_wrong_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column y"):
        Ships().spawn(y=1.0)


def test_a_saved_table_comes_back_as_clients_saw_it() -> None:
    ships = Ships()
    for x in (1.26, -300.0, 99.9):
        ships.spawn(x=x, hp=3, speed=9.0)
    restored = Ships()
    restored.restore(ships.state())
    assert restored.ids.tolist() == ships.ids.tolist()
    assert restored.x.tolist() == [1.5, -100.0, 100.0]
    assert restored.speed.tolist() == [0.0, 0.0, 0.0], "local columns are not saved"
    assert restored[int(ships.ids[1])].hp == 3


def test_all_who_stand_alike_get_the_same_bytes_and_one_encode() -> None:
    ships = Ships()
    ships.spawn(x=1.0)
    channel = Channel(0, (ships,))
    channel.capture(1)
    first = channel.frame(None)
    assert first is not None
    assert channel.frame(None) is first
    ships.x += 1.0
    channel.capture(2)
    assert channel.frame(first.standing) is channel.frame(first.standing)
    assert (channel.keyframes, channel.deltas) == (1, 1)


def test_two_who_came_on_different_ways_share_frames_again_one_tick_later() -> None:
    ships = Ships()
    ships.spawn(x=1.0)
    channel = Channel(0, (ships,))
    standings = []
    for tick in (1, 2, 3):
        ships.x += 1.0
        channel.capture(tick)
        frame = channel.frame(standings[-1] if standings else None)
        assert frame is not None
        standings.append(frame.standing)
    ships.x += 1.0
    channel.capture(4)
    quick, slow = channel.frame(standings[2]), channel.frame(standings[0])
    assert quick is not None
    assert slow is not None
    assert (message_of(quick).age, message_of(slow).age) == (1, 3)
    ships.x += 1.0
    channel.capture(5)
    quick, slow = channel.frame(quick.standing), channel.frame(slow.standing)
    assert quick is not None
    assert slow is not None
    assert quick.standing is slow.standing


def test_a_quiet_channel_says_nothing_but_keeps_its_baselines_young() -> None:
    ships = Ships()
    ships.spawn(x=1.0)
    channel = Channel(0, (ships,))
    channel.capture(1)
    first = channel.frame(None)
    assert first is not None
    for tick in range(2, 1 + QUIET_TICKS_MAX):
        channel.capture(tick)
        assert channel.frame(first.standing) is None
    channel.capture(1 + QUIET_TICKS_MAX)
    assert message_of(channel.frame(first.standing)).age == QUIET_TICKS_MAX


def test_delta_falls_back_to_keyframe_when_the_baseline_is_too_old() -> None:
    ships = Ships()
    ships.spawn(x=1.0)
    channel = Channel(0, (ships,))
    channel.capture(1)
    first = channel.frame(None)
    assert first is not None
    ships.x += 1.0
    channel.capture(1 + AGE_TICKS_MAX)
    assert message_of(channel.frame(first.standing)).age == AGE_TICKS_MAX
    channel.capture(2 + AGE_TICKS_MAX)
    assert message_of(channel.frame(first.standing)).age == 0
