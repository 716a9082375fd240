"""Traces of joins, matches, migrations, saves and commands, with the extra `traces`.

Without the extra, or without `traces.endpoint`, a span costs one function call and is not recorded. OpenTelemetry
exports the spans; its environment variables apply.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from tickwire.server import __version__
from tickwire.server.errors import ConfigError

try:
    from opentelemetry import trace
except ImportError:  # the extra is not installed
    trace = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

log = structlog.get_logger(__name__)

STOP_S_MAX = 3.0
Attribute = str | int | float | bool
_tracer: Tracer | None = None
"""The tracer of the process; None if spans are not recorded."""


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[None]:
    """Record the body as a span, a child of the open one. An uncaught exception marks it as failed.

    Args:
        name: the name of the span.
        attributes: their keys get the prefix `tickwire.`; they must not contain secrets.
    """
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=_prefixed(attributes)):
        yield


def set_attributes(**attributes: Attribute) -> None:
    """Set attributes of the open span, which are known only after its beginning."""
    if _tracer is not None:
        trace.get_current_span().set_attributes(_prefixed(attributes))


def record_span(name: str, *, since_s: float, until_s: float, **attributes: Attribute) -> None:
    """Record a span that has already ended; times are UTC, seconds since 1970."""
    if _tracer is not None:
        past = _tracer.start_span(name, attributes=_prefixed(attributes), start_time=int(since_s * 1e9))
        past.end(int(until_s * 1e9))


def _prefixed(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    return {f"tickwire.{key}": value for key, value in attributes.items()}


def trace_ids(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of the open span to a log line."""
    if _tracer is not None:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
            event["span_id"] = trace.format_span_id(context.span_id)
    return event


def check(endpoint: str) -> None:
    """Check that traces can be sent to an endpoint; an empty endpoint needs no check.

    Raises:
        ConfigError: the extra `traces` is not installed.
    """
    if not endpoint:
        return
    for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError("traces.endpoint: requires more packages: pip install 'tickwire[traces]'") from error


def start(endpoint: str, sample_ratio: float, shard_id: str) -> Callable[[], None]:
    """Start sending traces.

    Args:
        endpoint: the URL of an OTLP collector, over HTTP; empty to send none.
        sample_ratio: the share of traces that are sent, 0 to 1.
        shard_id: the shard's id, an attribute of all spans.

    Returns:
        A function that sends the remaining spans, for at most STOP_S_MAX, and stops.

    Raises:
        ConfigError: the extra `traces` is not installed.
    """
    if not endpoint:
        return lambda: None
    check(endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create(
        {"service.name": "tickwire", "service.version": __version__, "service.instance.id": shard_id}
    )
    sampler = ParentBased(TraceIdRatioBased(sample_ratio))
    provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    set_provider(provider)
    return partial(_stop, provider.shutdown)


def _stop(shutdown: Callable[[], None]) -> None:
    """Send the remaining spans for at most STOP_S_MAX; without an answer of the collector, `shutdown` takes 30 s."""
    thread = threading.Thread(target=shutdown, name="stop traces", daemon=True)
    thread.start()
    thread.join(STOP_S_MAX)
    if thread.is_alive():
        log.warning("traces_flush_failed", timeout_s=STOP_S_MAX)


def set_provider(provider: TracerProvider) -> None:
    """Record spans with a provider from now on."""
    global _tracer  # noqa: PLW0603 - one per process, as logging is
    _tracer = provider.get_tracer("tickwire", __version__)
