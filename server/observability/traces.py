"""Traces, with the extra `traces`: what a join, a match, a migration, a save or a command waited for.

Without the extra, or without `traces.endpoint`, a span costs a function call and nothing is kept. How they are sent
is OpenTelemetry's own business: its environment variables count.
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
"""Where spans are kept; None: nowhere, and a span costs nothing."""


@contextmanager
def span(name: str, **attributes: Attribute) -> Iterator[None]:
    """What is done within is one span, under the one that is open. An exception that leaves it marks it as failed.

    Args:
        attributes: keys get the prefix `tickwire.`; never a secret.
    """
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=_named(attributes)):
        yield


def past_span(name: str, *, since_s: float, until_s: float, **attributes: Attribute) -> None:
    """A span of its own for what has been waited for; UTC, seconds since 1970."""
    if _tracer is not None:
        made = _tracer.start_span(name, attributes=_named(attributes), start_time=int(since_s * 1e9))
        made.end(int(until_s * 1e9))


def _named(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    return {f"tickwire.{key}": value for key, value in attributes.items()}


def trace_ids(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Puts the ids of the open span into a log line."""
    if _tracer is not None:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
            event["span_id"] = trace.format_span_id(context.span_id)
    return event


def check(endpoint: str) -> None:
    """Check that traces can be sent, if an endpoint asks for them.

    Raises:
        ConfigError: the extra is not installed.
    """
    if not endpoint:
        return
    for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError("traces.endpoint: requires more packages: pip install 'tickwire[traces]'") from error


def start(endpoint: str, sample_ratio: float, shard_id: str) -> Callable[[], None]:
    """Begins to send traces; gives what ends it, which waits until what is left was sent.

    Args:
        endpoint: of an OTLP collector, over HTTP; empty: nothing is sent.
        sample_ratio: the ratio of traces that are sampled, from 0 to 1.

    Raises:
        ConfigError: the extra is not installed.
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
    use(provider)
    return partial(_stop, provider.shutdown)


def _stop(shutdown: Callable[[], None]) -> None:
    """Send the last spans, for at most STOP_S_MAX: with a collector that does not answer, `shutdown` takes 30 s."""
    thread = threading.Thread(target=shutdown, name="stop traces", daemon=True)
    thread.start()
    thread.join(STOP_S_MAX)
    if thread.is_alive():
        log.warning("traces_flush_failed", timeout_s=STOP_S_MAX)


def use(provider: TracerProvider) -> None:
    """Keeps spans from now on."""
    global _tracer  # noqa: PLW0603 - one a process, as logging is
    _tracer = provider.get_tracer("tickwire", __version__)
