"""Changed frames and messages, and what Python makes of them: the GDScript client must do the same.

A seed decides the changes. Frames are changed, cut, repeated or missing; after each of them the lines have the type
of the update, the tick and the checksum of the world, and the requests for keyframes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from struct import pack
from typing import Any

import msgspec

from tests.harness.client_vectors import create_vectors
from tickwire.client.core import ClientCore
from tickwire.schemas.codec import decode_client, decode_server, encode_server
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.flat_tables import layout_from_struct
from tickwire.schemas.messages import InputAck, Joined, Resync, StateDescription, StateFrame

_FRAMES = 300
_MESSAGES = 4000
_SEED = 23


def create_changed(golden: list[Path]) -> dict[str, Any]:
    """Return changed frames by golden vector, and changed messages, with what Python makes of them."""
    rng = random.Random(_SEED)
    messages = [bytes.fromhex(vector["hex"]) for vector in create_vectors()["server"]]
    changed = [_change(rng.choice(messages), rng) for _ in range(_MESSAGES)]
    return {
        "frames": {path.stem + path.parent.name: _play(path) for path in golden},
        "messages": [[data.hex(), _decode(data)] for data in changed],
    }


def _change(data: bytes, rng: random.Random) -> bytes:
    """Return a copy with some bytes changed, removed, added or cut off."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(6):
            case 0 if out:
                out[at] = rng.randrange(256)
            case 1 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                del out[at:]
            case 3:
                out.insert(at, rng.randrange(256))
            case 4 if out:
                out[at] = 0xFF
            case _ if out:
                del out[at]
    return bytes(out)


def _play(path: Path) -> dict[str, Any]:
    golden = json.loads(path.read_text())
    description = msgspec.convert(golden["description"], StateDescription)
    seat = encode_server(Joined("room", description=description))
    frames = [bytes.fromhex(step["frame"]) for step in golden["steps"]]
    rng = random.Random(path.stem)
    games = []
    for _ in range(max(1, _FRAMES // len(frames))):
        core = ClientCore()
        core.receive(seat, now_us=0)
        steps = []
        for frame in frames:
            drawn = rng.random()
            if drawn >= 0.05:
                sent = _change(frame, rng) if drawn < 0.3 else frames[0] if drawn < 0.4 else frame
                steps.append([sent.hex(), _receive(core, sent)])
        games.append(steps)
    return {"joined": seat.hex(), "games": games}


def _receive(core: ClientCore, frame: bytes) -> list[Any]:
    try:
        update = core.receive(frame, now_us=0)
        name = "" if update is None else type(update).__name__
    except MalformedMessage:
        name = "Malformed"
    assert core.world is not None
    requests = [decode_client(message) for message in core.outgoing]
    core.outgoing.clear()
    channels = sorted(request.channel for request in requests if isinstance(request, Resync))
    checksum = int.from_bytes(core.world.checksum(), "little")
    return [name, core.world.tick, checksum, core.mismatches, channels]


def _decode(data: bytes) -> Any:
    try:
        message = decode_server(data)
    except MalformedMessage:
        return "malformed"
    except UnknownMessage:
        return "unknown"
    if isinstance(message, StateFrame | InputAck):
        return "struct"
    return {"type": type(message).__name__, "fields": _fields(message)}


def _fields(table: msgspec.Struct) -> dict[str, Any]:
    slots = layout_from_struct(type(table)).slots
    return {slot.name: _plain(slot.encoding, getattr(table, slot.name)) for slot in slots}


def _plain(encoding: str, value: Any) -> Any:
    match encoding:
        case "bytes":
            return value.hex()
        case "u64":
            return str(value if value < 2**63 else value - 2**64)
        case "f32" | "f64":
            return "nan" if value != value else pack("<d", value).hex()
        case "table":
            return _fields(value)
        case "tables":
            return [_fields(item) for item in value]
        case "string":
            return value.replace("\0", "\ufffd")  # a String of Godot cannot contain U+0000
        case "strings":
            return [text.replace("\0", "\ufffd") for text in value]
        case "bool":
            return value
        case _:
            return int(value)
