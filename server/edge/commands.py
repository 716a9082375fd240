"""A session's commands: each is answered once, at once or when it is written, however often it is asked for.

    asked --the room answers--> answered
      └--the room makes a deal--> under way --written, refused--> answered
                                     ^  └--outcome unknown--> undecided
                                     └------asked again----------┘

A command whose outcome is unknown keeps the attempt, which is made again as it was. The room decides a second time
only when it is certain that the first decision was not written (server/persistence/transactions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tickwire.limits import REPLIES_MAX
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.reply_cache import ReplyCache
from tickwire.server.observability.traces import span
from tickwire.server.rooms.ports import Outcome
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import Decision

UNDER_WAY_MAX = 16
"""Commands of a session that are being written at one time."""
UNDER_WAY_RETRY_MS = 200
"""A deal takes some milliseconds: by then several of them are written."""
Tell = Callable[[Reply], None]


class CommandProcessor:
    """One session's.

    Args:
        around: carries out deals, and runs their tasks.
        replies: the answers so far, of a session that was on another shard.
    """

    __slots__ = ("_around", "_replies", "_undecided", "_under_way")

    def __init__(self, around: SessionContext, replies: ReplyCache | None = None) -> None:
        self._around = around
        self._replies = replies if replies is not None else ReplyCache()
        self._under_way: set[int] = set()
        self._undecided: dict[int, object] = {}  # attempts of the dealer, by command id

    @property
    def replies(self) -> ReplyCache:
        """The answers, as far as they are remembered."""
        return self._replies

    @property
    def has_pending(self) -> bool:
        """Whether the outcome of a command is not known yet."""
        return bool(self._under_way or self._undecided)

    def ask(self, command: Command, seat: Seat | None, tell: Tell) -> None:
        """A command has come.

        Args:
            seat: where the session sits.
            tell: sends a Reply, now or later, to whatever connection the session has then.
        """
        known = self._replies.find(command.id)
        if known is not None:
            tell(known)
        elif command.id in self._under_way:
            pass  # it is answered once
        elif len(self._under_way) >= UNDER_WAY_MAX:
            text = f"more than {UNDER_WAY_MAX} commands are under way"
            code, wait_ms = ErrorCode.RATE_LIMITED, UNDER_WAY_RETRY_MS
            tell(Reply(command.id, ok=False, error=code, message=text, retry_after_ms=wait_ms))
        elif command.id in self._undecided:
            pending = self._undecided.pop(command.id)
            self._begin(command, self._around.dealer.deal_again(pending), tell)
        elif seat is None:
            tell(Reply(command.id, ok=False, error=ErrorCode.OUT_OF_ORDER, message="in no room"))
        else:
            answer = seat.run_command(command)
            if isinstance(answer, Decision):
                self._begin(command, self._around.dealer.deal(seat, command, answer), tell)
            elif answer.retry_after_ms:
                tell(answer)  # the room is moving: the command was not run, and is sent again where the room goes on
            else:
                self._answered(answer, tell)

    def _begin(self, command: Command, attempt: Coroutine[Any, Any, Outcome], tell: Tell) -> None:
        self._under_way.add(command.id)
        self._around.spawn(self._deal(command, attempt, tell), f"deal {command.id}")

    async def _deal(self, command: Command, attempt: Coroutine[Any, Any, Outcome], tell: Tell) -> None:
        """The task of one deal. It goes on when the connection is lost: who asks again finds the answer."""
        try:
            with span("command", command=command.name[:64]):
                outcome = await attempt
        finally:
            self._under_way.discard(command.id)
        if not outcome.reply.retry_after_ms:
            self._answered(outcome.reply, tell)
            return
        if outcome.pending is not None:
            self._undecided[command.id] = outcome.pending
            if len(self._undecided) > REPLIES_MAX:
                del self._undecided[next(iter(self._undecided))]
        tell(outcome.reply)

    def _answered(self, reply: Reply, tell: Tell) -> None:
        self._replies.keep(reply)
        tell(reply)
