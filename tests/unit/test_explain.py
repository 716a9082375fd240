"""The explanation of a ticket: which rule blocks it, and when it would be matched."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.queue_factories import rules, ticket
from tickwire.matchmaking.queue import Explanation, Match, QueueSnapshot, QueueTicket, Rules, explain, find_matches
from tickwire.matchmaking.queue.quality import RecentWaits, measure_quality


def why(one: QueueTicket, others: Sequence[QueueTicket], law: Rules, now_s: float = 0.0) -> Explanation:
    queue = QueueSnapshot(
        others=others, backfills=(), rules=law, match=find_matches, region="", now_ms=int(now_s * 1000)
    )
    return explain(one, queue, random.Random(0))


ICE = {"map": "ice"}
LAW = rules(skill_window=50, skill_window_per_s=10, skill_window_max=150, labels=("map",), timeout_s=60)


@pytest.mark.parametrize(
    ("others", "blocked_by", "in_s"),
    [
        ([], "players", None),
        ([ticket("far away", latencies={"us": 10})], "latency", None),
        ([ticket("sand", labels={"map": "sand"})], "labels", None),
        ([ticket("strong", 100)], "skill", 5.0),
        ([ticket("too strong", 1000)], "skill", None),
        ([ticket("fits", 20)], "nothing", 0.0),
        ([ticket("two", size=2)], "parties", None),
        # Each fails another rule: the first rule in order leaves too few players only in sum.
        ([ticket("strong", 1000), ticket("two", 1000, size=2, labels={"map": "sand"})], "skill", None),
        # The two others play with each other.
        ([ticket("a", 900), ticket("b", 900)], "players", None),
        ([ticket("a", 900), ticket("b", 900), ticket("sand", labels={"map": "sand"})], "labels", None),
    ],
)
def test_blocked_by_names_the_rule_without_which_the_ticket_would_be_matched(
    others: list[QueueTicket], blocked_by: str, in_s: float | None
) -> None:
    explained = why(ticket("t", labels=ICE), others, LAW)
    assert (explained.blocked_by, explained.matched_in_s) == (blocked_by, in_s)
    assert explained.message


def test_all_rules_of_the_smallest_sets_are_named() -> None:
    both = why(ticket("t", labels=ICE), [ticket("x", 900, labels={"map": "sand"})], LAW)
    assert (both.blocked_by, both.matched_without) == ("labels", [("labels", "skill")])
    assert both.message == (
        "too few other players agree on map=ice and too few other players are within 50 of its skill, 0, "
        "and have windows that include it and each other"
    )
    either = why(ticket("t", labels=ICE), [ticket("x", 900), ticket("y", labels={"map": "sand"})], LAW)
    assert either.matched_without == [("labels",), ("skill",)]
    assert either.message.startswith("too few other players agree on map=ice; or too few")
    third = [ticket("z", 900, latencies={"us": 1}, labels={"map": "sand"})]
    assert why(ticket("t", labels=ICE), third, LAW).matched_without == [("latency", "labels", "skill")]


def test_older_tickets_that_would_match_each_other_do_not_hide_the_reason() -> None:
    others = [ticket("a", 500, since_s=1), ticket("b", 1000, since_s=2)]
    assert why(ticket("t", since_s=3), others, LAW, now_s=4).matched_without == [("skill",)]


def test_a_party_larger_than_a_team_is_explained() -> None:
    explained = why(ticket("t", size=3), [ticket("x")], rules(teams=2, team_size=2))
    assert (explained.blocked_by, explained.matched_in_s) == ("party_size", None)
    assert explained.message == "its party has 3 members, and a team only 2"


OTHERS = st.tuples(
    st.sampled_from([0.0, 40.0, 900.0, 5000.0]),
    st.sampled_from([{"map": "ice"}, {"map": "sand"}, {}]),
    st.sampled_from([{"": 10}, {"": 10, "us": 300}, {"us": 10}, {"us": 10, "": 900}]),
    st.sampled_from([1, 1, 2]),
    st.integers(0, 50),
)


@given(st.lists(OTHERS, max_size=8), st.sampled_from([{"": 10}, {"us": 10, "": 900}]), st.integers(0, 50))
def test_the_rules_of_duels_are_those_that_the_best_opponent_breaks(
    about: list[tuple[float, dict[str, str], dict[str, int], int, int]], latencies: dict[str, int], since_s: int
) -> None:
    """In a duel, a ticket needs one opponent: the one that breaks the fewest rules decides."""
    one = ticket("t", labels=ICE, latencies=latencies, since_s=since_s)
    others = [
        ticket(f"o{number}", skill, labels=labels, latencies=where, size=size, since_s=since, seq=number)
        for number, (skill, labels, where, size, since) in enumerate(about, 1)
    ]
    now_ms = 51_000
    explained = why(one, others, LAW, now_s=51)
    open_to = [other for other in (one, *others) if LAW.can_play_in(other, "", now_ms)]
    made = find_matches(open_to, (), LAW, now_ms=now_ms, rng=random.Random(0))
    matched = {ticket_id for match in made for ticket_id in match.tickets}
    broken = []
    for other in (other for other in others if other.ticket_id not in matched):
        window = min(LAW.skill_window_at(each.waited_s(now_ms)) for each in (one, other))
        rules_broken = {
            "latency": not all(LAW.can_play_in(each, "", now_ms) for each in (one, other)),
            "labels": other.labels.get("map", "ice") != "ice",
            "skill": abs(other.skill - one.skill) > window,
            "parties": other.size > 1,
        }
        broken.append(tuple(name for name, is_broken in rules_broken.items() if is_broken))
    fewest = min(map(len, broken), default=0)
    if "t" in matched:
        assert explained.blocked_by == "nothing"
    elif not broken or not fewest:
        assert explained.blocked_by == "players"
    else:
        expected = {rules for rules in broken if len(rules) == fewest}
        assert set(map(tuple, explained.matched_without)) == expected
        assert explained.blocked_by == explained.matched_without[0][0]


def test_explanation_counts_the_players_that_pass_each_rule() -> None:
    others = [
        ticket("elsewhere", latencies={"us": 10}, size=3),
        ticket("sand", labels={"map": "sand"}, size=2),
        ticket("strong", 900),
        ticket("near", 10),
    ]
    told = why(ticket("t", labels=ICE), others, rules(teams=2, team_size=4, labels=("map",)))
    assert (told.in_region, told.agreeing, told.in_window, told.players_required) == (4, 2, 1, 8)


def test_a_closed_region_is_explained_first() -> None:
    told = why(ticket("t", latencies={"eu": 20, "": 400}), [ticket("x")], LAW)
    assert told.blocked_by == "latency"
    assert "400 ms" in told.message
    assert why(ticket("t", latencies={"eu": 20}), [ticket("x")], LAW).blocked_by == "latency"


def test_an_explanation_considers_players_min() -> None:
    law = rules(teams=1, team_size=4, players_min=2, fill_after_s=15)
    told = why(ticket("t"), [ticket("x")], law, now_s=4)
    assert (told.blocked_by, told.players_required, told.matched_in_s) == ("players", 4, 20.0)


def test_match_quality_is_measured() -> None:
    tickets = {
        t.ticket_id: t
        for t in (ticket("a", 100, since_s=1, size=2), ticket("b", 60, since_s=5), ticket("c", 80, since_s=9))
    }
    found = measure_quality(Match(["a", "b", "c"], [1, 2, 2]), tickets, region="", now_ms=10_000)
    assert (found.players, found.parties, found.skill_spread, found.team_gap) == (4, 1, 40, 30)
    assert sorted(found.waits_s) == [1, 5, 9, 9]
    assert found.latencies_ms == [10, 10, 10]
    lately = RecentWaits()
    assert lately.median_ms == 0
    lately.add(found)
    assert lately.median_ms == 7000
