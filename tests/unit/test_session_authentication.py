"""A running session authenticates again: renewed tokens, guests who log in, tokens that end, and hostile clients."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.harness.session_simulator import FakeConnection, FakeSessionContext
from tickwire.schemas import AUTHENTICATE_VERSION_MIN
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    Error,
    ErrorCode,
    Goodbye,
    Hello,
    Join,
    Joined,
    Message,
    TokenExpiring,
    Welcome,
    to_request_type,
)
from tickwire.server.edge.auth.authenticator import GuestAuthenticator, Identity
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_authentication import AUTHENTICATIONS_AT_ONCE
from tickwire.server.edge.session_restore import restore_session
from tickwire.server.edge.session_token import EXPIRY_MS_MAX, SessionToken, TokenPolicy, TokenState, renew_token
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import Banned, Unauthorized
from tickwire.server.rooms.checkpoint import SessionCheckpoint

START_S = 1_700_000_000.0


class TimedTokens(GuestAuthenticator):
    """Accepts tokens of the form PLAYER@SECONDS, which end so long after START_S, once `is_open` is set."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def authenticate(self, token: str) -> Identity:
        if not token:
            return await super().authenticate(token)
        player_id, _, seconds = token.partition("@")
        await self.is_open.wait()
        if not seconds:
            raise Unauthorized("the token is invalid")
        return Identity(player_id, is_guest=False, expires_at_s=START_S + float(seconds), issued_at_s=START_S)


class OneBan:
    """Bans one player."""

    def __init__(self, banned: str) -> None:
        self._banned = banned

    def check(self, player_id: str) -> None:
        if player_id == self._banned:
            raise Banned("for a day")


class TokenPlay:
    """One shard and its clients, with a clock that the test sets."""

    def __init__(self, policy: TokenPolicy | None = None, *, duplicates: Any = "replace") -> None:
        self.context = FakeSessionContext(EdgeSettings(duplicate_sessions=duplicates))
        self.tokens = self.context.authenticator = TimedTokens()
        self.context.token_policy = policy or TokenPolicy()
        self.at_s = 0.0
        self.context.now_us = lambda: int((START_S + self.at_s) * 1e6)  # type: ignore[method-assign]

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def connect(self, token: str = "", **hello: Any) -> AuthenticatingClient:
        client = AuthenticatingClient(self)
        client.say(Hello(hello.pop("schema_version", AUTHENTICATE_VERSION_MIN), token=token, **hello))
        await self.settle()
        return client


class AuthenticatingClient:
    """One connection."""

    def __init__(self, play: TokenPlay) -> None:
        self.play = play
        self.connection = FakeConnection(play.context)

    def say(self, message: Message) -> None:
        self.connection.to_server.append(encode_client(message))
        self.connection.server_receives()

    def received(self) -> list[Any]:
        messages = [decode_server(data) for data in self.connection.to_client]
        self.connection.to_client.clear()
        return messages

    async def ask(self, message: Message) -> Any:
        self.received()
        self.say(message)
        await self.play.settle()
        answers = self.received()
        assert len(answers) == 1, answers
        return answers[0]

    @property
    def session(self) -> Session:
        session: Session = self.connection.receiver.session
        return session

    def sweep(self, at_s: float) -> list[Any]:
        """Check the time limits at this time; return the messages that this causes."""
        self.received()
        self.play.at_s = at_s
        self.connection.receiver.check_timeouts(self.play.context.now_s())
        return self.received()


# -- renewal ------------------------------------------------------------------------------------------------


async def test_token_of_the_same_player_is_renewed() -> None:
    play = TokenPlay()
    ann = await play.connect("ann@100")
    assert await ann.ask(Authenticate("ann@700")) == Authenticated("ann", 700_000)
    assert ann.session.token is not None
    assert ann.session.token.expires_at_s == START_S + 700
    assert play.context.counters.authentications == {"renewed": 1}


async def test_older_token_does_not_shorten_the_session() -> None:
    ann = await TokenPlay().connect("ann@100")
    assert await ann.ask(Authenticate("ann@50")) == Authenticated("ann", 100_000)


async def test_token_of_another_player_is_refused_and_the_session_goes_on() -> None:
    play = TokenPlay()
    ann = await play.connect("ann@100")
    answer = await ann.ask(Authenticate("mallory@700"))
    assert (answer.code, answer.request_type) == (ErrorCode.UNAUTHORIZED, to_request_type(Authenticate))
    assert not answer.retryable
    assert ann.session.player_id == "ann"
    assert await ann.ask(Authenticate("ann@700")) == Authenticated("ann", 700_000)


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 4096])
async def test_token_that_is_invalid_is_refused_and_the_session_goes_on(token: str) -> None:
    play = TokenPlay()
    for client in (await play.connect("ann@100"), await play.connect()):
        before = client.session.player_id
        answer = await client.ask(Authenticate(token))
        assert (type(answer), answer.code) == (Error, ErrorCode.UNAUTHORIZED)
        assert (client.session.player_id, client.connection.is_open) == (before, True)


async def test_client_is_informed_once_before_its_token_ends() -> None:
    ann = await TokenPlay(TokenPolicy(renewal_s=60)).connect("ann@600")
    assert ann.sweep(539) == []
    assert ann.sweep(541) == [TokenExpiring(59_000)]
    assert ann.sweep(542) == []
    assert await ann.ask(Authenticate("ann@1200")) == Authenticated("ann", 658_000)
    assert ann.sweep(1139) == []
    assert ann.sweep(1141) == [TokenExpiring(59_000)]


async def test_short_token_is_renewed_at_half_of_its_time() -> None:
    """Else a client would request a token again as soon as it has one."""
    ann = await TokenPlay(TokenPolicy(renewal_s=60)).connect("ann@30")
    assert ann.sweep(14) == []
    assert ann.sweep(15) == [TokenExpiring(15_000)]
    assert await ann.ask(Authenticate("ann@45")) == Authenticated("ann", 30_000)
    assert ann.sweep(16) == []


async def test_client_is_informed_again_after_a_resume() -> None:
    play = TokenPlay(TokenPolicy(renewal_s=60))
    ann = await play.connect("ann@600")
    (welcome,) = ann.received()
    session = ann.session
    assert ann.sweep(550) == [TokenExpiring(50_000)]
    again = await play.connect("ann@600", resume_token=welcome.resume_token, attempt=2)
    assert again.session is session
    assert again.sweep(551) == [TokenExpiring(49_000)]


async def test_resume_with_a_new_token_renews_it() -> None:
    play = TokenPlay(TokenPolicy(renewal_s=60))
    (welcome,) = (ann := await play.connect("ann@600")).received()
    ann.sweep(550)
    again = await play.connect("ann@1200", resume_token=welcome.resume_token, attempt=2)
    assert again.sweep(551) == []
    assert again.sweep(1150) == [TokenExpiring(50_000)]


async def test_client_of_an_older_version_does_not_receive_token_expiring() -> None:
    ann = await TokenPlay().connect("ann@600", schema_version=AUTHENTICATE_VERSION_MIN - 1)
    assert ann.sweep(590) == []


# -- the end of a token -------------------------------------------------------------------------------------


async def test_session_goes_on_after_its_token_has_expired() -> None:
    play = TokenPlay(TokenPolicy(on_expired="keep", grace_s=40))
    ann = await play.connect("ann@600")
    ann.sweep(590)
    assert ann.sweep(10_000) == []
    assert ann.connection.is_open
    assert play.context.counters.token_expiries == {"keep": 1}


async def test_session_ends_after_its_token_has_expired() -> None:
    play = TokenPlay(TokenPolicy(on_expired="end", grace_s=40))
    (welcome,) = (ann := await play.connect("ann@600")).received()
    session = ann.session
    ann.sweep(590)
    assert ann.sweep(639) == []
    (goodbye,) = ann.sweep(640)
    assert (type(goodbye), goodbye.code, goodbye.come_back) == (Goodbye, ErrorCode.UNAUTHORIZED, True)
    assert ann.connection.closed_with == SessionCloseCode.TOKEN_EXPIRED == 4005
    assert (play.context.counters.token_expiries, play.context.counters.closed) == ({"end": 1}, {"token_expired": 1})
    ann.connection.server_closes()
    again = await play.connect("ann@1200", resume_token=welcome.resume_token, attempt=2)
    assert isinstance(again.received()[0], Welcome)
    assert again.session is session, "it was resumed"


async def test_renewed_token_prevents_the_end() -> None:
    ann = await TokenPlay(TokenPolicy(on_expired="end", grace_s=40)).connect("ann@600")
    ann.sweep(620)
    assert await ann.ask(Authenticate("ann@1200")) == Authenticated("ann", 580_000)
    assert ann.sweep(700) == []
    assert ann.connection.is_open


async def test_session_of_a_guest_does_not_expire() -> None:
    guest = await TokenPlay(TokenPolicy(on_expired="end")).connect()
    assert guest.sweep(10**6) == []
    assert guest.connection.is_open


# -- a guest logs in ----------------------------------------------------------------------------------------


async def test_session_of_a_guest_adopts_the_player_of_the_token() -> None:
    play = TokenPlay()
    guest = await play.connect()
    guest_id = guest.session.player_id
    assert await guest.ask(Authenticate("ann@100")) == Authenticated("ann", 100_000)
    assert (guest.session.player_id, guest.session.is_guest) == ("ann", False)
    registry = play.context.registry
    assert (registry.find_by_player("ann"), registry.find_by_player(guest_id)) == ([guest.session], [])
    assert play.context.counters.authentications == {"adopted": 1}
    answer = await guest.ask(Authenticate("bob@100"))
    assert answer.code is ErrorCode.UNAUTHORIZED


async def test_seat_keeps_the_id_of_the_guest_until_the_next_join() -> None:
    play = TokenPlay()
    guest = await play.connect()
    guest_id = guest.session.player_id
    assert isinstance(await guest.ask(Join("diary")), Joined)
    await guest.ask(Authenticate("ann@100"))
    assert list(play.context.runtime.room.players) == [guest_id]
    guest.session.leave_seat()
    assert isinstance(await guest.ask(Join("diary")), Joined)
    assert list(play.context.runtime.room.players) == ["ann"]


async def test_other_session_of_the_player_is_replaced() -> None:
    play = TokenPlay()
    ann, guest = await play.connect("ann@100"), await play.connect()
    await guest.ask(Authenticate("ann@100"))
    assert ann.received()[-1].code is ErrorCode.REPLACED
    assert ann.connection.closed_with == SessionCloseCode.REPLACED
    assert play.context.registry.find_by_player("ann") == [guest.session]


async def test_login_counts_as_the_newest_session_of_the_player_on_all_shards() -> None:
    play = TokenPlay()
    guest = await play.connect()
    play.at_s = 50
    await guest.ask(Authenticate("ann@100"))
    assert guest.session.opened_us == int((START_S + 50) * 1e6)


async def test_login_is_refused_while_the_player_has_another_session() -> None:
    play = TokenPlay(duplicates="refuse")
    ann, guest = await play.connect("ann@100"), await play.connect()
    answer = await guest.ask(Authenticate("ann@100"))
    assert answer.code is ErrorCode.ALREADY_CONNECTED
    assert guest.session.is_guest
    assert play.context.registry.find_by_player("ann") == [ann.session]


async def test_banned_player_cannot_log_in() -> None:
    play = TokenPlay()
    guest = await play.connect()
    play.context.bans = OneBan("ann")  # type: ignore[assignment]
    answer = await guest.ask(Authenticate("ann@100"))
    assert (answer.code, guest.session.is_guest, guest.connection.is_open) == (ErrorCode.BANNED, True, True)


async def test_login_waits_for_a_join() -> None:
    """The join has reserved a seat for the id of the guest."""
    play = TokenPlay()
    guest = await play.connect()
    guest_id = guest.session.player_id
    is_found = asyncio.Event()
    seat, join = play.context.join, asyncio.Event()

    async def late_join(subscriber: Any, request: Join, *, seals_options: bool = False) -> Any:
        join.set()
        await is_found.wait()
        return await seat(subscriber, request)

    play.context.join = late_join  # type: ignore[method-assign]
    guest.say(Join("diary"))
    await join.wait()
    guest.received()
    guest.say(Authenticate("ann@100"))
    await play.settle()
    assert (guest.received(), guest.session.player_id) == ([], guest_id)
    is_found.set()
    await play.settle()
    assert [type(message) for message in guest.received()] == [Joined, Authenticated]
    assert list(play.context.runtime.room.players) == [guest_id]
    assert guest.session.player_id == "ann"


async def test_login_waits_until_the_room_has_moved() -> None:
    """A copy of the session was sent before: the login would be lost."""
    play = TokenPlay()
    guest = await play.connect()
    await guest.ask(Join("diary"))
    play.context.runtime.handover.seal()
    answer = await guest.ask(Authenticate("ann@100"))
    assert (answer.code, answer.retryable, guest.session.is_guest) == (ErrorCode.UNAVAILABLE, True, True)


async def test_guest_who_has_logged_in_resumes_with_the_token_although_the_answer_was_lost() -> None:
    play = TokenPlay()
    (welcome,) = (guest := await play.connect()).received()
    session = guest.session
    await guest.ask(Authenticate("ann@100"))
    again = await play.connect("ann@100", resume_token=welcome.resume_token, attempt=2)
    assert again.session is session


async def test_guest_who_resumes_with_a_token_logs_in() -> None:
    """The connection was lost before the server received Authenticate."""
    play = TokenPlay()
    (welcome,) = (guest := await play.connect()).received()
    session = guest.session
    again = await play.connect("ann@100", resume_token=welcome.resume_token, attempt=2)
    assert (again.session is session, session.player_id, session.is_guest) == (True, "ann", False)
    assert again.session.token is not None


async def test_session_that_was_adopted_is_not_resumed_by_a_guest() -> None:
    play = TokenPlay()
    (welcome,) = (guest := await play.connect()).received()
    session = guest.session
    await guest.ask(Authenticate("ann@100"))
    again = await play.connect("", resume_token=welcome.resume_token, attempt=2)
    assert again.session is not session
    assert again.session.is_guest


# -- other shards -------------------------------------------------------------------------------------------


async def test_session_keeps_its_player_and_token_on_another_shard() -> None:
    guest = await TokenPlay().connect()
    await guest.ask(Authenticate("ann@100"))
    data = msgspec.msgpack.encode(guest.session.to_checkpoint())
    other = TokenPlay(TokenPolicy(renewal_s=60))
    restored = restore_session(msgspec.msgpack.decode(data, type=SessionCheckpoint), other.context)  # type: ignore[arg-type]
    assert (restored.player_id, restored.is_guest) == ("ann", False)
    assert restored.token is not None
    assert (restored.token.expires_at_s, restored.token.issued_at_s) == (START_S + 100, START_S)


async def test_checkpoint_of_an_older_build_has_a_token_without_an_end() -> None:
    old = {"session_id": "s", "player_id": "ann", "is_guest": False, "schema_version": 4}
    checkpoint = msgspec.convert(old, SessionCheckpoint)
    restored = restore_session(checkpoint, TokenPlay().context)  # type: ignore[arg-type]
    assert restored.token is not None
    assert restored.token.state(TokenPolicy(), START_S * 2) is TokenState.VALID


# -- hostile clients ----------------------------------------------------------------------------------------


async def test_flood_of_tokens_is_limited() -> None:
    play = TokenPlay()
    ann = await play.connect("ann@100")
    ann.received()
    for _ in range(AUTHENTICATIONS_AT_ONCE + 20):
        ann.say(Authenticate("nonsense"))
    await play.settle()
    codes = [answer.code for answer in ann.received()]
    assert codes.count(ErrorCode.RATE_LIMITED) == 20
    assert codes.count(ErrorCode.UNAUTHORIZED) == 1, "a check that is replaced by a newer one has no answer"
    assert ann.connection.is_open


async def test_checks_end_with_their_session() -> None:
    play = TokenPlay()
    ann = await play.connect("ann@100")
    play.tokens.is_open.clear()
    ann.say(Authenticate("ann@700"))
    await play.settle()
    assert play.context.tasks
    ann.session.end("a test", counted_as="a_test")
    await play.settle()
    assert not play.context.tasks


async def test_check_that_takes_too_long_is_answered() -> None:
    play = TokenPlay()
    play.context.settings = msgspec.structs.replace(play.context.settings, handshake_timeout_s=0.01)
    ann = await play.connect("ann@100")
    play.tokens.is_open.clear()
    ann.received()
    ann.say(Authenticate("ann@700"))
    (task,) = play.context.tasks
    await task
    (answer,) = ann.received()
    assert (answer.code, answer.retryable) == (ErrorCode.UNAVAILABLE, True)


async def test_authenticate_before_welcome_is_answered_after_it() -> None:
    play = TokenPlay()
    client = AuthenticatingClient(play)
    client.say(Hello(AUTHENTICATE_VERSION_MIN))
    client.say(Authenticate("ann@100"))
    await play.settle()
    welcome, answer = client.received()
    assert isinstance(welcome, Welcome)
    assert answer == Authenticated("ann", 100_000)


async def test_authenticate_as_the_first_message_is_refused() -> None:
    play = TokenPlay()
    client = AuthenticatingClient(play)
    client.say(Authenticate("ann@100"))
    await play.settle()
    (answer,) = client.received()
    assert (answer.code, client.connection.is_open) == (ErrorCode.OUT_OF_ORDER, False)


# -- the token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_at_s", "expires_in_ms"), [(0, 0), (0.5, 0), (1.0001, 1), (3, 2000), (1e14, EXPIRY_MS_MAX)]
)
def test_time_until_the_end_fits_into_the_message(expires_at_s: float, expires_in_ms: int) -> None:
    assert SessionToken(expires_at_s, 0, 0).expires_in_ms(1.0) == expires_in_ms


def test_token_without_an_end_outlives_every_other() -> None:
    endless = renew_token(None, Identity("ann", False), 0.0)
    assert endless is not None
    assert renew_token(endless, Identity("ann", False, expires_at_s=5.0), 0.0) is endless
    assert renew_token(SessionToken(5.0, 0.0, 0.0), Identity("ann", False), 0.0) is not None
    assert endless.state(TokenPolicy(), 1e14) is TokenState.VALID
