"""The names that `tickwire` offers to games, and the cost of importing them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tickwire
from tickwire import api

LOADED = """
import sys
{statement}
print([name for name in sys.modules if name.startswith("tickwire.server.")])
"""


def test_all_names_of_the_api_are_offered() -> None:
    assert tickwire.__all__ == [*api.__all__, "__version__"]
    assert {*api.__all__} <= {*dir(tickwire)}
    for name in api.__all__:
        assert getattr(tickwire, name) is getattr(api, name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tickwire' has no attribute 'rooom'"):
        _ = tickwire.rooom
    assert not hasattr(tickwire, "__wrapped__")


@pytest.mark.parametrize(
    "statement", ["import tickwire.client.core", "from tickwire import client, matchmaking; client.connect"]
)
def test_client_does_not_import_the_server(statement: str) -> None:
    program = LOADED.format(statement=statement)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "[]\n"
