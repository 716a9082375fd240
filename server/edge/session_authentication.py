"""Authenticates the player of a running session: a token is renewed, or a guest logs in.

    Authenticate --checked--> the session's own player    the token is renewed
                    |--the session is a guest's--> adopted: the session is the player's from now on
                    └--another player, invalid, banned--> Error; the session continues as before

The seat of a guest who logs in keeps its player id until the next join: the room knows the player by it. A player is
never exchanged during a join, which has reserved a seat for the id, or while the room moves to another shard with a
copy of the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from tickwire.schemas import AUTHENTICATE_VERSION_MIN
from tickwire.schemas.messages import Authenticate, Authenticated, ErrorCode, Goodbye, Message, TokenExpiring
from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.join import to_error_message
from tickwire.server.edge.login_presence import LoginPresence
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_token import SessionToken, TokenState, renew_token
from tickwire.server.errors import Internal, TickwireError, Unauthorized, Unavailable
from tickwire.server.rooms.handover import MOVES_MS

log = structlog.get_logger(__name__)

AUTHENTICATIONS_PER_S = 0.2
AUTHENTICATIONS_AT_ONCE = 5
"""Authenticate messages of one session. A renewal is needed every few minutes, and a signature costs CPU time."""


def start_authentication(session: Session, context: SessionContext, request: Authenticate) -> None:
    """Start to check a token. A check that is still running ends without an answer: the client has a newer token."""
    if session.authenticating is not None:
        session.authenticating.cancel()
    work = _authenticate(session, context, request.token)
    session.authenticating = context.spawn(work, f"authentication {session.session_id}")


async def _authenticate(session: Session, context: SessionContext, token: str) -> None:
    try:
        answer = await _find_answer(session, context, token)
    finally:
        if session.authenticating is asyncio.current_task():
            session.authenticating = None
    session.send_message(answer)


async def _find_answer(session: Session, context: SessionContext, token: str) -> Message:
    settings = context.settings
    was_guest = session.is_guest
    try:
        async with asyncio.timeout(settings.handshake_timeout_s):
            identity = await context.authenticator.authenticate(token)
        if identity.is_guest:
            raise Unauthorized("a token is required")
        async with asyncio.timeout(settings.join_timeout_s):
            await _adopt(session, context, identity)
    except TimeoutError:
        error: TickwireError = Unavailable("authenticating the player took too long", retry_after_ms=1000)
    except TickwireError as refused:
        error = refused
    except Exception:
        log.exception("authentication_failed", session_id=session.session_id)
        error = Internal("the server failed to authenticate the player")
    else:
        context.counters.authentications["adopted" if was_guest else "renewed"] += 1
        expires_in_ms = session.token.expires_in_ms(_now_s(context)) if session.token is not None else 0
        return Authenticated(session.player_id, expires_in_ms)
    context.counters.authentications[error.code.lower()] += 1
    session.note("authentication_refused", code=error.code, error=str(error))
    return to_error_message(error, Authenticate)


async def _adopt(session: Session, context: SessionContext, identity: Identity) -> None:
    """Accept an identity after the join in progress, unless the player has another session that stays."""
    async with admitted_login(session, context, identity):
        while session.joining is not None:
            await asyncio.wait((session.joining,))
        session.check_resumable()
        accept_identity(session, context, identity)


@asynccontextmanager
async def admitted_login(session: Session, context: SessionContext, identity: Identity) -> AsyncIterator[None]:
    """Admit the login of a guest in the fleet, and withdraw it if the body does not accept the identity.

    Does nothing if the session has a player already, or if the identity is a guest's.

    Raises:
        Banned: the player is banned.
        AlreadyConnected: the player has another session, and the policy is to refuse a second one.
        Unavailable: the session has ended here meanwhile; it may have moved to another shard.
    """
    if not session.is_guest or identity.is_guest:
        yield
        return
    login = LoginPresence(session, identity.player_id, context.now_us())
    try:
        context.bans.check(identity.player_id)
        context.registry.check_duplicates(identity.player_id)
        await context.presence.admit(login)
        if session.is_over:
            raise Unavailable("the session has ended or moved to another shard; try again", retry_after_ms=MOVES_MS)
        yield
    finally:
        if session.is_guest:
            context.presence.withdraw(login)


def accept_identity(session: Session, context: SessionContext, identity: Identity) -> None:
    """Renew the token of a session, or make a guest's session that of a player who has logged in.

    The caller has checked that no join is in progress.

    Raises:
        Unauthorized: the session is another player's.
        Banned: the player is banned.
        AlreadyConnected: the player has another session, and the policy is to refuse a second one.
    """
    if identity.is_guest:
        return
    context.bans.check(identity.player_id)
    if not session.is_guest and session.player_id != identity.player_id:
        raise Unauthorized("the token is another player's; this session belongs to the player who opened it")
    if session.is_guest:
        guest_id = session.player_id
        context.registry.change_player(session, identity.player_id)
        session.note("adopted", guest_id=guest_id, room_id=session.room_id)
    session.token = renew_token(session.token, identity, _now_s(context))


def check_token(session: Session, context: SessionContext, token: SessionToken) -> None:
    """Apply the policy to the token of a connected session; called once a second."""
    policy, now_s = context.token_policy, _now_s(context)
    state = token.state(policy, now_s)
    if state is token.reported or state is TokenState.VALID:
        return
    token.reported = state
    if state is TokenState.EXPIRING:
        if session.schema_version >= AUTHENTICATE_VERSION_MIN:
            session.send_message(TokenExpiring(token.expires_in_ms(now_s)))
        return
    context.counters.token_expiries[policy.on_expired] += 1
    session.note("token_expired", policy=policy.on_expired, room_id=session.room_id)
    if policy.on_expired == "end":
        reason = "the token has expired; reconnect with a new one"
        session.flush_events()
        session.send_message(Goodbye(ErrorCode.UNAUTHORIZED, reason, come_back=True))
        session.close(SessionCloseCode.TOKEN_EXPIRED, reason, counted_as="token_expired")


def _now_s(context: SessionContext) -> float:
    return context.now_us() / 1e6
