"""The demo's files, as a shard serves them in development."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from tickwire.server.edge import static_files
from tickwire.server.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<p>hello")
    (tmp_path / "assets" / "main.js").write_text("1")
    (tmp_path.parent / "secret").write_text("secret")
    return tmp_path


def asked(path: str, *, upgrade: bool = False) -> Request:
    return Request(path, Headers([("Upgrade", "websocket")] if upgrade else []))


def test_static_files_of_the_folder_only_are_served(folder: Path) -> None:
    known = static_files.load(str(folder))
    assert set(known) == {"/", "/index.html", "/assets/main.js"}
    page = static_files.find(known, asked("/?name=ada"))
    assert page is not None
    assert (page.content_type, page.body) == ("text/html; charset=utf-8", b"<p>hello")
    for path in ("/../secret", "/assets/../../secret", "//secret", "/assets", ""):
        assert static_files.find(known, asked(path)) is None


def test_websocket_request_receives_no_page(folder: Path) -> None:
    known = static_files.load(str(folder))
    assert static_files.find(known, asked("/", upgrade=True)) is None
    assert static_files.find({}, asked("/")) is None


def test_a_folder_that_is_not_there_is_a_problem_that_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"listen\.pages"):
        static_files.load(str(tmp_path / "none"))
    assert static_files.load("") == {}


def test_a_page_may_connect_to_any_shard_and_runs_nothing_from_elsewhere(folder: Path) -> None:
    page = static_files.find(static_files.load(str(folder)), asked("/"))
    assert page is not None
    headers = page.response().headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws: wss: http: https:"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
