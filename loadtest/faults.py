"""Schedules the faults of a stress run. Pure: the caller passes the randomness.

A run begins without faults, until all players are seated, and ends without faults, so that the fleet can recover.
Faults are separated by pauses. They come in rounds: each round has every kind once, in random order.
"""

from __future__ import annotations

import enum
import random

import msgspec

QUIET_START_S = 10.0
QUIET_END_S = 15.0
PAUSE_S = (4.0, 9.0)
STALL_S = (1.0, 6.0)
"""Stalls after which a shard keeps its rooms, because the lease is longer."""
LONG_STALL_S = (11.0, 14.0)
"""Stalls in which a shard loses its durable rooms to others, and detects that when it continues."""
RESTART_S = 5.0
"""The time that the schedule reserves for the restart of a store."""


class FaultKind(enum.StrEnum):
    """The kind of a fault."""

    STALL = "stall"
    LONG_STALL = "long stall"
    RESTART_REDIS = "restart of Redis"
    RESTART_MONGO = "restart of MongoDB"


class Fault(msgspec.Struct, frozen=True):
    """One fault.

    Args:
        at_s: when it begins, from the start of the run.
        kind: its kind.
        shard: the index of the stopped shard; 0 for a store.
        seconds: how long a shard is stopped.
        is_sudden: whether a store is ended by SIGKILL instead of SIGTERM.
    """

    at_s: float
    kind: FaultKind
    shard: int = 0
    seconds: float = 0.0
    is_sudden: bool = False


def schedule_faults(run_s: float, shards: int, rng: random.Random, *, has_long_stalls: bool = True) -> list[Fault]:
    """Return the faults of a run, in order and without overlap.

    Args:
        run_s: the duration of the run.
        shards: the number of shards.
        rng: decides on order, pauses, shards and lengths.
        has_long_stalls: whether shards are also stopped for longer than their leases.
    """
    kinds = [kind for kind in FaultKind if has_long_stalls or kind is not FaultKind.LONG_STALL]
    faults: list[Fault] = []
    left: list[FaultKind] = []
    at_s = QUIET_START_S
    while True:
        left = left or rng.sample(kinds, len(kinds))
        fault = _fault(at_s, left.pop(), shards, rng)
        end_s = fault.at_s + (fault.seconds or RESTART_S)
        if end_s > run_s - QUIET_END_S:
            return faults
        faults.append(fault)
        at_s = end_s + rng.uniform(*PAUSE_S)


def _fault(at_s: float, kind: FaultKind, shards: int, rng: random.Random) -> Fault:
    match kind:
        case FaultKind.STALL:
            return Fault(at_s, kind, rng.randrange(shards), rng.uniform(*STALL_S))
        case FaultKind.LONG_STALL:
            return Fault(at_s, kind, rng.randrange(shards), rng.uniform(*LONG_STALL_S))
        case _:
            return Fault(at_s, kind, is_sudden=rng.random() < 0.5)
