"""Positions of tick groups in their interval. Pure functions; positions and work are shares of the interval, 0 to 1.

Groups of one interval are arranged on a circle, the interval. Each group is followed by room for its own work and by
an equal part of the idle time, so that no group starts while another one works, as long as the work fits into the
interval:

    |A A A . . B B . . C C C C . . |A A A ...        letters: work; dots: idle time

A group that moves keeps its place in the order, so that groups do not pass each other while they move.
"""

from __future__ import annotations

from collections.abc import Sequence


def spread(phases: Sequence[float], work: Sequence[float]) -> list[float]:
    """Return by how much each group has to move so that all are spread; the largest move is as small as possible.

    Args:
        phases: the current positions, at least 0 and less than 1.
        work: the work of each group in a tick. If the sum exceeds 1, the groups share the interval in proportion.
    """
    count, total = len(phases), sum(work)
    scale = 1.0 / max(1.0, total)
    idle = max(0.0, 1.0 - total) / max(1, count)
    moves = [0.0] * count
    target = 0.0
    for index in sorted(range(count), key=phases.__getitem__):
        moves[index] = target - phases[index]
        target += work[index] * scale + idle
    # The circle may be turned as a whole: the middle of the moves becomes 0.
    middle = (min(moves) + max(moves)) / 2 if moves else 0.0
    return [move - middle for move in moves]


def find_free_phase(phases: Sequence[float], work: Sequence[float], new_work: float, *, first: float) -> float:
    """Return the position for another group: in the middle of the longest idle time.

    Args:
        phases: the positions of the existing groups.
        work: their work.
        new_work: the work of the new group.
        first: the position if there is no other group.
    """
    if not phases:
        return first % 1.0
    order = sorted(range(len(phases)), key=phases.__getitem__)
    gaps = []
    for index, following in zip(order, [*order[1:], order[0]], strict=True):
        end = phases[index] + work[index]
        distance = (
            phases[following] - phases[index] if following != order[0] else phases[following] + 1 - phases[index]
        )
        gaps.append((distance - work[index], end))
    idle, end = max(gaps)
    return (end + max(0.0, idle - new_work) / 2) % 1.0
