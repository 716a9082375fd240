"""The probes for Kubernetes, and the metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litestar import HttpMethod, Request, Response, route
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST

from tickwire.server.observability.health import Health

_READ = (HttpMethod.GET, HttpMethod.HEAD)


def create_probes(scrape: Callable[[], bytes], health: Health) -> Sequence[HTTPRouteHandler]:
    """Return the handlers.

    Args:
        scrape: returns the metrics in Prometheus's text format.
        health: the state that the probes report.
    """

    @route("/livez", http_method=_READ, include_in_schema=False)
    async def livez() -> Response[Any]:
        failures = health.failures
        if failures:
            return Response({"alive": False, "reasons": failures}, status_code=503)
        return Response("alive\n", media_type="text/plain")

    @route("/readyz", http_method=_READ, include_in_schema=False)
    async def readyz(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        excluded = request.query_params.getall("exclude", [])
        reasons = health.reasons_without(excluded)
        response: dict[str, Any] = {"ready": not reasons, "reasons": reasons}
        if excluded:
            all_reasons = health.reasons
            response["excluded"] = {name: all_reasons[name] for name in all_reasons.keys() - reasons}
        return Response(response, status_code=503 if reasons else 200)

    @route("/metrics", http_method=_READ, include_in_schema=False)
    async def metrics() -> Response[bytes]:
        return Response(scrape(), media_type=CONTENT_TYPE_LATEST)

    return (livez, readyz, metrics)
