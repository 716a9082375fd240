"""The explanation of a ticket: which rule blocks it, and when it would be matched."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

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
        ([ticket("far away", latencies={"us": 10})], "players", None),
        ([ticket("sand", labels={"map": "sand"})], "labels", None),
        ([ticket("strong", 100)], "skill", 5.0),
        ([ticket("too strong", 1000)], "skill", None),
        ([ticket("fits", 20)], "nothing", 0.0),
        ([ticket("two", size=2)], "parties", None),
    ],
)
def test_blocked_by_names_the_first_rule_that_leaves_too_few_players(
    others: list[QueueTicket], blocked_by: str, in_s: float | None
) -> None:
    told = why(ticket("t", labels=ICE), others, LAW)
    assert (told.blocked_by, told.matched_in_s) == (blocked_by, in_s)
    assert told.message


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
