"""The load test's WebSocket: addresses that are invalid, and data that the library refuses."""

from __future__ import annotations

import socket

import pytest
from websockets.client import ClientProtocol
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tickwire.client.errors import ConnectFailed
from tickwire.client.reconnect import is_final_close
from tickwire.loadtest.gevent_connection import GeventConnection


@pytest.mark.parametrize("url", ["http://a", "ws://127.0.0.1:99999", "ws://[::1", f"ws://{'a' * 70}.example"])
def test_invalid_address_is_a_final_failure(url: str) -> None:
    connection = GeventConnection(pytest.fail, lambda: None)
    with pytest.raises(ConnectFailed, match="the address is invalid") as failed:
        connection.open(url, tls=None, timeout_s=5)
    assert not failed.value.may_return


def upgraded() -> ClientProtocol:
    """Return the protocol of an open WebSocket."""
    client, server = ClientProtocol(parse_uri("ws://first")), ServerProtocol()
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    client.receive_data(b"".join(server.data_to_send()))
    client.events_received()
    return client


def test_data_that_the_library_refuses_is_a_final_close() -> None:
    connection = GeventConnection(lambda message: None, lambda: None)
    connection._socket, server = socket.socketpair()
    connection._protocol = upgraded()
    with server:
        connection._receive(b"\x82\x81\0\0\0\0x")  # a server must not mask its frames
    assert connection.close_code == 1002
    assert is_final_close(connection.close_code, None)
