"""Small parts of the edge: resume tokens, what a request carries."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from server.edge.requests import header, token_of
from server.edge.tokens import TOKEN_CHARACTERS_MAX, digest_of, new_token, session_id_of


def test_tokens_are_unguessable_name_their_session_and_fit() -> None:
    tokens = {new_token("session") for _ in range(100)}
    assert len(tokens) == len({digest_of(token) for token in tokens}) == 100
    assert {session_id_of(token) for token in tokens} == {"session"}
    assert all(len(token) > 32 for token in tokens)
    assert session_id_of("") == ""
    assert digest_of("x" * 10**6) == digest_of("x" * TOKEN_CHARACTERS_MAX), "no more than that is ever hashed"


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
def test_a_token_comes_in_the_header(given: Request, token: str) -> None:
    assert token_of(given, in_query=False) == token


def test_a_token_in_the_url_counts_only_when_it_is_asked_for_and_after_the_header() -> None:
    assert token_of(request("/s/1/?token=a%2Bb&x=1"), in_query=True) == "a+b"
    assert token_of(request("/?token=abc", Authorization="Bearer header"), in_query=True) == "header"
    assert token_of(request("/?tokens=abc"), in_query=True) == ""


def test_a_header_that_stands_there_twice_is_as_good_as_wrong() -> None:
    twice = Headers([("Origin", "https://a"), ("Origin", "https://b")])
    assert header(Request("/", twice), "Origin") == ""
    assert header(request(), "Origin") is None
