"""What `tickwire bytes` shows: a running room's fields, the dearest first. Asks the operations port of its shard."""

from __future__ import annotations

from typing import Any

import aiohttp

ANSWER_S_MAX = 10.0


async def fetch_bytes(url: str, room_id: str) -> dict[str, Any]:
    """A room's report from a shard.

    Args:
        url: of the shard's operations port.
        room_id: empty: the room with the most players.

    Raises:
        LookupError: there is no such room or no room at all, or nobody answers; in a sentence.
    """
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX)) as session:
            if not room_id:
                async with session.get(f"{url}/rooms") as answer:
                    rooms = await answer.json()
                if not rooms:
                    raise LookupError(f"no room is running on {url}")
                room_id = max(rooms, key=lambda room: int(room["players"]))["room_id"]
            async with session.get(f"{url}/rooms/{room_id}/bytes") as answer:
                if answer.status != 200:
                    raise LookupError(f"room {room_id} is not on {url}")
                report: dict[str, Any] = await answer.json()
                return report
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise LookupError(f"{url} does not answer as an operations port does: {error}") from error


def table_of(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [
        f"room {report['room_id']} ({report['room_type']}), {report['sampled_ticks']} ticks sampled,"
        f" {report['sampled_client_ticks']} client ticks",
        f"{'table':12} {'field':20} {'B/client tick':>13} {'share':>7} {'bits/entity':>11}",
    ]
    for row in report["fields"]:
        numbers = f"{row['bytes_per_client_tick']:13.2f} {row['share']:7.1%} {row['bits_per_entity']:11.2f}"
        lines.append(f"{row['table']:12} {row['field']:20} {numbers}")
        lines += [f"{'':12}   {advice}" for advice in row["advice"]]
    if not report["fields"]:
        lines.append("nothing has been sampled yet: a room is looked at every 64 ticks")
    return "\n".join(lines)
