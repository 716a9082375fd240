"""Logs: one event a line, JSON in production and readable in a terminal; secrets never.

Keys follow ECS where it has a name (@timestamp, log.level, message); every line of a session or room carries
session_id or room_id, bound where the logger is made.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_SECRETS = ("token", "ticket", "secret", "password", "authorization")


def configure(*, format: Literal["auto", "json", "console"], level: str, **always: str) -> None:
    """Sets up logging for the process.

    Args:
        format: `auto` is readable in a terminal and JSON elsewhere.
        level: the least level that is written.
        always: what every line carries, such as shard_id.
    """
    is_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        redact,
    ]
    if is_json:
        shared += [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
            # Without locals: they may hold secrets.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.EventRenamer("message"),
            _ecs,
            structlog.processors.JSONRenderer(),
        ]
    else:
        shared += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(**always)


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blanks every value whose key names a secret."""
    for key in event:
        if any(secret in key.lower() for secret in _SECRETS):
            event[key] = "***"
    return event


def _ecs(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["log.level"] = event.pop("level")
    return event
