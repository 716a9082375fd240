"""The match function: which tickets are matched."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.queue_factories import backfill, rules, ticket
from tickwire.matchmaking.queue import Backfill, Match, Mode, QueueTicket, Rules, find_matches, match_function
from tickwire.matchmaking.queue.quality import measure_quality
from tickwire.matchmaking.queue.rules import SKILL_MAX


def matched(
    tickets: Sequence[QueueTicket], law: Rules, backfills: Sequence[Backfill] = (), now_s: float = 0.0, seed: int = 1
) -> list[Match]:
    return find_matches(tickets, backfills, law, now_ms=int(now_s * 1000), rng=random.Random(seed))


def groups(matches: Sequence[Match]) -> set[frozenset[str]]:
    return {frozenset(match.tickets) for match in matches}


def test_neighbours_in_skill_play_each_other() -> None:
    tickets = [ticket(f"t{skill}", skill) for skill in (0, 100, 10, 110)]
    assert groups(matched(tickets, rules())) == {frozenset(("t0", "t10")), frozenset(("t100", "t110"))}


def test_windows_widen_with_waiting_and_both_must_hold() -> None:
    law = rules(skill_window=10, skill_window_per_s=5, skill_window_max=60)
    old, young = ticket("old", 0, since_s=0), ticket("young", 40, since_s=8)
    assert matched([old, young], law, now_s=10) == [], "the young one's window is 20"
    assert groups(matched([old, young], law, now_s=14)) == {frozenset(("old", "young"))}
    far = ticket("far", 80)
    assert matched([old, far], law, now_s=1000) == [], "no window is ever wider than 60"


def test_the_oldest_ticket_is_matched_first() -> None:
    tickets = [ticket("young", 10, since_s=5), ticket("old", 0, since_s=1), ticket("middle", 20, since_s=3)]
    assert groups(matched(tickets, rules(), now_s=6)) == {frozenset(("old", "young"))}


def test_parties_stay_in_one_team_and_teams_are_full() -> None:
    tickets = [ticket("three", size=3), ticket("two", size=2), ticket("also two", size=2), ticket("one")]
    (match,) = matched(tickets, rules(teams=2, team_size=4))
    team = dict(zip(match.tickets, match.teams, strict=True))
    assert team["three"] == team["one"]
    assert team["two"] == team["also two"] != team["three"]


def test_a_party_larger_than_a_team_does_not_block_others() -> None:
    tickets = [ticket("five", size=5), ticket("a", since_s=1), ticket("b", since_s=2)]
    assert groups(matched(tickets, rules())) == {frozenset(("a", "b"))}


def test_teams_are_balanced() -> None:
    tickets = [ticket(f"t{skill}", skill) for skill in (0, 10, 20, 30)]
    (match,) = matched(tickets, rules(teams=2, team_size=2))
    strength = Counter[int]()
    for name, team in zip(match.tickets, match.teams, strict=True):
        strength[team] += int(name[1:])
    assert strength[1] == strength[2]


def test_tickets_with_different_labels_are_not_matched() -> None:
    law = rules(labels=("map", "mode"))
    ice, sand = ticket("ice", labels={"map": "ice"}), ticket("sand", labels={"map": "sand"})
    anything = ticket("anything", since_s=1, labels={"mode": "ffa", "other": "x"})
    assert matched([ice, sand], law) == []
    (match,) = matched([ice, sand, anything], law, now_s=2)
    assert set(match.tickets) == {"ice", "anything"}
    assert match.labels == {"map": "ice", "mode": "ffa"}


def test_a_smaller_match_is_made_after_fill_after_s() -> None:
    law = rules(teams=1, team_size=8, players_min=3, fill_after_s=10)
    tickets = [ticket(f"t{n}", since_s=n) for n in range(3)]
    assert matched(tickets, law, now_s=9) == []
    assert groups(matched(tickets, law, now_s=10)) == {frozenset(("t0", "t1", "t2"))}
    assert matched(tickets[:2], law, now_s=100) == []


def test_backfills_precede_new_matches() -> None:
    law = rules(teams=2, team_size=2, backfill=True)
    tickets = [ticket(f"t{n}", 10 * n, since_s=n) for n in range(5)] + [ticket("far", 500), ticket("two", 20, size=2)]
    found = matched(tickets, law, [backfill("room", [0, 1], skill=12)], now_s=9)
    assert found[0] == Match(["t1"], [2], {}, "room")
    assert all("far" not in match.tickets for match in found)
    assert sum(match.backfill == "room" for match in found) == 1
    labelled = [backfill("sandy", [1, 0], labels=["map=sand"])]
    ice = [ticket("ice", labels={"map": "ice"})]
    assert matched(ice, rules(backfill=True, labels=("map",)), labelled) == []


def test_the_same_seed_makes_the_same_matches_and_team_numbers_are_random() -> None:
    tickets = [ticket(f"t{n}", n) for n in range(40)]
    law = rules(teams=2, team_size=2)
    assert matched(tickets, law, seed=7) == matched(tickets, law, seed=7)
    firsts = {tuple(match.teams) for seed in range(20) for match in matched(tickets[:4], law, seed=seed)}
    assert len(firsts) > 1


laws = st.builds(
    Rules,
    room_type=st.just("x"),
    teams=st.integers(1, 4),
    team_size=st.integers(1, 4),
    players_min=st.integers(0, 1),
    fill_after_s=st.floats(0, 20),
    skill_window=st.floats(0, 300),
    skill_window_per_s=st.floats(0, 50),
    skill_window_max=st.floats(0, 500),
    labels=st.sampled_from([(), ("map",)]),
    backfill=st.booleans(),
)
tickets_of = st.lists(
    st.tuples(
        st.floats(-1000, 1000),
        st.floats(0, 60),
        st.integers(1, 5),
        st.sampled_from([{}, {"map": "ice"}, {"map": "sand"}]),
    ),
    max_size=60,
)


@given(laws, tickets_of, st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=3), st.integers())
def test_no_match_of_any_tickets_violates_a_rule(
    law: Rules, raw: list[tuple[float, float, int, dict[str, str]]], open: list[list[int]], seed: int
) -> None:
    tickets = [
        ticket(f"t{n}", skill, since_s=since, seq=n, size=size, labels=labels)
        for n, (skill, since, size, labels) in enumerate(raw)
    ]
    by_name = {one.ticket_id: one for one in tickets}
    backfills = [backfill(f"room {n}", free) for n, free in enumerate(open)]
    found = matched(tickets, law, backfills, now_s=60, seed=seed)
    used = [name for match in found for name in match.tickets]
    assert len(used) == len(set(used)), "a ticket is in two matches"
    rooms = [match.backfill for match in found if match.backfill]
    assert len(rooms) == len(set(rooms))
    for match in found:
        inside = [by_name[name] for name in match.tickets]
        skills = [one.skill for one in inside]
        free = next((b.open_slots for b in backfills if b.room_id == match.backfill), None)
        if free is not None:
            skills.append(0.0)
        windows = [law.skill_window_at(one.waited_s(60_000)) for one in inside]
        assert max(skills) - min(skills) <= min(windows)
        sizes = Counter[int]()
        for one, team in zip(inside, match.teams, strict=True):
            sizes[team] += one.size
        if free is None:
            assert all(1 <= team <= law.teams and size <= law.team_size for team, size in sizes.items())
            oldest_s = max(one.waited_s(60_000) for one in inside)
            assert sum(sizes.values()) >= law.players_required(oldest_s)
        else:
            assert all(size <= free[team - 1] for team, size in sizes.items())
        wanted = {one.labels["map"] for one in inside if "map" in one.labels}
        assert len(wanted) <= 1 or not law.labels


def test_ten_thousand_equal_tickets_are_matched_with_one_look_each() -> None:
    tickets = [ticket(f"t{n}", n % 100, seq=n) for n in range(10_000)]
    found = matched(tickets, rules(teams=2, team_size=5))
    assert sum(len(match.tickets) for match in found) == 10_000


@pytest.mark.parametrize(
    "changes",
    [{"teams": 0}, {"teams": 256}, {"team_size": 0}, {"players_min": 9}, {"timeout_s": 0}, {"skill_window": -1}],
)
def test_invalid_rules_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        rules(**changes)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a{b}"])
def test_invalid_names_of_modes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Mode(name, rules())


# -- regions ------------------------------------------------------------------------------------------------


def test_the_nearest_region_is_always_open_and_others_within_a_limit_that_grows() -> None:
    law = rules(latency_ms=50, latency_ms_per_s=10, latency_ms_max=150)
    one = ticket("t", latencies={"eu": 120, "us": 130, "asia": 300})
    assert law.can_play_in(one, "eu", 0)
    assert not law.can_play_in(one, "us", 7_000)
    assert law.can_play_in(one, "us", 8_000)
    assert not law.can_play_in(one, "asia", 1_000_000)
    assert not law.can_play_in(one, "nowhere", 1_000_000)


def test_the_latency_of_a_party_is_that_of_its_farthest_member() -> None:
    near, far = ticket("n", latencies={"eu": 10, "us": 90}), ticket("f", latencies={"us": 20, "asia": 10})
    both = QueueTicket("p", 0, 0, [*near.members, *far.members])
    assert both.latencies == {"us": 90}
    assert QueueTicket("p", 0, 0, [*ticket("a", 10).members, *ticket("b", 30).members]).skill == 20
    assert math.isclose(both.waited_s(-5), 0.0)


# -- what it costs ------------------------------------------------------------------------------------------


def test_tickets_that_agree_are_matched_among_thousands_that_do_not() -> None:
    law = rules(skill_window=math.inf, labels=("map", "mode"))
    others = [ticket(f"t{n}", n, seq=n, labels={"map": f"m{n}", "mode": "ffa"}) for n in range(3_000)]
    two = [ticket(f"friend {at}", at, seq=9_000, labels={"map": "ice", "mode": "ffa"}) for at in (0, 3_000)]
    assert groups(matched([*others, *two], law)) == {frozenset(("friend 0", "friend 3000"))}


def test_labels_beyond_the_indexed_ones_are_compared() -> None:
    law = rules(labels=("a", "b", "c", "d"))
    alike = {"a": "1", "b": "1", "c": "1"}
    one, two, three = (ticket(f"t{d}{n}", labels=alike | {"d": d}) for n, d in enumerate(("x", "y", "x")))
    assert groups(matched([one, two, three], law)) == {frozenset(("tx0", "tx2"))}


hostile_tickets = st.lists(
    st.tuples(
        st.floats(-50, 50),
        st.integers(1, 3),
        st.dictionaries(st.sampled_from("abcd"), st.text("xyz", min_size=1, max_size=3), max_size=4),
    ),
    min_size=50,
    max_size=300,
)


@settings(max_examples=max(20, settings().max_examples // 10))
@given(hostile_tickets, st.sampled_from([(1, 8), (2, 4), (4, 2)]), st.integers(0, 4))
def test_matching_steps_and_rounds_are_bounded_for_any_tickets(
    raw: list[tuple[float, int, dict[str, str]]], shape: tuple[int, int], labels: int
) -> None:
    tickets = [
        ticket(f"t{n}", skill, since_s=n, seq=n, size=size, labels=wish) for n, (skill, size, wish) in enumerate(raw)
    ]
    law = rules(teams=shape[0], team_size=shape[1], labels=tuple("abcd"[:labels]), skill_window=100)
    looks = Counter[int]()
    add = match_function._Group.add

    def count(*arguments: Any) -> bool:
        looks[step] += 1
        return add(*arguments)

    steps = match_function.find_matches_in_steps(tickets, (), law, now_ms=400_000, rng=random.Random(1))
    step = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(match_function._Group, "add", count)
        patch.setattr(match_function, "LOOKS_MAX", 500)
        for step, _ in enumerate(steps, 1):  # noqa: B007 - counted in `count`
            pass
    one_match = match_function.NEIGHBOURS_MAX + 1
    assert max(looks.values()) <= match_function.STEP_COST + one_match
    assert sum(looks.values()) <= 2 * (500 + one_match)


def test_tickets_that_never_fit_do_not_block_younger_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parties of three do not fill teams of four without single players; a round cannot look at all of them."""
    monkeypatch.setattr(match_function, "LOOKS_MAX", 2_000)
    parties = [ticket(f"three {n}", n % 10, seq=n, size=3) for n in range(300)]
    alone = [ticket(f"one {n}", 1_000, since_s=10, seq=1_000 + n) for n in range(8)]
    law = rules(teams=2, team_size=4)
    found = [groups(matched([*parties, *alone], law, now_s=20, seed=seed)) for seed in range(100)]
    assert {frozenset(one.ticket_id for one in alone)} in found


@pytest.mark.parametrize("window", [1.0, math.inf])
def test_the_greatest_skills_are_matched_and_measured(window: float) -> None:
    law = rules(teams=2, team_size=2, skill_window=window)
    extremes = (SKILL_MAX, SKILL_MAX, -SKILL_MAX, SKILL_MAX, -SKILL_MAX, SKILL_MAX, -SKILL_MAX, -SKILL_MAX)
    tickets = {f"t{n}": ticket(f"t{n}", skill, seq=n) for n, skill in enumerate(extremes)}
    made = find_matches(list(tickets.values()), (), law, now_ms=0, rng=random.Random(0))
    assert len(made) == 2
    for match in made:
        quality = measure_quality(match, tickets, region="", now_ms=0)
        assert math.isfinite(quality.skill_spread + quality.team_gap)
