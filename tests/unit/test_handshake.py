"""A Hello takes a moment to be checked, and the session that it asks for may move or end in that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.session_simulator import FakeConnection, FakeSessionContext
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.messages import EndSession, Error, ErrorCode, Hello, Redirect, Welcome
from tickwire.server.edge.auth.authenticator import GuestAuthenticator, Identity
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.handshake import SessionHandshake
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_connections import detach_connection
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import Banned

ELSEWHERE = Redirect("ws://elsewhere", is_resume=True)


class OtherShards:
    """Where every session that is not here has gone."""

    async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
        return ELSEWHERE


class Meanwhile(GuestAuthenticator):
    """Lets something happen while a Hello is checked."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens

    async def authenticate(self, token: str) -> Identity:
        self._happens()
        return await super().authenticate(token)


async def answer_to(context: FakeSessionContext, hello: Hello, happens: Callable[[], None]) -> tuple[Any, int | None]:
    connection = FakeConnection(context)
    connection.receiver = SessionHandshake(
        connection._as_connection(),
        token="",
        authenticator=Meanwhile(happens),
        sessions=context.registry,
        context=context,
    )
    connection.receiver.message_received(encode_client(hello))
    while context.tasks:
        await next(iter(context.tasks))
    return decode_server(connection.to_client[0]), connection.closed_with


async def opened(context: FakeSessionContext) -> tuple[Session, Welcome]:
    welcome, _ = await answer_to(context, Hello(3), lambda: None)
    (session,) = context.registry
    detach_connection(session, context, session.connection)  # type: ignore[arg-type]
    return session, welcome


async def test_hello_of_a_session_that_moves_meanwhile_is_redirected() -> None:
    context = FakeSessionContext(EdgeSettings())
    context.session_locator = OtherShards()  # type: ignore[assignment]
    session, welcome = await opened(context)
    hello = Hello(3, resume_token=welcome.resume_token, attempt=2)
    answer, closed_with = await answer_to(context, hello, lambda: session.redirect(ELSEWHERE))
    assert (answer, closed_with) == (ELSEWHERE, SessionCloseCode.MOVED)


async def test_hello_of_a_session_that_moves_away_and_back_resumes_it() -> None:
    context = FakeSessionContext(EdgeSettings())
    session, welcome = await opened(context)

    class ReturningSession(OtherShards):
        async def find(self, room_id: str, session_id: str, shard_id: str) -> Redirect | None:
            restored = context.registry.restore(session.to_checkpoint())
            assert restored is not None
            context.registry.settle(restored)
            return None

    context.session_locator = ReturningSession()  # type: ignore[assignment]
    hello = Hello(3, resume_token=welcome.resume_token, attempt=2)
    answer, _ = await answer_to(context, hello, lambda: session.redirect(ELSEWHERE))
    assert isinstance(answer, Welcome)
    assert (answer.session_id, answer.generation > 1) == (session.session_id, True)


async def test_hello_of_a_session_that_ends_meanwhile_opens_a_new_one() -> None:
    context = FakeSessionContext(EdgeSettings())
    session, welcome = await opened(context)
    hello = Hello(3, resume_token=welcome.resume_token, attempt=2)
    answer, _ = await answer_to(
        context, hello, lambda: session.end("its time is over", counted_as="resume_window_over")
    )
    assert isinstance(answer, Welcome)
    assert (answer.generation, answer.session_id != session.session_id) == (1, True)


@pytest.mark.parametrize("is_banned", [True, False])
async def test_banned_guest_cannot_resume(is_banned: bool) -> None:
    context = FakeSessionContext(EdgeSettings())
    session, welcome = await opened(context)

    class Bans:
        def check(self, player_id: str) -> None:
            if is_banned and player_id == session.player_id:
                raise Banned("for a day")

    context.bans = Bans()  # type: ignore[assignment]
    answer, _ = await answer_to(context, Hello(3, resume_token=welcome.resume_token, attempt=2), lambda: None)
    if is_banned:
        assert isinstance(answer, Error)
        assert answer.code is ErrorCode.BANNED
    else:
        assert isinstance(answer, Welcome)
        assert answer.session_id == session.session_id


@pytest.mark.parametrize(("code", "lives"), [(1000, False), (1001, True), (None, True)])
async def test_disconnected_client_ends_its_session_with_hello_and_close_1000(code: int | None, lives: bool) -> None:
    context = FakeSessionContext(EdgeSettings())
    session, welcome = await opened(context)
    connection = FakeConnection(context)
    hello = Hello(3, resume_token=welcome.resume_token, attempt=2)
    connection.receiver.message_received(encode_client(hello))
    connection.receiver.message_received(encode_client(EndSession()))
    connection.client_close_code = code
    connection.server_closes()
    while context.tasks:
        await asyncio.wait(context.tasks)
    assert (session in list(context.registry)) == lives
    assert len(context.registry) == lives


@pytest.mark.parametrize(
    ("code", "version", "lives"), [(1000, 3, False), (1000, 4, False), (1001, 3, True), (1001, 4, True)]
)
async def test_close_by_the_client_while_its_hello_is_checked(code: int, version: int, lives: bool) -> None:
    context = FakeSessionContext(EdgeSettings())
    session, welcome = await opened(context)
    connection = FakeConnection(context)
    hello = Hello(version, resume_token=welcome.resume_token, attempt=2)
    connection.receiver.message_received(encode_client(hello))
    # The close frame has arrived, and TLS keeps the transport until the peer has answered.
    connection.client_close_code, connection.is_open = code, False
    while context.tasks:
        await asyncio.wait(context.tasks)
    connection.server_closes()
    assert not connection.to_client, "the Hello is neither refused nor answered"
    assert list(context.registry) == ([session] if lives else [])
    assert session.generations.current == 1


async def test_hello_that_is_checked_after_the_server_has_closed_opens_no_session() -> None:
    context = FakeSessionContext(EdgeSettings())
    connection = FakeConnection(context)
    connection.receiver.message_received(encode_client(Hello(3)))
    context.clock_s += context.settings.handshake_timeout_s + 1
    connection.receiver.check_timeouts(context.clock_s)
    while context.tasks:
        await asyncio.wait(context.tasks)
    assert connection.closed_with == SessionCloseCode.POLICY
    assert len(context.registry) == 0
