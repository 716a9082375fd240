"""The pauses between attempts while Redis does not answer."""

from __future__ import annotations

from tickwire.matchmaking.retry import RETRY_S_MAX, next_pause_s


def test_pauses_grow_from_the_minimum_to_the_maximum() -> None:
    pauses = [0.0]
    for _ in range(12):
        pauses.append(next_pause_s(pauses[-1], pause_s_min=0.2))
    assert pauses[1] > 0.2
    assert pauses == sorted(pauses)
    assert pauses[-1] == RETRY_S_MAX
