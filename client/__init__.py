"""The Python client.

    async with connect("ws://127.0.0.1:8080") as client:
        room = await client.join("arena")

`core` is the protocol without I/O; `client` is the asyncio client. Names are imported on first use, so that load
tests can import the core without asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickwire.client.account_client import AccountClient, AccountDetails
    from tickwire.client.account_errors import ApiError, ApiUnreachable, NotLoggedIn
    from tickwire.client.client import Client, connect
    from tickwire.client.errors import (
        ClientError,
        CommandFailed,
        ConnectFailed,
        Disconnected,
        MessageTooLarge,
        NotMatched,
        Refused,
        SessionLost,
    )
    from tickwire.client.events import RoomEvent
    from tickwire.client.interpolation import Interpolation, TickClock
    from tickwire.client.prediction import Prediction, PredictionOptions

__all__ = [
    "AccountClient",
    "AccountDetails",
    "ApiError",
    "ApiUnreachable",
    "Client",
    "ClientError",
    "CommandFailed",
    "ConnectFailed",
    "Disconnected",
    "Interpolation",
    "MessageTooLarge",
    "NotLoggedIn",
    "NotMatched",
    "Prediction",
    "PredictionOptions",
    "Refused",
    "RoomEvent",
    "SessionLost",
    "TickClock",
    "connect",
]

_MODULES = {
    "AccountDetails": "account_client",
    "AccountClient": "account_client",
    "ApiError": "account_errors",
    "ApiUnreachable": "account_errors",
    "NotLoggedIn": "account_errors",
    "Client": "client",
    "connect": "client",
    "RoomEvent": "events",
    "Interpolation": "interpolation",
    "TickClock": "interpolation",
    "Prediction": "prediction",
    "PredictionOptions": "prediction",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value
