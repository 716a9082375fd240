"""The C# client agrees with Python on changed messages: which are refused, and what the others mean.

A seed decides the changes. Both clients follow the same frames, of which some are changed, cut, repeated or missing.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.csharp.conftest import ROOT, run
from tests.csharp.test_messages import SERVER, plain
from tickwire.client.core import ClientCore
from tickwire.schemas.codec import decode_server, encode_server
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.messages import Joined, RoomList, StateDescription, StateFrame
from tickwire.schemas.table_frames import encode_table_state

GOLDEN = sorted(
    path
    for path in (ROOT / "schemas" / "golden").rglob("*.json")
    if path.stem not in ("acknowledgements", "authentication")
)


def change(data: bytes, rng: random.Random) -> bytes:
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


def _play(core: ClientCore, frame: bytes) -> str:
    """Return the line that the program prints for a frame."""
    try:
        update = core.receive(frame, now_us=0)
        result = "none" if update is None else type(update).__name__
    except MalformedMessage:
        result = "malformed"
    world = core.world
    assert world is not None
    checksum = int.from_bytes(world.checksum(), "little")
    sent = ",".join(sorted(message.hex() for message in core.outgoing))  # Python orders channels by their hashes
    core.outgoing.clear()
    return f"{result} {world.tick} {checksum} {core.mismatches} {sent}"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_changed_frames_have_the_same_effect_as_in_python(program: Path, tmp_path: Path, path: Path) -> None:
    golden = json.loads(path.read_text())
    description = msgspec.convert(golden["description"], StateDescription)
    frames = [bytes.fromhex(step["frame"]) for step in golden["steps"]]
    rng = random.Random(path.stem)
    lines, expected = [], []
    for _ in range(max(1, 1200 // len(frames))):
        core = ClientCore()
        core.receive(encode_server(Joined("room", "arena", description=description)), now_us=0)
        lines.append(json.dumps(golden["description"]))
        for frame in frames:
            drawn = rng.random()
            if drawn < 0.05:
                continue
            sent = change(frame, rng) if drawn < 0.3 else frames[0] if drawn < 0.4 else frame
            lines.append(sent.hex())
            expected.append(_play(core, sent))
    source = tmp_path / "frames.txt"
    source.write_text("\n".join(lines))
    done = run(program, "frames", str(source))
    found = done.stdout.splitlines()
    frames_sent = [line for line in lines if not line.startswith("{")]
    for number, (want, got) in enumerate(zip(expected, found, strict=False)):
        assert got == want, f"frame {number}: {frames_sent[number]}"
    assert len(found) == len(expected), done.stderr
    assert any(line.startswith("malformed") for line in expected) or len(frames) < 3


def _expected(data: bytes) -> Any:
    try:
        message = decode_server(data)
    except MalformedMessage:
        return "malformed"
    except UnknownMessage:
        return ["unknown"]
    return [type(message).__name__, *plain(message)]


def _comparable(value: Any) -> Any:
    """Return a value in which NaN is equal to itself."""
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return "NaN" if value != value else value


def test_changed_messages_are_decoded_or_refused_as_in_python(program: Path, tmp_path: Path) -> None:
    # The labels of listed rooms are decoded with the message in C#, and by the caller in Python.
    messages = [encode_server(message) for message in SERVER if not isinstance(message, RoomList)]
    messages += [encode_server(RoomList(3, ())), encode_table_state(StateFrame(5, 1, 2, 1, b"packed"))]
    rng = random.Random(23)
    changed = [data for data in (change(rng.choice(messages), rng) for _ in range(6000)) if b"ListedRoom" not in data]
    path = tmp_path / "messages.hex"
    path.write_text("\n".join(data.hex() or "" for data in changed))
    done = run(program, "messages", str(path))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for data, got in zip(changed, found, strict=False):
        want = _expected(data)
        assert _comparable(got) == _comparable(want), data.hex()
    assert len(found) == len(changed), done.stderr
    assert 0.2 < sum(_expected(data) == "malformed" for data in changed) / len(changed) < 0.95
