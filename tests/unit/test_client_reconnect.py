"""When and where a client reconnects, and which closes are final: the plan alone, with a clock that is a number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tickwire.client.reconnect import REDIRECTS_MAX, ReconnectPlan, advice_s, is_final_close
from tickwire.schemas.messages import Error, ErrorCode, Goodbye

HOME, SHARD = "ws://home", "ws://shard"
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


def plan(*, reconnect_s: float = 60.0, jitter: float = 1.0) -> ReconnectPlan:
    """A plan of a session on SHARD that has lost a stable connection at 100 s."""
    made = ReconnectPlan(HOME, reconnect_s=reconnect_s, random=lambda: jitter)
    made.connected(SHARD, 50.0)
    made.lost(100.0)
    return made


def attempts(made: ReconnectPlan, count: int, now_s: float = 100.0) -> list[str]:
    """The addresses of the next attempts, all of which fail."""
    urls = []
    for _ in range(count):
        attempt = made.next(now_s)
        assert attempt is not None
        urls.append(attempt.url)
        made.failed()
    return urls


def test_attempts_go_to_the_shard_and_from_the_fourth_on_every_second_one_home() -> None:
    assert attempts(plan(), 8) == [SHARD, SHARD, SHARD, HOME, SHARD, HOME, SHARD, HOME]


def test_home_that_answers_with_a_time_to_return_is_asked_alone() -> None:
    made = plan()
    attempts(made, 3)
    assert made.next(100.0).url == HOME  # type: ignore[union-attr]
    made.failed(1.0, was_refused=True)
    assert attempts(made, 3) == [HOME, HOME, HOME]


def test_shard_that_refuses_for_now_is_asked_again() -> None:
    made = plan()
    assert made.next(100.0).url == SHARD  # type: ignore[union-attr]
    made.failed(1.0, was_refused=True)
    assert attempts(made, 2) == [SHARD, SHARD]


def test_pauses_grow_and_are_never_shorter_than_the_advice() -> None:
    made = plan(jitter=1.0)
    pauses = []
    for _ in range(6):
        attempt = made.next(100.0)
        assert attempt is not None
        pauses.append(attempt.pause_s)
        made.failed()
    assert pauses == [0.25, 0.5, 1, 2, 4, 8]
    made = plan(jitter=0.0)
    made.failed(3.0)
    assert made.next(100.0).pause_s == 3.0  # type: ignore[union-attr]


def test_series_ends_at_its_deadline() -> None:
    made = plan(reconnect_s=10.0)
    assert made.next(109.0) is not None
    assert made.next(110.1) is None


def test_connection_that_is_lost_at_once_continues_the_series_before_it() -> None:
    """Otherwise a server that drops each connection after Welcome is flooded, and the attempts never end."""
    made, now_s, pauses = plan(reconnect_s=60.0), 100.0, []
    while (attempt := made.next(now_s)) is not None:
        pauses.append(attempt.pause_s)
        now_s += attempt.pause_s
        made.connected(SHARD, now_s)
        now_s += 0.1
        made.lost(now_s)
    assert len(pauses) < 15
    assert pauses[-1] == 10
    assert now_s < 100 + 60 + 10


def test_connection_that_was_stable_begins_a_new_series() -> None:
    made = plan()
    attempts(made, 5)
    made.connected(SHARD, 120.0)
    made.lost(126.0)
    attempt = made.next(126.0)
    assert attempt is not None
    assert (attempt.url, attempt.pause_s) == (SHARD, 0.25)
    assert made.next(126.0 + 59) is not None


def test_redirects_are_followed_without_a_pause_but_only_five_in_a_row() -> None:
    made = plan()
    for number in range(REDIRECTS_MAX):
        made.redirected(f"ws://{number}")
        attempt = made.next(100.0)
        assert attempt is not None
        assert (attempt.url, attempt.pause_s) == (f"ws://{number}", 0.0)
    made.redirected("ws://again")
    attempt = made.next(100.0)
    assert attempt is not None
    assert attempt.url == "ws://again"
    assert attempt.pause_s > 0


def test_redirect_is_followed_at_once_after_a_circle_was_left_and_whatever_was_advised_before() -> None:
    """While shards were replaced after a kill, players waited for 14 s at each Redirect."""
    made = plan()
    for number in range(REDIRECTS_MAX):
        made.redirected(f"ws://{number}")
        made.next(100.0)
    made.redirected(SHARD)
    made.next(100.0)
    made.failed(14.0, was_refused=True)
    assert made.next(100.0).pause_s >= 14.0  # type: ignore[union-attr]
    made.redirected("ws://other")
    attempt = made.next(114.0)
    assert attempt is not None
    assert (attempt.url, attempt.pause_s) == ("ws://other", 0.0)


def test_session_on_another_shard_begins_there_or_at_home() -> None:
    made = plan()
    made.visit("ws://other", 200.0)
    attempt = made.next(200.0)
    assert attempt is not None
    assert (attempt.url, attempt.pause_s) == ("ws://other", 0.0)
    made.failed()
    assert attempts(made, 4, 200.0) == [HOME] * 4
    made.visit("ws://other", 300.0)
    made.next(300.0)
    made.connected("ws://other", 300.0)
    assert made.url == "ws://other"


def test_client_that_never_reconnects_still_gets_home_from_a_shard_that_is_gone() -> None:
    made = plan(reconnect_s=0.0)
    assert made.next(100.0) is None
    made.visit("ws://other", 200.0)
    made.next(200.0)
    made.failed()
    assert made.next(200.0).url == HOME  # type: ignore[union-attr]


def test_final_close_codes_are_those_of_the_protocols_table() -> None:
    """The column `reconnect` of docs/protocol.md, row by row."""
    table = PROTOCOL.read_text().split("| close code | meaning | reconnect |")[1].split("\n\n")[0]
    seen = 0
    for row in table.splitlines()[2:]:
        codes, _, verdict = (cell.strip() for cell in row.strip("|").rsplit("|", 2))
        for code in map(int, re.findall(r"\d{4}", codes.split("|")[0])):
            is_final = not (verdict.startswith("yes") or f"{code}: yes" in verdict)
            assert is_final_close(code) is is_final, row
            seen += 1
    assert seen >= 15


@pytest.mark.parametrize(
    ("code", "is_final"), [(None, False), (1005, False), (1006, False), (1012, False), (4499, False), (4999, True)]
)
def test_close_codes_outside_of_the_table_are_final_from_4500(code: int | None, is_final: bool) -> None:
    assert is_final_close(code) is is_final


def test_servers_advice_is_that_of_its_last_message_about_the_close() -> None:
    error = Error(ErrorCode.RATE_LIMITED, retry_after_ms=2500)
    assert advice_s(4004, None, error) == 2.5
    assert advice_s(4002, None, error) == 2.5
    assert advice_s(1006, None, error) == 0, "a refused join says nothing of a connection that breaks later"
    assert advice_s(4004, None, None) == 0
    assert advice_s(1001, Goodbye(come_back=True, retry_after_ms=700), error) == 0.7


def test_goodbye_decides_whatever_the_code_is() -> None:
    assert not is_final_close(1008, Goodbye(come_back=True))
    assert is_final_close(1001, Goodbye(come_back=False))
