"""Things that take any bytes whatever, and must neither raise nor differ from their reference.

Hypothesis runs them in every test run (tests/property/test_fuzz.py); `make fuzz` runs one of them under atheris for
as long as one likes. A finding of either becomes an example there.
"""

from __future__ import annotations

import asyncio
import atexit
import json
from base64 import urlsafe_b64encode as b64encode
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt import get_algorithm_by_name
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol

from tests.harness.schema_versions import VERSIONS
from tests.harness.session_simulator import FakeConnection, FakeSessionContext
from tickwire.client.core import ClientCore
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.codec import decode_client, decode_server, encode_client, encode_server
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    FieldDescription,
    FieldKind,
    Hello,
    Join,
    Joined,
    StateDescription,
    StateFrame,
    TableDescription,
    TokenExpiring,
    Welcome,
)
from tickwire.schemas.state_messages import encode_ack, encode_state
from tickwire.schemas.table_frames import encode_table_ack, encode_table_state
from tickwire.server.edge.auth.authenticator import AccountAuthentication, create_authenticator
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.rate_limit import LimitScope, RateLimiter
from tickwire.server.edge.receiver import HandshakeRejection, Receiver
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.token_bucket import TokenBucket
from tickwire.server.errors import InvalidToken
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.server.tokens.jwks import JwksCache

PAYLOAD_BYTES_MAX = 70_000
DESCRIPTION = StateDescription((TableDescription("ships", (FieldDescription("x", FieldKind.UINT, 8),)),))
UNLIMITED = EdgeSettings(messages_per_second_max=10**7, bytes_per_second_max=1 << 30)


async def _read_keys() -> bytes:
    key = Ed25519PrivateKey.generate().public_key()
    published = get_algorithm_by_name("EdDSA").to_jwk(key, as_dict=True) | {"kid": "k", "alg": "EdDSA"}
    return json.dumps({"keys": [published]}).encode()


DECODER = AccessTokenDecoder(
    JwksCache(_read_keys, refresh_s=300.0, now_s=lambda: 0.0), issuer="tickwire", leeway_s=10.0, now_s=lambda: 0.0
)
AUTHENTICATOR = create_authenticator(
    AuthSettings(guests=False, secret="the secret of another issuer, of 32 characters"),
    lambda: 0.0,
    AccountAuthentication(DECODER),
)


class Alone:
    """The library, and nothing before it."""

    def __init__(self) -> None:
        self.library = Protocol(SERVER, max_size=PAYLOAD_BYTES_MAX)
        self.messages: list[bytes] = []
        self._parts: list[bytes] = []
        self._is_text = False

    def feed(self, data: bytes) -> None:
        self.library.receive_data(data)
        for event in self.library.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._parts, self._is_text = [], event.opcode is Opcode.TEXT
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    self.messages.append(b"text" if self._is_text else b"".join(self._parts))

    @property
    def result(self) -> object:
        return self.library.close_sent, self.library.state, b"".join(self.library.data_to_send())


class Together(Receiver[Connection]):
    """A connection of ours: its owner, its receiver, and the transport below it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.written: list[bytes] = []
        self.connection = Connection(
            EdgeSettings(message_bytes_max=PAYLOAD_BYTES_MAX, write_buffer_bytes_max=1),
            limiter=RateLimiter(UNLIMITED, TokenBucket(1, 10**9, 0.0), 0.0),
            counters=EdgeCounters(),
            owner=self,
            accepted_s=0.0,
        )
        self.connection.connection_made(self)  # type: ignore[arg-type]
        self.connection.data_received(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tickwire.1\r\n\r\n"
        )
        assert self.connection.is_open
        self.written.clear()

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    @property
    def result(self) -> object:
        library = self.connection._library
        return library.close_sent, library.state, b"".join(self.written)

    # the methods of a transport
    def write(self, data: bytes) -> None:
        self.written.append(data)

    def set_write_buffer_limits(self, high: int) -> None: ...
    def close(self) -> None: ...
    def write_eof(self) -> None: ...
    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("here", 1)

    # the methods of an owner
    def throttle(self, connection: Connection, scope: LimitScope) -> None:
        raise AssertionError("nothing is limited here")

    def unthrottle(self, connection: Connection) -> None: ...

    def now_s(self) -> float:
        return 0.0

    def expects_proxy_header(self, address: str) -> bool:
        return False

    def check_handshake(self, connection: Connection, request: Request) -> HandshakeRejection | None:
        return None

    def find_page(self, request: Request) -> None:
        return None

    def create_receiver(self, connection: Connection, request: Request) -> Receiver[Connection]:
        return self

    def connection_closed(self, connection: Connection) -> None: ...

    # the methods of a receiver
    def message_received(self, data: bytes, /) -> None:
        self.messages.append(data)

    def text_received(self) -> None:
        self.messages.append(b"text")

    def check_timeouts(self, now_s: float) -> None: ...
    def connection_ended(self, connection: Connection) -> None: ...


LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)


def both(data: bytes, pieces: list[bytes]) -> tuple[Alone, Together]:
    """The library alone, fed at once; and a connection of ours, fed piece by piece."""

    async def feed() -> Together:
        together = Together()
        for piece in pieces:
            together.feed(piece)
        return together

    alone = Alone()
    alone.feed(data)
    return alone, LOOP.run_until_complete(feed())


# -- targets --------------------------------------------------------------------------------------------------


def frame_path(data: bytes) -> None:
    """A client's byte stream: the connection decodes the same messages as the library. Its first bytes are cuts."""
    cuts, stream = data[:8], data[8:]
    pieces, at = [], 0
    for size in cuts:
        pieces.append(stream[at : at + size])
        at += size
    pieces.append(stream[at:])
    alone, together = both(stream, pieces)
    assert together.messages == alone.messages
    assert together.result == alone.result


def client_message(data: bytes) -> None:
    """A client's message: refused in one of two ways, or read alike again once it is written."""
    try:
        message = decode_client(data)
    except (MalformedMessage, UnknownMessage):
        return
    assert decode_client(encode_client(message)) == message


def server_message(data: bytes) -> None:
    """The messages of a server to a client in a room: its core applies them, or raises MalformedMessage."""
    core = ClientCore()
    core.receive(encode_server(Welcome("s", "t", generation=1)), now_us=1)
    core.receive(encode_server(Joined("room", description=DESCRIPTION)), now_us=1)
    for part in _parts(data):
        with suppress(MalformedMessage):
            core.receive(part, now_us=1)
    with suppress(MalformedMessage, UnknownMessage):
        decode_server(data)


def session(data: bytes) -> None:
    """A seated player who then says anything: a session answers, counts or closes, and the room ticks on.

    The first byte also chooses the schema version.
    """
    version = VERSIONS[data[0] % len(VERSIONS)] if data else SCHEMA_VERSION

    async def live() -> None:
        around = FakeSessionContext(EdgeSettings())
        wire = FakeConnection(around)
        wire.to_server.extend((encode_client(Hello(version)), encode_client(Join("diary"))))
        for part in [b"", *_parts(data)]:
            if part:
                wire.to_server.append(part)
            while wire.to_server:
                wire.server_receives()
            while around.tasks:
                await asyncio.sleep(0)
            around.runtime.step()
        wire.server_closes()
        around.runtime.step()

    LOOP.run_until_complete(live())


def access_token(data: bytes) -> None:
    """A token without a valid signature, of any text or of any header and claims, is refused as invalid."""
    segments = [b64encode(part).decode() for part in [*data.split(b"\n", 2), b"", b""][:3]]
    for text in (data.decode("latin-1"), ".".join(segments)):
        is_accepted = True
        try:
            LOOP.run_until_complete(AUTHENTICATOR.authenticate(text or "x"))
        except InvalidToken:
            is_accepted = False
        assert not is_accepted


def _parts(data: bytes) -> list[bytes]:
    """Messages out of one text: each begins with its length."""
    parts, at = [], 0
    while at < len(data):
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return parts


SERVER_MESSAGES = [
    encode_state(7, 0, 0, 0, b"\0"),
    encode_state(8, 0, 1, 0, b"\0"),
    encode_ack(8, 1),
    encode_table_state(StateFrame(9, 0, 1, 0, b"\0")),
    encode_table_ack(9, 2),
    encode_server(Authenticated("ann", 900_000)),
    encode_server(TokenExpiring(60_000)),
]
TARGETS = {target.__name__: target for target in (frame_path, client_message, server_message, session, access_token)}
SAMPLES: dict[str, list[bytes]] = {
    "frame_path": [b"\2\3\5\7\x0b\x0d\x11\x13" + b"\x82\x84maskdata\x89\x80mask\x02\x81maskx\x80\x81masky"],
    "client_message": [
        encode_client(Hello(SCHEMA_VERSION, "b", "t", "r", 1, 2, "room")),
        encode_client(Join("diary", "n", "t", b"o")),
        encode_client(Authenticate("header.claims.signature")),
    ],
    "server_message": [bytes((len(m),)) + m for m in SERVER_MESSAGES],
    "session": [
        bytes((len(m),)) + m
        for m in (
            encode_client(Join("diary")),
            encode_client(Hello(SCHEMA_VERSION)),
            encode_client(Authenticate("token")),
        )
    ],
    "access_token": [
        b'{"alg":"EdDSA","kid":"k"}\n{"iss":"tickwire","aud":"tickwire","sub":"p","fam":"f","exp":60}\n' + bytes(64),
        b'{"alg":"HS256"}\n{"sub":"p","exp":60}\n' + bytes(32),
    ],
}
"""The corpus that a fuzzer starts from, by target."""
