"""Looks up the skill of players that request a match: loads the profile and runs the game's `skill_of`.

    started --result--> the skill of the game
    started --exception, invalid result, SKILL_TIMEOUT_S--> `Mode.default_skill`; logged and counted
    started --cancel--> nothing, also if `skill_of` catches the cancellation: the player does not wait any more

A lookup is a task of its own, because `skill_of` may wait. It ends with the request that it belongs to.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from tickwire.matchmaking.queue import Mode, SkillRequest
from tickwire.matchmaking.queue.rules import SKILL_MAX, is_valid_skill
from tickwire.server.errors import Unavailable
from tickwire.server.storage.player_record import PlayerRecord

log = structlog.get_logger(__name__)

SKILL_TIMEOUT_S = 2.0
LOOKUPS_MAX = 2000
"""Lookups that run at the same time: more requests than this are refused and may be repeated."""


class ProfileReader(Protocol):
    """The store of the players' profiles."""

    async def load(self, player_ids: Sequence[str]) -> dict[str, PlayerRecord]:
        """Return the records of players; one without profile for a player that is unknown."""
        ...


class SkillFound(Protocol):
    """Callback that runs once for each lookup that is not cancelled."""

    def __call__(self, skill: float, /) -> None:
        """Handle the skill of the player."""


class SkillLookups:
    """The lookups of one shard.

    Args:
        players: the store of the players' profiles.

    Attributes:
        failures: the number of lookups that ended with the default.
    """

    def __init__(self, players: ProfileReader) -> None:
        self.failures = 0
        self._players = players
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, mode: Mode, request: SkillRequest, on_found: SkillFound) -> Callable[[], object]:
        """Start the lookup of one player.

        Args:
            mode: the mode that the player requests.
            request: the player, without its profile.
            on_found: called with the result.

        Returns:
            A function that cancels the lookup.

        Raises:
            Unavailable: LOOKUPS_MAX lookups run already.
        """
        if len(self._tasks) >= LOOKUPS_MAX:
            raise Unavailable("too many players request a match at once", retry_after_ms=1000)
        work = self._run(mode, request, on_found)
        task = asyncio.get_running_loop().create_task(work, name=f"skill of {request.player_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task.cancel

    async def _run(self, mode: Mode, request: SkillRequest, on_found: SkillFound) -> None:
        try:
            async with asyncio.timeout(SKILL_TIMEOUT_S):
                skill = await self._find(mode, request)
        except BaseException as error:  # the game's code, a store that does not answer, or the deadline
            # A CancelledError is an error of the game if only something was cancelled that the lookup awaits.
            if _is_cancelled() or isinstance(error, GeneratorExit):
                raise
            self.failures += 1
            skill = mode.default_skill
            is_late = isinstance(error, TimeoutError)
            log.error(
                "skill_lookup_failed",
                mode=mode.name,
                player_id=request.player_id,
                default=skill,
                error=f"no result within {SKILL_TIMEOUT_S:g} s" if is_late else str(error) or type(error).__name__,
                exc_info=error,
            )
        if not _is_cancelled():
            on_found(skill)

    async def _find(self, mode: Mode, request: SkillRequest) -> float:
        """Return the player's skill.

        Raises:
            ValueError: the skill is not a number, or too great.
            Exception: any other of `skill_of`, or of the store.
        """
        if not request.is_guest:  # no record of a guest is stored
            record = (await self._players.load([request.player_id]))[request.player_id]
            request = SkillRequest(request.player_id, request.options, record.profile)
        found = mode.skill_of(request)
        skill = float(await found if inspect.isawaitable(found) else found)
        if not is_valid_skill(skill):
            raise ValueError(f"the skill of a player must be {-SKILL_MAX:g} to {SKILL_MAX:g}, not {skill}")
        return skill


def _is_cancelled() -> bool:
    """Return whether the running task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
