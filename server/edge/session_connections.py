"""Attaches connections to sessions and detaches them, in the order of their generations.

disconnected --Hello--> connected --lost, closed--> disconnected
connected --Hello of a newer connection--> connected; the connection before is closed
connected --the client closes with 1000--> the session ends
"""

from __future__ import annotations

import msgspec
from websockets.frames import CloseCode

from tickwire.schemas.messages import Error, ErrorCode, Goodbye, Hello
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.receiver import DiscardingReceiver
from tickwire.server.edge.session import Session, SessionState
from tickwire.server.edge.session_messages import create_welcome
from tickwire.server.edge.unread_redirect import UnreadRedirect


def attach_connection(
    session: Session, context: SessionContext, connection: Connection, hello: Hello, generation: int
) -> bool:
    """Attach a connection: send Welcome, and then the events that the client has missed.

    Returns:
        False if the session has a later connection, or has ended; nothing was changed then.
    """
    now_s = context.now_s()
    if session.state is SessionState.CLOSED or not session.generations.is_newer(hello.attempt, generation, now_s):
        return False
    is_new = not session.generations.current
    session.generations.attach(hello.attempt, generation, now_s)
    if session.connection is not None:
        _release_connection(session, context, session.connection)
    session.is_redirected = False
    connection.has_session = True
    session.connection = connection
    session.address = connection.address
    session.schema_version = hello.schema_version
    context.registry.mark_connected(session)
    # Of all tokens that were issued, the client is known to have this one. The Welcome with the next may be lost.
    used = context.tokens.read(hello.resume_token)
    session.generations.used = used.generation if used is not None and not is_new else 0
    welcome = create_welcome(
        context,
        session.session_id,
        session.generations.current,
        session.room_id,
        is_joining=session.state is SessionState.JOINING,
    )
    unread = session.unread_redirect
    missed = unread if unread is not None and unread.is_missed(hello.room_id, now_s) else None
    if missed is not None:
        welcome = msgspec.structs.replace(welcome, room_id=hello.room_id)  # which it leaves again
    elif hello.room_id and hello.room_id == session.left_room_id:  # the client may not have received Left
        welcome = msgspec.structs.replace(welcome, left_reason=session.left_reason)
    session.send_message(welcome)
    session.close_reason = ""
    session.note_connection("opened" if is_new else "resumed", connection.address)
    if not is_new:
        _resume(session, context, hello)
    if missed is not None:
        _repeat_redirect(session, missed)
    return True


def detach_connection(session: Session, context: SessionContext, connection: Connection) -> None:
    """Detach a connection that has ended. The session ends if its client closed the connection with 1000."""
    if connection is not session.connection:
        return
    code = connection.client_close_code
    if ends_session(connection):
        session.connection = None
        session.end("the client closed the connection with 1000", counted_as="ended_by_client")
    elif code is not None and session.is_redirected:
        session.connection = None
        session.end("the client followed a Redirect to another shard", counted_as="redirected")
    else:
        closed_by_client = "" if code is None else f"the client closed the connection with {code}"
        _detach(
            session,
            context,
            session.close_reason or connection.failure or closed_by_client or "the connection was lost",
        )


def _detach(session: Session, context: SessionContext, reason: str) -> None:
    session.lose_connection(reason)
    if session.state is not SessionState.CLOSED:
        context.registry.mark_disconnected(session, session.disconnected_since_s)  # which may end it


def _release_connection(session: Session, context: SessionContext, connection: Connection) -> None:
    """Close a connection that a newer one has replaced, and discard what it still receives."""
    connection.receiver = DiscardingReceiver(context.counters)
    connection.has_session = False
    session.send_message(Goodbye(ErrorCode.REPLACED, "the session was resumed on another connection"))
    connection.close(SessionCloseCode.REPLACED, "replaced by another connection")
    context.counters.closed["replaced"] += 1
    session.lose_connection("another connection resumed the session")


def _resume(session: Session, context: SessionContext, hello: Hello) -> None:
    lost = session.outbox.rewind(hello.last_event)
    if lost:
        text = f"{lost} events after number {hello.last_event} are not stored any more"
        session.send_message(Error(ErrorCode.RESYNC, text))
    if session.seat is not None:
        session.seat.resumed(hello.room_id, hello.last_tick)
    elif session.outbox.unsent:
        session.flush_events()
    context.queue.session_resumed(session)


def _repeat_redirect(session: Session, missed: UnreadRedirect) -> None:
    for message in missed.messages:
        session.send_message(message)
    session.is_redirected = session.connection is not None


def ends_session(connection: Connection) -> bool:
    """Return whether the client has ended its session by closing this connection with 1000."""
    return connection.client_close_code == CloseCode.NORMAL_CLOSURE
