"""Logs: one event a line, JSON by the Elastic Common Schema in production and readable in a terminal; secrets never.

What ECS has a name for is under that name; what is ours alone is under `tickwire.`, so that no field of ours ever
collides with one of its objects: OpenSearch, Elasticsearch and Kibana take the lines as they are. One line tells of a
session's whole life. Of everything else that one event says more than SAMPLED_MAX times a second, the rest are left
out, and the next line says how many.

https://www.elastic.co/guide/en/ecs/8.11/ecs-field-reference.html
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import structlog

from tickwire.schemas.terminal_text import escape_controls
from tickwire.server import __version__
from tickwire.server.observability.redaction import REDACTED, is_secret, redact_value
from tickwire.server.observability.traces import trace_ids

Event = MutableMapping[str, Any]
ECS_VERSION = "8.11.0"
SAMPLED_MAX = 50
NEVER_SAMPLED = frozenset(("session_ended",))
LEVELS = ("debug", "info", "warning", "error")

_NAMES = {
    "level": "log.level",
    "shard_id": "service.node.name",
    "player_id": "user.id",
    "address": "client.address",
    "reason": "event.reason",
    "url": "url.full",
    "error": "error.message",
    "trace_id": "trace.id",
    "span_id": "span.id",
}
_OURS = frozenset(("@timestamp", "message", "event.action", "error.type", "error.message", "error.stack_trace"))


class LogLevelSwitch:
    """The least level that is written; it may change while the process runs. What is below it costs next to nothing:
    loggers are made anew for each line, of a class that does not have it. So nobody keeps one that was bound."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """As it was given."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        number = logging.getLevelNamesMapping()[name.upper()]
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
        self._name = name


class Sampler:
    """Of events that come in crowds, the first of each second.

    Args:
        now_s: a monotonic clock.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._seen: dict[str, tuple[int, int]] = {}  # event: which second, how many of it

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        """Drops what is too much."""
        name = str(event.get("event", ""))
        if name in NEVER_SAMPLED:
            return event
        second = int(self._now_s())
        since, count = self._seen.get(name, (second, 0))
        self._seen[name] = (since, count + 1)
        if since != second:
            self._seen[name] = (second, 1)
            if count > SAMPLED_MAX:
                event["left_out"] = count - SAMPLED_MAX
        elif count >= SAMPLED_MAX:
            raise structlog.DropEvent
        return event


level = LogLevelSwitch("info")
"""The process's."""


class LineWriter:
    """Writes lines to a file. A line that cannot be written is counted and dropped: a full disk ends no room.

    Attributes:
        lines_lost: how many lines could not be written.
    """

    def __init__(self) -> None:
        self.lines_lost = 0
        self._lock = threading.Lock()

    def msg(self, message: str) -> None:
        """Write one line to the standard error stream of this moment."""
        try:
            with self._lock:
                sys.stderr.write(message + "\n")
                sys.stderr.flush()
        except (OSError, ValueError):  # no space, a pipe that nobody reads, a file that was closed
            self.lines_lost += 1

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


writer = LineWriter()
"""The process's."""


def set_level(name: str) -> None:
    """Writes what is at least of this level, from now on."""
    level.name = name


def configure(*, format: Literal["auto", "json", "console"], level: str, **always: str) -> None:
    """Sets up logging for the process.

    Args:
        format: `auto` is readable in a terminal and JSON elsewhere.
        level: the least level that is written.
        always: what every line carries, such as shard_id.
    """
    is_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    first: list[structlog.typing.Processor] = [
        Sampler(time.monotonic),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        trace_ids,
    ]
    last = _json() if is_json else _console()
    structlog.configure(
        processors=[*first, *last],
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    set_level(level)
    # What libraries log by Python's own means looks no different.
    handler = _LibraryHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(**always)


class _LibraryHandler(logging.Handler):
    """Passes lines of Python's own logging to the writer."""

    def emit(self, record: logging.LogRecord) -> None:
        writer.msg(self.format(record))


def _json() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
        structlog.processors.format_exc_info,
        redact,
        to_ecs,
        structlog.processors.JSONRenderer(default=str),
    ]


def _console() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.processors.format_exc_info,
        redact,
        escape,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]


def redact(logger: Any, method: str, event: Event) -> Event:
    """Remove secrets from a line; see `tickwire.server.observability.redaction`."""
    for key, value in event.items():
        event[key] = REDACTED if is_secret(key) else redact_value(value)
    return event


def escape(logger: Any, method: str, event: Event) -> Event:
    """Escape control characters in texts for a terminal; a stack trace keeps its line feeds.

    Values that are no texts are written as `repr` does it, which escapes by itself.
    """
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = escape_controls(value, is_block=key == "exception")
    return event


def to_ecs(logger: Any, method: str, event: Event) -> Event:
    """The event under ECS's names."""
    found: dict[str, Any] = {"@timestamp": event.pop("@timestamp", None)}
    found["message"] = found["event.action"] = event.pop("event", "")
    trace = event.pop("exception", None)
    for key, value in event.items():
        found[_NAMES.get(key, key if key in _OURS else f"tickwire.{key}")] = value
    if trace:
        kind, _, words = str(trace).strip().rpartition("\n")[2].partition(": ")
        found |= {"error.type": kind, "error.stack_trace": trace}
        found.setdefault("error.message", words)
    found |= {"ecs.version": ECS_VERSION, "service.name": "tickwire", "service.version": __version__}
    return found
