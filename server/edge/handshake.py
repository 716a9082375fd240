"""From a WebSocket to a session: the first message is Hello, and who says it is found out.

    waiting --Hello--> checking --known--> the session is the receiver
       |                  |--its room is elsewhere--> told where, closed
       └--too late, not Hello--> closed  └--refused--> closed

Two Hellos of one session may be checked at the same time, and the later one be done first. So each takes the
session's next generation when it arrives, and only a higher one than is in place is ever attached. And one may arrive
after a later one: its `attempt` gives it away, once the later one is attached.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from websockets.frames import CloseCode

from tickwire.schemas import SCHEMA_VERSION_MIN
from tickwire.schemas.codec import decode_client, encode_server
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import Error, ErrorCode, Hello, Redirect, to_request_type
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.join import error_message
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.errors import Internal, TickwireError, Unavailable

if TYPE_CHECKING:
    from tickwire.server.edge.auth.authenticator import Authenticator, Identity

log = structlog.get_logger(__name__)

EARLY_MESSAGES_MAX = 16
"""What a client may say before it has heard Welcome."""
_HELLO = to_request_type(Hello)
_CLOSING = {
    ErrorCode.UNAUTHORIZED: SessionCloseCode.UNAUTHORIZED,
    ErrorCode.ALREADY_CONNECTED: SessionCloseCode.ALREADY_CONNECTED,
    ErrorCode.UNAVAILABLE: SessionCloseCode.UNAVAILABLE,
    ErrorCode.BANNED: SessionCloseCode.BANNED,
}


class SessionHandshake:
    """The receiver of a connection that has no session yet.

    Args:
        connection: the WebSocket.
        token: what came with the HTTP request; a Hello's own token goes before it.
        authenticator: says who a token stands for.
        sessions: all sessions.
        around: what all sessions share.
    """

    __slots__ = (
        "_around",
        "_authenticator",
        "_checking",
        "_connection",
        "_early",
        "_patience_s",
        "_sessions",
        "_token",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        token: str,
        authenticator: Authenticator,
        sessions: SessionRegistry,
        around: SessionContext,
    ) -> None:
        self._connection = connection
        self._token = token
        self._authenticator = authenticator
        self._sessions = sessions
        self._around = around
        self._checking: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._patience_s = around.settings.handshake_timeout_s

    # -- Receiver -------------------------------------------------------------------------------------------

    def message_received(self, data: bytes, /) -> None:
        """The Hello, or what comes early."""
        if self._checking is None:
            self._first(data)
        elif len(self._early) < EARLY_MESSAGES_MAX:
            self._early.append(data)
        else:
            self._refuse(ErrorCode.OUT_OF_ORDER, "too many messages before Welcome", SessionCloseCode.POLICY)

    def text_received(self) -> None:
        """All messages are binary."""
        self._refuse(
            ErrorCode.MALFORMED, "a text message; all messages are binary", SessionCloseCode.TEXT_MESSAGE, "text"
        )

    def swept(self, now_s: float) -> None:
        """A second has passed."""
        if now_s - self._connection.accepted_s > self._patience_s:
            error = Error(ErrorCode.HANDSHAKE_TIMEOUT, "no valid Hello in time", retryable=True, request_type=_HELLO)
            self._close(error, SessionCloseCode.POLICY, "handshake_timeout")

    def connection_ended(self, connection: Connection) -> None:
        """Stop checking the Hello; not if the client ends with it the session that it asks for."""
        if self._checking is not None and connection.client_close_code != CloseCode.NORMAL_CLOSURE:
            self._checking.cancel()

    # -- Hello ----------------------------------------------------------------------------------------------

    def _first(self, data: bytes) -> None:
        try:
            hello = decode_client(data)
        except (MalformedMessage, UnknownMessage) as bad:
            self._refuse(ErrorCode.MALFORMED, str(bad), SessionCloseCode.POLICY)
            return
        if not isinstance(hello, Hello):
            self._refuse(ErrorCode.OUT_OF_ORDER, "the first message must be Hello", SessionCloseCode.POLICY)
        elif hello.schema_version < SCHEMA_VERSION_MIN:
            version = hello.schema_version
            text = f"schema version {version} is too old; at least {SCHEMA_VERSION_MIN} is spoken here"
            error = Error(ErrorCode.UPGRADE_REQUIRED, text, upgrade_to=SCHEMA_VERSION_MIN, request_type=_HELLO)
            self._around.counters.rejected["upgrade_required"] += 1
            self._close(error, SessionCloseCode.UPGRADE_REQUIRED, "upgrade_required")
        else:
            session = self._sessions.find(hello.resume_token) if hello.resume_token else None
            generation = session.reserve_generation() if session is not None else 0
            self._checking = self._around.spawn(self._check(hello, session, generation), "greeting")

    async def _check(self, hello: Hello, session: Session | None, generation: int) -> None:
        """The task of one Hello; cancelled when its connection ends."""
        settings = self._around.settings
        try:
            async with asyncio.timeout(settings.handshake_timeout_s):
                identity = await self._authenticator.identify(hello.token or self._token)
            self._token = ""
            self._around.bans.check(identity.player_id)
            if session is not None and session.is_over:  # since the Hello came: it may have moved
                session = None
            resumption = self._around.tokens.read(hello.resume_token) if session is None else None
            if resumption is not None:
                self._patience_s = settings.handshake_timeout_s + settings.join_timeout_s
                async with asyncio.timeout(settings.join_timeout_s):
                    redirect = await self._around.homes.find(
                        hello.room_id, resumption.session_id, resumption.shard_id
                    )
                if redirect is not None:
                    self._send_away(redirect)
                    return
                session = self._sessions.find(hello.resume_token)
                generation = session.reserve_generation() if session is not None else 0
            if self._connection.client_close_code is not None:
                self._end(hello, identity, session, generation)
            else:
                self._attach(hello, identity, session, generation)
        except TimeoutError:
            self._refuse_with(Unavailable("finding out who you are, and where, took too long", retry_after_ms=1000))
        except TickwireError as error:
            self._refuse_with(error)
        except Exception:
            log.exception("greeting_raised")
            self._refuse_with(Internal("the server failed to open a session"))

    def _send_away(self, redirect: Redirect) -> None:
        self._around.counters.resumes["redirected"] += 1
        if self._connection.is_open:
            self._connection.write(binary_frame(encode_server(redirect)))
            self._connection.close(SessionCloseCode.MOVED, "the session is at another shard")

    def _end(self, hello: Hello, identity: Identity, session: Session | None, generation: int) -> None:
        """End the session of a client that has closed the connection with 1000 right after its Hello."""
        if session is None or not is_duplicate_sessions(session, identity):
            return
        if session.is_newer(hello.attempt, generation):
            session.end("the client closed the connection with 1000", counted_as="ended_by_client")

    def _attach(self, hello: Hello, identity: Identity, session: Session | None, generation: int) -> None:
        resumes = self._around.counters.resumes
        if session is not None and not is_duplicate_sessions(session, identity):
            resumes["other_player"] += 1
            session = None
        elif session is not None:
            self._around.bans.check(session.player_id)  # of a guest who resumes, the identity is another
            session.check_resumable()
            if not session.attach(self._connection, hello, generation):
                resumes["overtaken"] += 1
                text = "the session goes on on another connection, or is over"
                self._refuse(ErrorCode.REPLACED, text, SessionCloseCode.REPLACED, "replaced")
                return
            resumes["resumed"] += 1
        elif hello.resume_token:
            resumes["unknown"] += 1
            self._log_not_found(hello, identity)
        if session is None:
            session = Session(identity, schema_version=hello.schema_version, around=self._around)
            self._sessions.add(session)
            session.attach(self._connection, hello, session.reserve_generation())
        self._connection.receiver = session
        for data in self._early:
            session.message_received(data)

    def _log_not_found(self, hello: Hello, identity: Identity) -> None:
        """Say why a player whose client has come back begins a new session."""
        claim = self._around.tokens.read(hello.resume_token)
        log.info(
            "session_not_found",
            session_id=claim.session_id if claim is not None else "",
            player_id="" if identity.is_guest else identity.player_id,
            reason="it is over, or its shard is lost" if claim is not None else "the resume token is invalid",
            room_id=hello.room_id,
            address=self._connection.address,
        )

    # -- refusals -------------------------------------------------------------------------------------------

    def _refuse_with(self, error: TickwireError) -> None:
        message = error_message(error, Hello)
        self._around.counters.rejected[error.code.lower()] += 1
        self._close(message, _CLOSING.get(message.code, SessionCloseCode.INTERNAL), error.code.lower())

    def _refuse(self, code: ErrorCode, text: str, closing: SessionCloseCode, counted_as: str = "") -> None:
        counted_as = counted_as or code.name.lower()
        self._around.counters.rejected[counted_as] += 1
        self._close(Error(code, text, request_type=_HELLO), closing, counted_as)

    def _close(self, error: Error, closing: SessionCloseCode, counted_as: str) -> None:
        connection = self._connection
        if not connection.is_open:
            return
        self._around.counters.closed[counted_as] += 1
        connection.write(binary_frame(encode_server(error)))
        connection.close(closing, error.message)


def is_duplicate_sessions(session: Session, identity: Identity) -> bool:
    """Whether a resume token's bearer is who has the session. A guest has nothing to show but the token itself."""
    if session.is_guest:
        return identity.is_guest
    return identity.player_id == session.player_id and not identity.is_guest
