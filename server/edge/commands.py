"""The commands of a session: each gets exactly one answer, however often the client sends it.

    received --the room replies--> answered
      └--the room returns a transaction--> in flight --committed, rejected--> answered
                                     ^       └--outcome unknown--> unresolved
                                     └----------sent again------------┘

A command whose outcome is unknown keeps its attempt, and the attempt is retried unchanged. The room decides a second
time only if the first decision was certainly not written (server/persistence/transactions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from tickwire.limits import REPLIES_MAX
from tickwire.schemas.errors import InvalidValue, MalformedMessage
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.schemas.payloads import decode_payload, encode_payload
from tickwire.schemas.report import REPORT_COMMAND, PlayerReport
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.reply_cache import ReplyCache
from tickwire.server.edge.services import Outcome
from tickwire.server.errors import TickwireError
from tickwire.server.observability.traces import span
from tickwire.server.rooms.command_runner import refuse_command
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import Decision

IN_FLIGHT_MAX = 16
"""Commands of one session that may be written at one time."""
IN_FLIGHT_RETRY_MS = 200
"""A transaction takes some milliseconds, so several are complete after this time."""
_NONE: frozenset[int] = frozenset()
"""Shared by all sessions: an empty set of its own uses 216 bytes, and most sessions have no command in flight."""
SendReply = Callable[[Reply], None]


class CommandProcessor:
    """Runs the commands of one session, each of them once.

    Args:
        context: provides the transaction runner and starts tasks.
        replies: the replies so far, for a session that was on another shard.
    """

    __slots__ = ("_context", "_in_flight", "_replies", "_unresolved")

    def __init__(self, context: SessionContext, replies: ReplyCache | None = None) -> None:
        self._context = context
        self._replies = replies if replies is not None else ReplyCache()
        self._in_flight = _NONE
        self._unresolved: dict[int, object] = {}  # attempts of the transaction runner, by command id

    @property
    def replies(self) -> ReplyCache:
        """The replies that are still stored."""
        return self._replies

    @property
    def has_pending(self) -> bool:
        """Whether the outcome of a command is not known yet."""
        return bool(self._in_flight or self._unresolved)

    def handle(self, command: Command, seat: Seat | None, send_reply: SendReply) -> None:
        """Handle a command that the client has sent.

        Args:
            command: from the client.
            seat: the session's seat; None outside of a room.
            send_reply: sends a Reply, now or later, on the connection that the session has at that time.
        """
        known = self._replies.find(command.id)
        if known is not None:
            send_reply(known)
        elif command.id in self._in_flight:
            pass  # the first copy of the command is answered
        elif len(self._in_flight) >= IN_FLIGHT_MAX:
            text = f"more than {IN_FLIGHT_MAX} commands are in flight; wait for a reply before sending the next one"
            code, wait_ms = ErrorCode.RATE_LIMITED, IN_FLIGHT_RETRY_MS
            send_reply(Reply(command.id, ok=False, error=code, message=text, retry_after_ms=wait_ms))
        elif command.id in self._unresolved:
            pending = self._unresolved.pop(command.id)
            self._start(command, self._context.transactions.retry(pending), send_reply)
        elif seat is None:
            text = "the session is not in a room; join one first"
            send_reply(Reply(command.id, ok=False, error=ErrorCode.OUT_OF_ORDER, message=text))
        elif command.name == REPORT_COMMAND:
            self._resolve(self._report(command, seat), send_reply)
        else:
            answer = seat.run_command(command)
            if isinstance(answer, Decision):
                self._start(command, self._context.transactions.run(seat, command, answer), send_reply)
            elif answer.retry_after_ms:
                send_reply(answer)  # the room is moving: the command was not run, and is sent again after the move
            else:
                self._resolve(answer, send_reply)

    def _report(self, command: Command, seat: Seat) -> Reply:
        """Return the reply to a player's report, which the shard answers instead of the room."""
        try:
            reply = self._context.reports.report(seat, decode_payload(command.payload, PlayerReport).reason)
        except InvalidValue as error:
            return refuse_command(command.id, ErrorCode.INVALID_ARGUMENT, f"{command.name}: {error}")
        except MalformedMessage as error:
            return refuse_command(command.id, ErrorCode.MALFORMED, f"the payload is not msgpack: {error}")
        except TickwireError as error:
            # Not RATE_LIMITED, after which a client would send the command again until its timeout.
            return refuse_command(command.id, ErrorCode.COMMAND_FAILED, str(error))
        return Reply(command.id, ok=True, payload=encode_payload(reply))

    def _start(self, command: Command, attempt: Coroutine[Any, Any, Outcome], send_reply: SendReply) -> None:
        self._in_flight |= {command.id}
        self._context.spawn(self._commit(command, attempt, send_reply), f"transaction {command.id}")

    async def _commit(self, command: Command, attempt: Coroutine[Any, Any, Outcome], send_reply: SendReply) -> None:
        """Run the task of one transaction.

        It continues when the connection is lost: a client that repeats the command receives the stored reply.
        """
        try:
            with span("command", command=command.name[:64]):
                outcome = await attempt
        finally:
            self._in_flight -= {command.id}
        if not outcome.reply.retry_after_ms:
            self._resolve(outcome.reply, send_reply)
            return
        if outcome.pending is not None:
            self._unresolved[command.id] = outcome.pending
            if len(self._unresolved) > REPLIES_MAX:
                del self._unresolved[next(iter(self._unresolved))]
        send_reply(outcome.reply)

    def _resolve(self, reply: Reply, send_reply: SendReply) -> None:
        self._replies.add(reply)
        send_reply(reply)
