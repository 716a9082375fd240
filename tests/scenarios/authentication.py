"""Scenarios of tokens in a running session: logins of guests, renewals, and tokens that end."""

from __future__ import annotations

from tests.scenarios.connection import ALICE, BOB, answer, connect, joined
from tests.scenarios.recorder import ScenarioRecorder, scenario
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    Error,
    ErrorCode,
    Goodbye,
    Pong,
    TokenExpiring,
)

RENEWED = "e30.eyJzdWIiOiJhbGljZSJ9.bmV3"
"""Another token of alice."""
UNAUTHORIZED = Error(ErrorCode.UNAUTHORIZED, "the token has expired")
BUSY = Error(ErrorCode.UNAVAILABLE, "the room is moving", retry_after_ms=1000, retryable=True)


def _guest(play: ScenarioRecorder) -> None:
    play.open()
    connect(play)


def _alice(play: ScenarioRecorder) -> None:
    play.open()
    connect(play, token=ALICE)


@scenario()
def login_in_play(play: ScenarioRecorder) -> None:
    """A guest in a room logs in."""
    _guest(play)
    play.join()
    play.receive(joined())
    play.wait(500)
    play.authenticate(ALICE)
    play.wait(40)
    play.receive(Authenticated("alice", 600_000))


@scenario()
def login_refused(play: ScenarioRecorder) -> None:
    """The token of a login is refused. The session continues, and a second login succeeds."""
    _guest(play)
    play.authenticate(BOB)
    play.receive(answer(UNAUTHORIZED, Authenticate))
    play.authenticate(ALICE)
    play.receive(Authenticated("alice"))


@scenario()
def login_unsupported(play: ScenarioRecorder) -> None:
    """An older server does not know Authenticate."""
    _guest(play)
    play.authenticate(ALICE)
    play.receive(answer(Error(ErrorCode.UNSUPPORTED, "unknown message type 12"), Authenticate))


@scenario()
def login_too_large(play: ScenarioRecorder) -> None:
    """A token that the server would not accept is not sent."""
    _guest(play)
    play.authenticate("x" * 4097)


@scenario()
def logins_in_order(play: ScenarioRecorder) -> None:
    """One token is checked at a time."""
    _guest(play)
    play.authenticate(ALICE)
    play.authenticate(RENEWED)
    play.receive(Authenticated("alice", 1000))
    play.receive(Authenticated("alice", 600_000))


@scenario()
def login_timeout(play: ScenarioRecorder) -> None:
    """A login has no answer in time. It is not used in Hello any more."""
    _guest(play)
    play.authenticate(ALICE)
    _wait_for(play, "Reject")
    play.lost(1006)
    play.timer()
    play.token()
    play.connected()


@scenario()
def login_over_a_reconnect(play: ScenarioRecorder) -> None:
    """The connection is lost during a login. Hello has its token, because the server may have adopted it."""
    _guest(play)
    play.authenticate(ALICE)
    play.lost(1006)
    play.timer()
    connect(play, generation=2)
    play.receive(Authenticated("alice", 600_000))


@scenario()
def login_refused_by_hello(play: ScenarioRecorder) -> None:
    """The token of a login is refused in Hello. The login fails, and the session is resumed without it."""
    _guest(play)
    play.authenticate(BOB)
    play.lost(1006)
    play.timer()
    play.token()
    play.connected()
    play.receive(UNAUTHORIZED)
    play.timer()
    connect(play, generation=2)


@scenario()
def login_replaces_the_token(play: ScenarioRecorder) -> None:
    """After a login its token is used for connections, until the application has another one than before."""
    _guest(play)
    play.authenticate(ALICE)
    play.receive(Authenticated("alice", 600_000))
    play.lost(1006)
    play.timer()
    connect(play, generation=2)
    play.lost(1006)
    play.timer()
    connect(play, generation=3, token=RENEWED)


@scenario(has_storage=True)
def login_is_saved(play: ScenarioRecorder) -> None:
    """After a login the saved text belongs to the player of the token."""
    _guest(play)
    play.authenticate(ALICE)
    play.receive(Authenticated("alice", 600_000))


@scenario()
def login_of_a_closed_client(play: ScenarioRecorder) -> None:
    """A client that is closed during a login ends it, and begins no other."""
    _guest(play)
    play.authenticate(ALICE)
    play.close()
    play.authenticate(ALICE)
    play.open()
    play.token()
    play.connected()


@scenario()
def token_renewed(play: ScenarioRecorder) -> None:
    """The server announces the end of the token, and the application has a new one."""
    _alice(play)
    play.wait(100)
    play.receive(TokenExpiring(60_000))
    play.wait(100)
    play.token(RENEWED)
    play.wait(100)
    play.receive(Authenticated("alice", 600_000))
    play.lost(1006)
    play.timer()
    connect(play, generation=2, token=RENEWED)


@scenario()
def token_not_renewed(play: ScenarioRecorder) -> None:
    """The application has no other token, fails, and does not answer: it is asked again until the token ends."""
    _alice(play)
    play.receive(TokenExpiring(25_000))
    play.token(ALICE)
    _wait_for(play, "RequestToken")
    play.token_failed()
    _wait_for(play, "RequestToken")
    play.timer()


@scenario()
def renewal_refused(play: ScenarioRecorder) -> None:
    """A renewal is repeated while the server is busy, and not after it was refused."""
    _alice(play)
    play.receive(TokenExpiring(60_000))
    play.token(RENEWED)
    play.receive(answer(BUSY, Authenticate))
    _wait_for(play, "RequestToken")
    play.token(RENEWED)
    play.receive(answer(UNAUTHORIZED, Authenticate))
    play.timer()


@scenario()
def renewal_without_answer(play: ScenarioRecorder) -> None:
    """A renewal that has no answer in time is repeated."""
    _alice(play)
    play.receive(TokenExpiring(60_000))
    play.token(RENEWED)
    _wait_for(play, "RequestToken")
    play.token(RENEWED)
    play.receive(Authenticated("alice", 600_000))


@scenario()
def renewal_over_a_reconnect(play: ScenarioRecorder) -> None:
    """The connection is lost during a renewal: the next Hello has a token, and nothing is sent again."""
    _alice(play)
    play.receive(TokenExpiring(60_000))
    play.token(RENEWED)
    play.lost(1006)
    play.timer()
    connect(play, generation=2, token=RENEWED)
    play.timer()


@scenario()
def renewal_before_a_login(play: ScenarioRecorder) -> None:
    """A login waits for the answer to a renewal."""
    _alice(play)
    play.receive(TokenExpiring(60_000))
    play.token(RENEWED)
    play.authenticate(BOB)
    play.receive(Authenticated("alice", 600_000))
    play.receive(answer(UNAUTHORIZED, Authenticate))


@scenario()
def token_expired(play: ScenarioRecorder) -> None:
    """The server closes the connection of an expired token, and the client resumes with a new one."""
    _alice(play)
    play.receive(TokenExpiring())
    play.receive(Goodbye(ErrorCode.UNAUTHORIZED, "the token has expired", come_back=True))
    play.lost(4005)
    play.timer()
    connect(play, generation=2, token=RENEWED)


@scenario()
def token_expired_for_good(play: ScenarioRecorder) -> None:
    """The server closes the connection of an expired token, and the application has no other one."""
    _alice(play)
    play.receive(Goodbye(ErrorCode.UNAUTHORIZED, "the token has expired", come_back=True))
    play.lost(4005)
    play.timer()
    play.token(ALICE)
    play.connected()
    play.receive(UNAUTHORIZED)


def _wait_for(play: ScenarioRecorder, command: str) -> None:
    """Let time pass until the machine returns a command of this type. The server answers its Pings."""
    while True:
        play.timer()
        if any(shown["type"] == command for shown in play.steps[-1]["commands"]):
            return
        play.wait(20)
        play.receive(Pong((play.now_ms - 20) * 1000, 5_000_000))
