"""Tickwire, a real-time game session server: the API for games.

A game imports from here: rooms and tables, the fields of tables, commands and transactions. `tickwire.client` has the
Python client, `tickwire.matchmaking` the modes and rules of queues, `tickwire.examples` games to start from. All
other modules are internal and may change in any release.

The names are those of `tickwire.api`, which is imported when the first of them is used, so that `tickwire.client`
does not import the server.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tickwire.server import __version__ as __version__

if TYPE_CHECKING:
    from tickwire.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    is_name_of_api = name == "__all__" or not (name.startswith("__") or find_spec(f"{__name__}.{name}"))
    if is_name_of_api:
        api = import_module("tickwire.api")
        if name == "__all__":
            return [*api.__all__, "__version__"]
        if name in api.__all__:
            value = globals()[name] = getattr(api, name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
