"""Pages that may connect: those of the server itself and of the allow list; other clients always may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.edge.origins import OriginPolicy

HOST = "shard-3.example:8443"


def test_without_an_origin_there_is_no_browser_to_protect() -> None:
    assert OriginPolicy([]).allows(None, HOST)
    assert OriginPolicy([]).allows(None, None)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://shard.example", "shard.example"),
        ("https://shard.example", "shard.example:443"),
        ("https://shard.example:443", "shard.example"),
        ("http://shard.example", "shard.example:80"),
        ("http://SHARD.example:8080", "shard.EXAMPLE:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"),
        ("http://127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_servers_own_pages_may_connect(origin: str, host: str) -> None:
    assert OriginPolicy([]).allows(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://shard.example", None),
        ("https://shard.example", ""),
        ("https://shard.example", "shard.example:80"),
        ("http://shard.example", "shard.example:443"),
        ("https://shard.example:8443", "shard.example"),
        ("https://evil.example", "shard.example"),
        ("https://shard.example.evil", "shard.example"),
        ("https://shard.example", "shard.example, evil.example"),
        ("https://shard.example", "user@shard.example"),
        ("https://shard.example", "shard.example:"),
        ("https://shard.example", "shard.example\n"),
        ("app://shard.example", "shard.example"),
        ("null", "null"),
        ("", ""),
    ],
)
def test_pages_of_another_host_or_port_may_not(origin: str, host: str | None) -> None:
    assert not OriginPolicy([]).allows(origin, host)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://game.example", "https://game.example"),
        ("https://game.example", "https://game.example:443"),
        ("https://game.example:443", "https://game.example"),
        ("HTTPS://Game.Example", "https://game.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://*.game.example", "https://play.game.example"),
        ("https://*.game.example", "https://eu.play.game.example"),
        ("https://*.game.example:8443", "https://play.game.example:8443"),
        ("null", "null"),
        ("*", "null"),
        ("*", "https://anything.example"),
        ("*", "not even an origin"),
    ],
)
def test_origins_on_the_allow_list_may_connect(entry: str, origin: str) -> None:
    assert OriginPolicy(["https://first.example", entry, "https://last.example"]).allows(origin, HOST)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://game.example", "http://game.example"),
        ("https://game.example", "https://game.example:8443"),
        ("https://game.example", "https://play.game.example"),
        ("https://game.example", "https://game.example/"),
        ("https://game.example", "https://game.example.evil"),
        ("https://game.example", "https://evil.game.example@evil"),
        ("https://game.example", "https://game.example\n"),
        ("https://game.example", "https://game.example https://game.example"),
        ("https://game.example", "null"),
        ("https://game.example", "NULL"),
        ("https://game.example", ""),
        ("https://key.example", "https://\N{KELVIN SIGN}ey.example"),  # its lower case is a k
        ("https://*.game.example", "https://game.example"),
        ("https://*.game.example", "https://.game.example"),
        ("https://*.game.example", "https://evilgame.example"),
        ("https://*.game.example", "https://play.game.example.evil"),
        ("https://*.game.example", "https://*.game.example"),
        ("https://*.game.example", "http://play.game.example"),
        ("https://*.game.example", "https://play.game.example:8443"),
        ("https://*.game.example:8443", "https://play.game.example"),
        ("null", "https://game.example"),
    ],
)
def test_origins_outside_of_the_allow_list_are_refused(entry: str, origin: str) -> None:
    assert not OriginPolicy([entry]).allows(origin, HOST)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "game.example",
        "https://",
        "https://game.example/",
        "https://game.example/play",
        "https://game.example?x",
        "https://user@game.example",
        "https://game.example:0",
        "https://game.example:65536",
        "https://game.example:",
        "https://game.example:*",
        " https://game.example",
        "https://gäme.example",
        "https://[::1",
        "https://[1::2::3]",
        "https://*",
        "https://*.",
        "https://*.*.game.example",
        "https://*game.example",
        "https://play.*.example",
        "https://*.[::1]",
        "*.game.example",
        "*://game.example",
        "wss://game.example",
        "NULL",
        "**",
    ],
)
def test_an_entry_that_is_no_origin_is_named(bad: str) -> None:
    with pytest.raises(ValueError) as raised:
        OriginPolicy(["https://game.example", bad])
    assert repr(bad) in str(raised.value)


labels = st.lists(st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True), min_size=1, max_size=4).map(".".join)


@given(host=labels, port=st.integers(1, 65535), scheme=st.sampled_from(["http", "https"]), below=labels)
def test_wildcard_matches_subdomains_only(host: str, port: int, scheme: str, below: str) -> None:
    origins = OriginPolicy([f"{scheme}://*.{host}:{port}"])
    assert origins.allows(f"{scheme}://{below}.{host}:{port}", None)
    assert not origins.allows(f"{scheme}://{host}:{port}", None)
    assert not origins.allows(f"{scheme}://{below}{host}:{port}", None) or f"{below}{host}".endswith("." + host)


@given(st.text(), st.text())
def test_any_text_gets_an_answer(origin: str, host: str) -> None:
    assert not OriginPolicy(["https://game.example"]).allows(f"{origin}/", host)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:5173",
        "https://localhost:8443",
        "http://LOCALHOST:5173",
        "http://game.localhost:3000",
        "http://127.0.0.1:5173",
        "http://127.1.2.3",
        "http://[::1]:5173",
        "http://[0:0:0:0:0:0:0:1]:5173",
    ],
)
def test_pages_of_this_machine_may_connect_where_that_is_set(origin: str) -> None:
    assert OriginPolicy(["loopback"]).allows(origin, "192.0.2.1:8080")
    assert not OriginPolicy([]).allows(origin, "192.0.2.1:8080")


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost.example",
        "http://notlocalhost",
        "http://127.0.0.1.example",
        "http://128.0.0.1",
        "http://[::2]",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0:5173",
        "http://2130706433",
        "http://0x7f000001",
        "http://127.1",
        "ws://localhost",
        "chrome-extension://localhost",
        "null",
    ],
)
def test_pages_of_other_hosts_do_not_count_as_local(origin: str) -> None:
    assert not OriginPolicy(["loopback"]).allows(origin, "192.0.2.1:8080")
