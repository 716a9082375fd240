"""Small parts of the edge: resume tokens, what a request carries."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from tickwire.server.edge.http_request import header, token_from_request
from tickwire.server.edge.resume_tokens import GENERATION_MAX, TOKEN_CHARACTERS_MAX, ResumeClaim, ResumeTokens

KEYS = {"new": b"a new key", "old": b"an old key"}


def test_signed_token_is_verified_by_every_holder_of_the_key() -> None:
    tokens = ResumeTokens(KEYS, "new", "shard-7.example")
    token = tokens.sign("session", 7)
    assert tokens.read(token) == ResumeClaim("session", 7, "shard-7.example")
    assert ResumeTokens(KEYS, "old").read(token) == tokens.read(token), "keys are changed one shard at a time"
    assert ResumeTokens({"new": b"another fleet's"}, "new").read(token) is None
    assert ResumeTokens({"old": b"an old key"}, "old").read(token) is None
    assert tokens.sign("session", 8) != token
    long = ResumeTokens(KEYS, "new", "s" * 63)
    assert len(long.sign("x" * 32, GENERATION_MAX)) < TOKEN_CHARACTERS_MAX


@pytest.mark.parametrize("at", range(5))
def test_modified_token_is_rejected(at: int) -> None:
    tokens = ResumeTokens(KEYS, "new", "a-shard")
    parts = tokens.sign("session", 7).split(".")
    for other in ("", "8", "old", "sessiom", "é", "\u0667", parts[at][:-1], parts[at] + "0", "0" * 64, "9" * 5000):
        assert tokens.read(".".join([*parts[:at], other, *parts[at + 1 :]])) is None


@pytest.mark.parametrize("token", ["", ".", "...", "a.b.c.d", "a.1.c.new", "x" * 10**6, "session.7"])
def test_malformed_token_is_rejected(token: str) -> None:
    assert ResumeTokens(KEYS, "new").read(token) is None


def request(path: str = "/", **headers: str) -> Request:
    return Request(path, Headers({name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize(
    ("given", "token"),
    [
        (request(), ""),
        (request(Authorization="Bearer abc"), "abc"),
        (request(Authorization="bearer  abc "), "abc"),
        (request(Authorization="Basic abc"), ""),
        (request("/?token=abc"), ""),
    ],
)
def test_token_is_read_from_the_header(given: Request, token: str) -> None:
    assert token_from_request(given, in_query=False) == token


def test_token_in_the_url_is_optional_and_the_header_takes_precedence() -> None:
    assert token_from_request(request("/s/1/?token=a%2Bb&x=1"), in_query=True) == "a+b"
    assert token_from_request(request("/?token=abc", Authorization="Bearer header"), in_query=True) == "header"
    assert token_from_request(request("/?tokens=abc"), in_query=True) == ""


def test_repeated_header_counts_as_invalid() -> None:
    twice = Headers([("Origin", "https://a"), ("Origin", "https://b")])
    assert header(Request("/", twice), "Origin") == ""
    assert header(request(), "Origin") is None
