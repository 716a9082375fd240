"""The worlds of connected clients: their contents, and whether they are equal."""

from __future__ import annotations

from tests.harness.polling import eventually
from tickwire.client.client import Client


def flowers_of(client: Client) -> list[float]:
    """Return the positions of the garden's flowers, ascending."""
    return sorted(client.world.table("flowers").column("x").tolist())


async def agree(*clients: Client) -> None:
    """Wait until all mirrored worlds are equal while their room ticks, and check that none had to be repaired."""
    await eventually(lambda: len({(c.world.checksum(), c.world.tick) for c in clients}) == 1, what="worlds agree")
    assert all(client.core.mismatches == client.core.resyncs == 0 for client in clients)
