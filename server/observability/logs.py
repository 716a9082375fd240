"""Logs: one event per line, as JSON by the Elastic Common Schema (ECS) or as text for a terminal, without secrets.

Fields that ECS defines have its names. All others have the prefix `tickwire.`, so that they never collide with an
object of ECS, and OpenSearch, Elasticsearch and Kibana accept the lines as they are. The line of an ended session
summarises it and is never dropped. Of each other event, at most SAMPLED_MAX lines a second are written; the next line
has the number of dropped ones.

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
    "process_id": "service.node.name",
    "request_id": "http.request.id",
    "http_method": "http.request.method",
    "http_status": "http.response.status_code",
    "player_id": "user.id",
    "address": "client.address",
    "reason": "event.reason",
    "url": "url.full",
    "error": "error.message",
    "trace_id": "trace.id",
    "span_id": "span.id",
}
_ECS_FIELDS = frozenset(("@timestamp", "message", "event.action", "error.type", "error.message", "error.stack_trace"))


class LogLevelSwitch:
    """The lowest level that is logged, which can change while the process runs.

    Lines below it cost next to nothing: structlog creates a logger for each line, of a class without those methods.
    Therefore code must not keep a bound logger.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The name of the level."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        number = logging.getLevelNamesMapping()[name.upper()]
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
        self._name = name


class Sampler:
    """Drops lines of an event beyond the first SAMPLED_MAX of each second.

    Args:
        now_s: a monotonic clock, seconds.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._seen: dict[str, tuple[int, int]] = {}  # event: the second, and its lines in that second

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        """Process a line as structlog does.

        Raises:
            structlog.DropEvent: the line is dropped.
        """
        name = str(event.get("event", ""))
        if name in NEVER_SAMPLED:
            return event
        second = int(self._now_s())
        since, count = self._seen.get(name, (second, 0))
        self._seen[name] = (since, count + 1)
        if since != second:
            self._seen[name] = (second, 1)
            if count > SAMPLED_MAX:
                event["dropped"] = count - SAMPLED_MAX
        elif count >= SAMPLED_MAX:
            raise structlog.DropEvent
        return event


level = LogLevelSwitch("info")
"""The log level of the process."""


class _Hidden:
    """Drops the lines of some events."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def __call__(self, logger: Any, method: str, event: Event) -> Event:
        if event.get("event") in self._names:
            raise structlog.DropEvent
        return event


class LineWriter:
    """Writes lines to standard error; drops and counts those that cannot be written.

    So a full disk stops no room.

    Attributes:
        lines_lost: the number of lines that could not be written.
    """

    def __init__(self) -> None:
        self.lines_lost = 0
        self._lock = threading.Lock()

    def msg(self, message: str) -> None:
        """Write one line to the current standard error stream."""
        try:
            with self._lock:
                sys.stderr.write(message + "\n")
                sys.stderr.flush()
        except (OSError, ValueError):  # a full disk, a pipe without a reader, a closed file
            self.lines_lost += 1

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


writer = LineWriter()
"""The log writer of the process."""


def set_level(name: str) -> None:
    """Set the lowest level that is logged."""
    level.name = name


def configure(
    *, format: Literal["auto", "json", "console"], level: str, hides: frozenset[str] = frozenset(), **fields: str
) -> None:
    """Configure logging for the process.

    Args:
        format: `json`, `console` for a terminal, or `auto`, which chooses by whether standard error is a terminal.
        level: the lowest level that is logged.
        hides: events that are not written as text, because the process shows them in another form.
        fields: fields of every line, such as shard_id.
    """
    is_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    first: list[structlog.typing.Processor] = [
        _Hidden(frozenset() if is_json else hides),
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
    # Lines that libraries log with Python's logging have the same format.
    handler = _LibraryHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    structlog.contextvars.bind_contextvars(**fields)


class _LibraryHandler(logging.Handler):
    """Passes the lines of Python's logging to the writer."""

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
    """Escape control characters in strings for a terminal; a stack trace keeps its line feeds.

    Other values are written with `repr`, which escapes them.
    """
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = escape_controls(value, is_block=key == "exception")
    return event


def to_ecs(logger: Any, method: str, event: Event) -> Event:
    """Return the event with the field names of ECS."""
    fields: dict[str, Any] = {"@timestamp": event.pop("@timestamp", None)}
    fields["message"] = fields["event.action"] = event.pop("event", "")
    trace = event.pop("exception", None)
    for key, value in event.items():
        fields[_NAMES.get(key, key if key in _ECS_FIELDS else f"tickwire.{key}")] = value
    if trace:
        kind, _, message = str(trace).strip().rpartition("\n")[2].partition(": ")
        fields |= {"error.type": kind, "error.stack_trace": trace}
        fields.setdefault("error.message", message)
    fields |= {"ecs.version": ECS_VERSION, "service.name": "tickwire", "service.version": __version__}
    return fields
