"""When and where a client reconnects, and which closes are final: the plan alone, with a clock that is a number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tickwire.client.reconnect import REDIRECTS_MAX, ReconnectPlan, advice_ms, is_final_close
from tickwire.schemas.messages import Error, ErrorCode, Goodbye

HOME, SHARD = "ws://home", "ws://shard"
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


def plan(*, reconnect_ms: int = 60_000, jitter: float = 1.0) -> ReconnectPlan:
    """A plan of a session on SHARD that has lost a stable connection at 100 s."""
    made = ReconnectPlan(HOME, reconnect_ms=reconnect_ms, random=lambda: jitter)
    made.connected(SHARD, 50_000)
    made.lost(100_000)
    return made


def attempts(made: ReconnectPlan, count: int, now_ms: float = 100_000) -> list[str]:
    """The addresses of the next attempts, all of which fail."""
    urls = []
    for _ in range(count):
        attempt = made.next(now_ms)
        assert attempt is not None
        urls.append(attempt.url)
        made.failed()
    return urls


def test_attempts_go_to_the_shard_and_from_the_fourth_on_every_second_one_home() -> None:
    assert attempts(plan(), 8) == [SHARD, SHARD, SHARD, HOME, SHARD, HOME, SHARD, HOME]


def test_home_that_answers_with_a_time_to_return_is_asked_alone() -> None:
    made = plan()
    attempts(made, 3)
    assert made.next(100_000).url == HOME  # type: ignore[union-attr]
    made.failed(1_000, was_refused=True)
    assert attempts(made, 3) == [HOME, HOME, HOME]


def test_shard_that_refuses_for_now_is_asked_again() -> None:
    made = plan()
    assert made.next(100_000).url == SHARD  # type: ignore[union-attr]
    made.failed(1_000, was_refused=True)
    assert attempts(made, 2) == [SHARD, SHARD]


def test_pauses_grow_and_are_never_shorter_than_the_advice() -> None:
    made = plan(jitter=1.0)
    pauses = []
    for _ in range(6):
        attempt = made.next(100_000)
        assert attempt is not None
        pauses.append(attempt.pause_ms)
        made.failed()
    assert pauses == [250, 500, 1000, 2000, 4000, 8000]
    made = plan(jitter=0.0)
    made.failed(3_000)
    assert made.next(100_000).pause_ms == 3_000  # type: ignore[union-attr]


def test_series_ends_at_its_deadline() -> None:
    made = plan(reconnect_ms=10_000)
    assert made.next(109_000) is not None
    assert made.next(110_100) is None


def test_connection_that_is_lost_at_once_continues_the_series_before_it() -> None:
    """Otherwise a server that drops each connection after Welcome is flooded, and the attempts never end."""
    made, now_ms, pauses = plan(reconnect_ms=60_000), 100_000, []
    while (attempt := made.next(now_ms)) is not None:
        pauses.append(attempt.pause_ms)
        now_ms += attempt.pause_ms
        made.connected(SHARD, now_ms)
        now_ms += 100
        made.lost(now_ms)
    assert len(pauses) < 15
    assert pauses[-1] == 10_000
    assert now_ms < 170_000


def test_connection_that_was_stable_begins_a_new_series() -> None:
    made = plan()
    attempts(made, 5)
    made.connected(SHARD, 120_000)
    made.lost(126_000)
    attempt = made.next(126_000)
    assert attempt is not None
    assert (attempt.url, attempt.pause_ms) == (SHARD, 250)
    assert made.next(126_000 + 59_000) is not None


def test_redirects_are_followed_without_a_pause_but_only_five_in_a_row() -> None:
    made = plan()
    for number in range(REDIRECTS_MAX):
        made.redirected(f"ws://{number}")
        attempt = made.next(100_000)
        assert attempt is not None
        assert (attempt.url, attempt.pause_ms) == (f"ws://{number}", 0_000)
    made.redirected("ws://again")
    attempt = made.next(100_000)
    assert attempt is not None
    assert attempt.url == "ws://again"
    assert attempt.pause_ms > 0


def test_redirect_is_followed_at_once_after_a_circle_was_left_and_whatever_was_advised_before() -> None:
    """While shards were replaced after a kill, players waited for 14 s at each Redirect."""
    made = plan()
    for number in range(REDIRECTS_MAX):
        made.redirected(f"ws://{number}")
        made.next(100_000)
    made.redirected(SHARD)
    made.next(100_000)
    made.failed(14_000, was_refused=True)
    assert made.next(100_000).pause_ms >= 14_000  # type: ignore[union-attr]
    made.redirected("ws://other")
    attempt = made.next(114_000)
    assert attempt is not None
    assert (attempt.url, attempt.pause_ms) == ("ws://other", 0)


def test_attempt_that_was_redirected_has_not_failed() -> None:
    """A shard that answers each Hello with a Redirect must not be asked without end and without a pause."""
    made, pauses = plan(), []
    for _ in range(2 * REDIRECTS_MAX):
        made.redirected(SHARD)
        made.failed()
        attempt = made.next(100_000)
        assert attempt is not None
        pauses.append(attempt.pause_ms)
    assert pauses.count(0) < 2 * REDIRECTS_MAX


def test_session_on_another_shard_begins_there_or_at_home() -> None:
    made = plan()
    made.visit("ws://other", 200_000)
    attempt = made.next(200_000)
    assert attempt is not None
    assert (attempt.url, attempt.pause_ms) == ("ws://other", 0_000)
    made.failed()
    assert attempts(made, 4, 200_000) == [HOME] * 4
    made.visit("ws://other", 300_000)
    made.next(300_000)
    made.connected("ws://other", 300_000)
    assert made.url == "ws://other"


def test_client_that_never_reconnects_still_gets_home_from_a_shard_that_is_gone() -> None:
    made = plan(reconnect_ms=0)
    assert made.next(100_000) is None
    made.visit("ws://other", 200_000)
    made.next(200_000)
    made.failed()
    assert made.next(200_000).url == HOME  # type: ignore[union-attr]


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
    assert advice_ms(4004, None, error) == 2500
    assert advice_ms(4002, None, error) == 2500
    assert advice_ms(1006, None, error) == 0, "a refused join says nothing of a connection that breaks later"
    assert advice_ms(4004, None, None) == 0
    assert advice_ms(1001, Goodbye(come_back=True, retry_after_ms=700), error) == 700


def test_goodbye_decides_whatever_the_code_is() -> None:
    assert not is_final_close(1008, Goodbye(come_back=True))
    assert is_final_close(1001, Goodbye(come_back=False))
