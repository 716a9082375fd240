"""The session handshake: the first message is Hello; it opens a session or resumes one.

    waiting --Hello--> checking --authenticated--> the session's message handlers are the receiver
       |                  |--the session is on another shard--> redirected, closed
       └--too late, not Hello--> closed  └--rejected--> closed

Two Hellos of one session may be checked at the same time, and the later one may finish first. So each reserves the
session's next generation when it arrives, and a connection is attached only if its generation is the highest so far.
A Hello may also arrive after a later one. The server recognises it by its lower `attempt`, once the later one is
attached.
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
from tickwire.server.edge.close_codes import SessionCloseCode, moved_reason
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.join import to_error_message
from tickwire.server.edge.message_handlers import SessionReceiver
from tickwire.server.edge.receiver import Receiver
from tickwire.server.edge.resume_tokens import ResumeClaim
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_authentication import accept_identity, admitted_login
from tickwire.server.edge.session_connections import attach_connection, ends_session
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenState
from tickwire.server.errors import Internal, TickwireError, Unavailable

if TYPE_CHECKING:
    from tickwire.server.edge.auth.authenticator import Authenticator, Identity

log = structlog.get_logger(__name__)

EARLY_MESSAGES_MAX = 16
"""The most messages that a client may send before it has received Welcome."""
_HELLO = to_request_type(Hello)
_CLOSING = {
    ErrorCode.UNAUTHORIZED: SessionCloseCode.UNAUTHORIZED,
    ErrorCode.ALREADY_CONNECTED: SessionCloseCode.ALREADY_CONNECTED,
    ErrorCode.UNAVAILABLE: SessionCloseCode.UNAVAILABLE,
    ErrorCode.BANNED: SessionCloseCode.BANNED,
}


class SessionHandshake(Receiver[Connection]):
    """The receiver of a connection that has no session yet.

    Args:
        connection: the WebSocket.
        token: the token of the HTTP request; a token in Hello takes precedence.
        authenticator: authenticates the player.
        sessions: the registry of all sessions.
        context: the dependencies that all sessions of the shard share.
    """

    __slots__ = (
        "_authenticator",
        "_checking",
        "_connection",
        "_context",
        "_early_messages",
        "_sessions",
        "_timeout_s",
        "_token",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        token: str,
        authenticator: Authenticator,
        sessions: SessionRegistry,
        context: SessionContext,
    ) -> None:
        self._connection = connection
        self._token = token
        self._authenticator = authenticator
        self._sessions = sessions
        self._context = context
        self._checking: asyncio.Task[None] | None = None
        self._early_messages: list[bytes] = []
        self._timeout_s = context.settings.handshake_timeout_s

    # -- Receiver -------------------------------------------------------------------------------------------

    def message_received(self, data: bytes, /) -> None:
        """Handle the Hello, or store a message that arrives before Welcome is sent."""
        if self._checking is None:
            self._handle_hello(data)
        elif len(self._early_messages) < EARLY_MESSAGES_MAX:
            self._early_messages.append(data)
        else:
            self._reject(ErrorCode.OUT_OF_ORDER, "too many messages before Welcome", SessionCloseCode.POLICY)

    def text_received(self) -> None:
        """Reject a text message: all messages are binary."""
        self._reject(
            ErrorCode.MALFORMED,
            "received a text message; all messages must be binary",
            SessionCloseCode.TEXT_MESSAGE,
            "text",
        )

    def check_timeouts(self, now_s: float) -> None:
        """Close the connection if no valid Hello has arrived in time."""
        if now_s - self._connection.accepted_s > self._timeout_s:
            error = Error(
                ErrorCode.HANDSHAKE_TIMEOUT, "no valid Hello arrived in time", retryable=True, request_type=_HELLO
            )
            self._close(error, SessionCloseCode.POLICY, "handshake_timeout")

    def connection_ended(self, connection: Connection) -> None:
        """Stop checking the Hello, unless the client ends the session that it asks for by closing with 1000."""
        if self._checking is not None and connection.client_close_code != CloseCode.NORMAL_CLOSURE:
            self._checking.cancel()

    # -- Hello ----------------------------------------------------------------------------------------------

    def _handle_hello(self, data: bytes) -> None:
        try:
            hello = decode_client(data)
        except (MalformedMessage, UnknownMessage) as bad:
            self._reject(ErrorCode.MALFORMED, str(bad), SessionCloseCode.POLICY)
            return
        if not isinstance(hello, Hello):
            self._reject(ErrorCode.OUT_OF_ORDER, "the first message must be Hello", SessionCloseCode.POLICY)
        elif hello.schema_version < SCHEMA_VERSION_MIN:
            version = hello.schema_version
            text = f"schema version {version} is too old; this server requires at least {SCHEMA_VERSION_MIN}"
            error = Error(ErrorCode.UPGRADE_REQUIRED, text, upgrade_to=SCHEMA_VERSION_MIN, request_type=_HELLO)
            self._context.counters.rejected["upgrade_required"] += 1
            self._close(error, SessionCloseCode.UPGRADE_REQUIRED, "upgrade_required")
        else:
            session, generation = self._find(hello) if hello.resume_token else (None, 0)
            self._checking = self._context.spawn(self._check(hello, session, generation), "session handshake")

    def _find(self, hello: Hello) -> tuple[Session | None, int]:
        """Return the session that a Hello asks for, with the generation of its connection; None and 0 without one."""
        session = self._sessions.find(hello.resume_token)
        return session, session.generations.reserve() if session is not None else 0

    async def _check(self, hello: Hello, session: Session | None, generation: int) -> None:
        """Run the task of one Hello; it is cancelled when its connection ends.

        A connection that closes meanwhile, by the client or by the server, opens and resumes no session.
        """
        settings = self._context.settings
        try:
            async with asyncio.timeout(settings.handshake_timeout_s):
                identity = await self._authenticator.authenticate(hello.token or self._token)
            self._token = ""
            self._context.bans.check(identity.player_id)
            if (
                session is not None and session.is_over
            ):  # it ended after the Hello arrived, and may have moved to another shard
                session = None
            claim = self._context.tokens.read(hello.resume_token) if session is None else None
            if claim is not None:
                self._timeout_s = settings.handshake_timeout_s + settings.join_timeout_s
                async with asyncio.timeout(settings.join_timeout_s):
                    redirect = await self._context.session_locator.find(
                        hello.room_id, claim.session_id, claim.shard_id
                    )
                if redirect is not None:
                    self._redirect(redirect)
                    return
                session, generation = self._find(hello)
                if session is None and await self._is_replaced(hello, identity, claim):
                    text = "the player has opened another session while this one was disconnected"
                    self._reject(ErrorCode.REPLACED, text, SessionCloseCode.REPLACED, "replaced")
                    return
                if session is None:  # it may have arrived from another shard while presence was read
                    session, generation = self._find(hello)
            if session is None or session.joining is not None:
                await self._answer(hello, identity, session, generation)
            else:
                async with admitted_login(session, self._context, identity):
                    await self._answer(hello, identity, session, generation)
        except TimeoutError:
            self._reject_with(
                Unavailable("authenticating the player or finding the session took too long", retry_after_ms=1000)
            )
        except TickwireError as error:
            self._reject_with(error)
        except Exception:
            log.exception("session_handshake_failed")
            self._reject_with(Internal("the server failed to open a session"))

    async def _answer(self, hello: Hello, identity: Identity, session: Session | None, generation: int) -> None:
        if self._connection.is_open:
            await self._attach(hello, identity, session, generation)
        elif ends_session(self._connection):
            self._end(hello, identity, session, generation)

    async def _is_replaced(self, hello: Hello, identity: Identity, claim: ResumeClaim) -> bool:
        """Return whether the player plays with another client now, so that this one must not take over again.

        A client that was started again has no state yet (`last_tick`): then the player has chosen this client.
        """
        if identity.is_guest or not hello.last_tick:
            return False
        async with asyncio.timeout(self._context.settings.join_timeout_s):
            return await self._context.presence.is_replaced(identity.player_id, claim.session_id)

    def _redirect(self, redirect: Redirect) -> None:
        self._context.counters.resumes["redirected"] += 1
        if self._connection.is_open:
            self._connection.write(binary_frame(encode_server(redirect)))
            self._connection.close(SessionCloseCode.MOVED, moved_reason(redirect.url))

    def _end(self, hello: Hello, identity: Identity, session: Session | None, generation: int) -> None:
        """End the session of a client that has closed the connection with 1000 right after its Hello."""
        if session is None or not is_same_player(session, identity):
            return
        if session.generations.is_newer(hello.attempt, generation, self._context.now_s()):
            session.end("the client closed the connection with 1000", counted_as="ended_by_client")

    async def _attach(self, hello: Hello, identity: Identity, session: Session | None, generation: int) -> None:
        resumes = self._context.counters.resumes
        if session is not None and not is_same_player(session, identity):
            resumes["other_player"] += 1
            session = None
        elif session is not None:
            self._context.bans.check(session.player_id)  # a guest who resumes has authenticated under another name
            session.check_resumable()
            self._accept_identity(hello, identity, session, generation)
            if not attach_connection(session, self._context, self._connection, hello, generation):
                resumes["overtaken"] += 1
                text = "the session has a newer connection, or has ended"
                self._reject(ErrorCode.REPLACED, text, SessionCloseCode.REPLACED, "replaced")
                return
            resumes["resumed"] += 1
        elif hello.resume_token:
            resumes["unknown"] += 1
            self._log_not_found(hello, identity)
        if session is None:
            session = await self._open(hello, identity)
            if session is None:
                return
        self._connection.receiver = receiver = SessionReceiver(session, self._context)
        for data in self._early_messages:
            receiver.message_received(data)

    def _accept_identity(self, hello: Hello, identity: Identity, session: Session, generation: int) -> None:
        """Renew the token of a session, or make a guest's session that of a player who has logged in.

        During a join the player stays the same: the client sends Authenticate, which waits for the join.
        """
        is_newer = session.generations.is_newer(hello.attempt, generation, self._context.now_s())
        if is_newer and session.joining is None:
            accept_identity(session, self._context, identity)
            if session.token is not None:
                session.token.reported = TokenState.VALID  # the client may have missed TokenExpiring

    async def _open(self, hello: Hello, identity: Identity) -> Session | None:
        """Open a session, unless its player has another one or the connection closes meanwhile."""
        session = Session(identity, schema_version=hello.schema_version, context=self._context)
        claim = self._context.tokens.read(hello.resume_token) if hello.resume_token else None
        session.previous_session_id = claim.session_id if claim is not None else ""
        is_open = False
        try:
            if not session.is_guest:
                self._sessions.check_duplicates(session.player_id)
            await self._context.presence.admit(session)
            if not self._connection.is_open:
                return None
            self._sessions.add(session)
            is_open = True
        finally:
            if not is_open:
                self._context.presence.withdraw(session)
        attach_connection(session, self._context, self._connection, hello, session.generations.reserve())
        return session

    def _log_not_found(self, hello: Hello, identity: Identity) -> None:
        """Log why a client that tried to resume a session has received a new one."""
        claim = self._context.tokens.read(hello.resume_token)
        log.info(
            "session_not_found",
            session_id=claim.session_id if claim is not None else "",
            player_id="" if identity.is_guest else identity.player_id,
            reason="the session has ended, or its shard is lost"
            if claim is not None
            else "the resume token is invalid",
            room_id=hello.room_id,
            address=self._connection.address,
        )

    # -- rejections -----------------------------------------------------------------------------------------

    def _reject_with(self, error: TickwireError) -> None:
        message = to_error_message(error, Hello)
        self._context.counters.rejected[error.code.lower()] += 1
        self._close(message, _CLOSING.get(message.code, SessionCloseCode.INTERNAL), error.code.lower())

    def _reject(self, code: ErrorCode, text: str, closing: SessionCloseCode, counted_as: str = "") -> None:
        counted_as = counted_as or code.name.lower()
        self._context.counters.rejected[counted_as] += 1
        self._close(Error(code, text, request_type=_HELLO), closing, counted_as)

    def _close(self, error: Error, closing: SessionCloseCode, counted_as: str) -> None:
        connection = self._connection
        if not connection.is_open:
            return
        self._context.counters.closed[counted_as] += 1
        connection.write(binary_frame(encode_server(error)))
        connection.close(closing, error.message)


def is_same_player(session: Session, identity: Identity) -> bool:
    """Return whether the bearer of a resume token is the player of the session.

    A guest has no other proof than the resume token itself, and may have logged in meanwhile.
    """
    return session.is_guest or (identity.player_id == session.player_id and not identity.is_guest)
