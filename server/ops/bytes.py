"""What `tickwire bytes` shows: a running room's fields, the dearest first. Asks the operations port of its shard."""

from __future__ import annotations

from typing import Any

import aiohttp

ANSWER_S_MAX = 10.0


async def fetch_bytes(url: str, token: str, room_id: str) -> dict[str, Any]:
    """A room's report from a shard.

    Args:
        url: of the shard's operations port.
        token: `operations.token`.
        room_id: empty: the room with the most players.

    Raises:
        LookupError: there is no such room or no room at all, or nobody answers; in a sentence.
    """
    try:
        headers, timeout = {"Authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            if not room_id:
                async with session.get(f"{url}/v1/rooms") as answer:
                    rooms = await answer.json()
                    if answer.status != 200:
                        raise LookupError(str(rooms["error"]))
                if not rooms:
                    raise LookupError(f"no room is running on {url}")
                room_id = max(rooms, key=lambda room: int(room["players"]))["room_id"]
            async with session.get(f"{url}/v1/rooms/{room_id}/bytes") as answer:
                report: dict[str, Any] = await answer.json()
                if answer.status != 200:
                    raise LookupError(str(report["error"]))
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
