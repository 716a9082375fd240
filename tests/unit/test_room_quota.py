"""The quota of rooms for a player and for all players of an address."""

from __future__ import annotations

import pytest

from tickwire.server.placement import room_quota
from tickwire.server.placement.room_quota import RoomQuota


class QuotaClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def create(quota: RoomQuota, player: str, address: str = "1.2.3.4") -> bool:
    if quota.wait_ms(player, address):
        return False
    quota.spend(player, address)
    return True


def test_player_may_create_a_quarter_of_its_quota_at_once() -> None:
    clock = QuotaClock()
    quota = RoomQuota(per_player=12, per_address=1_000, now_s=clock)
    assert [create(quota, "ann") for _ in range(4)] == [True, True, True, False]
    assert quota.wait_ms("ann", "1.2.3.4") == 5_000
    assert create(quota, "bob"), "other players may"
    clock.now_s += 5
    assert [create(quota, "ann") for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "1.2.3.5", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_players_of_an_address_share_its_quota(one: str, other: str, is_shared: bool) -> None:
    quota = RoomQuota(per_player=60, per_address=8, now_s=QuotaClock())
    assert [create(quota, player, one) for player in ("ann", "bob", "cid")] == [True, True, False]
    assert create(quota, "dan", other) is not is_shared


def test_concurrent_joins_all_count() -> None:
    clock = QuotaClock()
    quota = RoomQuota(per_player=4, per_address=1_000, now_s=clock)
    assert quota.wait_ms("ann", "1.2.3.4") == 0
    for _ in range(3):
        quota.spend("ann", "1.2.3.4")
    clock.now_s += 30
    assert not create(quota, "ann"), "three were created, so the next is allowed in 45 s"
    clock.now_s += 15
    assert create(quota, "ann")


def test_table_of_buckets_is_bounded_and_drops_full_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room_quota, "KEYS_MAX", 10)
    clock = QuotaClock()
    quota = RoomQuota(per_player=4, per_address=100_000, now_s=clock)
    for number in range(50):
        assert create(quota, f"p{number}")
    assert len(quota) <= 11
    assert not create(quota, "p49"), "the newest buckets stay"
    clock.now_s += 60
    assert create(quota, "p50")
    assert len(quota) <= 2


def test_match_counts_with_the_share_of_each_player() -> None:
    clock = QuotaClock()
    quota = RoomQuota(per_player=4, per_address=1_000, now_s=clock)
    for _ in range(2):
        assert quota.wait_ms("p", "1.2.3.4", share=0.5) == 0
        quota.spend("p", "1.2.3.4", share=0.5)
    assert quota.wait_ms("p", "1.2.3.4", share=0.5) == 7_500
    assert quota.wait_ms("p", "1.2.3.4") == 15_000
