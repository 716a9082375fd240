"""`tickwire record`: writes a recording of a room on a running shard, and downloads it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from tickwire.schemas.payloads import decode_json
from tickwire.server.recording.recording_names import is_name

TIMEOUT_S = 30.0
"""The limit of one request; a download has at most some MiB."""
POLL_S = 0.5
WRITE_S_MAX = 60.0
"""How long the shard may take to write a recording after its end."""


class RecordFailed(Exception):
    """The room was not recorded; the message is a sentence for the operator."""


class _ListedRecording(msgspec.Struct):
    name: str
    is_complete: bool = False


class _AdminProblem(msgspec.Struct):
    detail: str = ""


async def record_room(url: str, token: str, room_id: str, body: dict[str, float]) -> tuple[str, bytes]:
    """Record a room, wait until the recording is complete, and download it.

    Args:
        url: the URL of the shard's operations port.
        token: the bearer token, `operations.token`.
        room_id: the room.
        body: the body of the request: `last_s`, or `seconds` to record the next seconds.

    Returns:
        The name and the contents of the recording.

    Raises:
        RecordFailed: the room does not exist, is not recorded, or the shard does not answer.
    """
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            path = f"{url}/v1/rooms/{quote(room_id, safe='')}/record"
            recording = decode_json(await _request(session, "POST", path, body), _ListedRecording)
            if not is_name(recording.name):
                raise RecordFailed(f"{url} has returned an invalid name")
            await _wait_complete(session, url, recording.name, body.get("seconds", 0.0) + WRITE_S_MAX)
            return recording.name, await _request(session, "GET", f"{url}/v1/recordings/{recording.name}")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise RecordFailed(f"{url} did not answer like an operations port: {reason}") from error


async def _wait_complete(session: aiohttp.ClientSession, url: str, name: str, timeout_s: float) -> None:
    """Wait until a recording is complete.

    Raises:
        RecordFailed: it was neither complete nor running, or not complete within the timeout.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    while loop.time() < until_s:
        listed = decode_json(await _request(session, "GET", f"{url}/v1/recordings"), list[_ListedRecording])
        found = next((one for one in listed if one.name == name), None)
        if found is None:
            raise RecordFailed(f"the shard could not write {name}; its log has the reason")
        if found.is_complete:
            return
        await asyncio.sleep(POLL_S)
    raise RecordFailed(f"{name} is not complete after {timeout_s:g} s")


async def _request(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> bytes:
    # A redirect leads away from the operations port, to a server that must not receive the token.
    async with session.request(method, url, json=body, allow_redirects=False) as answer:
        data = await answer.read()
        if answer.status == 200:
            return data
        raise RecordFailed(decode_json(data, _AdminProblem).detail or f"{url} answered with status {answer.status}")


def save(file: Path, data: bytes) -> None:
    """Write a downloaded recording, readable by the user only; never over an existing file.

    Raises:
        RecordFailed: the file exists, or cannot be written.
    """
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
    except OSError as error:
        raise RecordFailed(f"{file} cannot be written: {error.strerror or error}") from error
