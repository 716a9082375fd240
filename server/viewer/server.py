"""The HTTP server of the viewer: the page, and the API that it reads. It listens on the loopback interface only.

/                     the page (web/replay)
/api/recording        the recording and the tables of its room
/api/overview         the numbers of entries in parts of the recording, and the progress of the replay
/api/timeline         the entries near a tick
/api/states           the states of a range of ticks

A request with another Host than this machine is refused. A page of another site could else read the recording by a
name that its owner points to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from tickwire.server.errors import ConfigError, Malformed, TickwireError
from tickwire.server.http.security_headers import security_headers
from tickwire.server.viewer.player import RecordingPlayer

log = structlog.get_logger(__name__)

HOST = "127.0.0.1"
_LOCAL_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
PAGE = Path(__file__).with_name("page")
BUCKETS_MAX = 1000
ENTRIES_MAX = 1000
TICK_MAX = 2**53
STOP_S_MAX = 1.0
_HEADERS = security_headers() | {"Cache-Control": "no-store", "Server": "tickwire"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ViewerServer:
    """Serves one recording.

    Args:
        player: replays the recording.
        page: the folder of the built page.

    Raises:
        ConfigError: the folder has no index.html.
    """

    def __init__(self, player: RecordingPlayer, page: Path = PAGE) -> None:
        if not (page / "index.html").is_file():
            raise ConfigError("this installation has no built page; in a checkout, run: make web")
        self._player = player
        self._page = page
        app = web.Application(middlewares=[_check_host, _to_json_error])
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/", self._index)
        app.router.add_get("/api/recording", self._recording)
        app.router.add_get("/api/overview", self._overview)
        app.router.add_get("/api/timeline", self._timeline)
        app.router.add_get("/api/states", self._states)
        app.router.add_static("/", page)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S_MAX)
        self.port = 0

    async def start(self, port: int) -> None:
        """Start listening; port 0 chooses a free port.

        Raises:
            ConfigError: the port is in use.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(f"--port: cannot listen on {HOST}:{port}: {error.strerror or error}") from error
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening. Idempotent."""
        await self._runner.cleanup()

    async def _index(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._page / "index.html")

    async def _recording(self, request: web.Request) -> web.Response:
        return _json(msgspec.json.encode(self._player.summary))

    async def _overview(self, request: web.Request) -> web.Response:
        buckets = _number(request, "buckets", 1, BUCKETS_MAX)
        return _json(msgspec.json.encode(self._player.timeline.count(buckets)))

    async def _timeline(self, request: web.Request) -> web.Response:
        from_tick, to_tick = _number(request, "from"), _number(request, "to")
        limit = _number(request, "limit", 1, ENTRIES_MAX)
        return _json(msgspec.json.encode(self._player.timeline.find(from_tick, to_tick, limit)))

    async def _states(self, request: web.Request) -> web.Response:
        return _json(await self._player.read_states(_number(request, "from"), _number(request, "to")))


def _number(request: web.Request, name: str, low: int = 0, high: int = TICK_MAX) -> int:
    """Return a parameter of the query.

    Raises:
        Malformed: it is missing, or not a whole number from `low` to `high`.
    """
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise Malformed(f"{name}: must be a whole number from {low} to {high}, not {text[:20]!r}")
    return int(text)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _error(message: str, status: int) -> web.Response:
    return _json(msgspec.json.encode({"error": message}), status)


@web.middleware
async def _check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    if _LOCAL_HOST.fullmatch(request.host) is None:  # not `request.url`, which raises for an invalid Host
        return _error("the page is served at 127.0.0.1 and localhost only", 421)
    return await handler(request)


@web.middleware
async def _to_json_error(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Malformed as error:
        return _error(error.detail, 422)
    except TickwireError as error:
        return _error(error.detail, 503)
    except Exception as error:  # the replay runs the game's code
        log.exception("replay_request_failed", path=request.path)
        return _error(f"{type(error).__name__}: {error}", 500)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
