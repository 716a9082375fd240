"""`tickwire bandwidth`: fetches and prints the bandwidth that each field of a running room costs, largest first."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from tickwire.schemas.payloads import decode_json

TIMEOUT_S = 10.0


class _RoomSummary(msgspec.Struct):
    room_id: str
    players: int


class _Problem(msgspec.Struct):
    detail: str = ""


async def fetch_report(url: str, token: str, room_id: str) -> dict[str, Any]:
    """Fetch the bandwidth report of a room from its shard.

    Args:
        url: the URL of the shard's operations port.
        token: the bearer token, `operations.token`.
        room_id: the room; empty for the room with the most players.

    Returns:
        The report, as `GET /v1/rooms/ROOM/bandwidth` returns it.

    Raises:
        LookupError: the room does not exist, no room is running, or the shard does not answer. The message is a
            sentence for operators.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            if not room_id:
                rooms = await _fetch(session, f"{url}/v1/rooms", list[_RoomSummary])
                if not rooms:
                    raise LookupError(f"no room is running on {url}")
                room_id = max(rooms, key=lambda room: room.players).room_id
            report: dict[str, Any] = await _fetch(
                session, f"{url}/v1/rooms/{quote(room_id, safe='')}/bandwidth", dict[str, Any]
            )
            return report
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise LookupError(f"{url} did not answer like an operations port: {reason}") from error


async def _fetch(session: aiohttp.ClientSession, url: str, kind: Any) -> Any:
    # A redirect leads away from the operations port, to a server that must not receive the token.
    async with session.get(url, allow_redirects=False) as answer:
        data = await answer.read()
        if answer.status == 200:
            return decode_json(data, kind)
        raise LookupError(decode_json(data, _Problem).detail or f"{url} answered with status {answer.status}")


def format_report(report: dict[str, Any]) -> str:
    """Return a report as a table for a terminal, the most expensive field first."""
    lines = [
        f"room {report['room_id']} ({report['room_type']}), {report['sampled_ticks']} ticks sampled,"
        f" {report['sampled_client_ticks']} client ticks",
        f"{'table':12} {'field':20} {'B/client tick':>13} {'share':>7} {'bits/entity':>11}",
    ]
    for row in report["fields"]:
        numbers = f"{row['bytes_per_client_tick']:13.2f} {row['share']:7.1%} {row['bits_per_entity']:11.2f}"
        lines.append(f"{row['table']:12} {row['field']:20} {numbers}")
        if parts := row.get("parts"):
            lines.append(f"{'':12}   {', '.join(f'{name} {size:.2f}' for name, size in parts.items())}")
        lines += [f"{'':12}   {advice}" for advice in row["advice"]]
    if not report["fields"]:
        lines.append("no samples yet: a room is sampled every 64 ticks")
    return "\n".join(lines)
