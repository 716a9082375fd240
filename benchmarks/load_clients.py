"""Players that only fill rooms: `python -m benchmarks.load_clients PORT COUNT ROOM_TYPE`.

They join, send inputs at 10 Hz and count what they get, unread: a core carries several times as many as of players
who verify their worlds. Says so when all play, and runs until it is ended; ends itself when somebody was told
nothing for a second.
"""

from __future__ import annotations

import sys

import uvloop

from benchmarks.load import RawClient, open_clients, send_inputs
from benchmarks.rooms import ROOMS
from tickwire.schemas.fields import pack_input

INPUT_HZ = 10.0


async def fill(port: int, count: int, room_type: str) -> None:
    """Fills rooms until it is cancelled."""
    clients = await open_clients(port, count, room_type=room_type)
    payload = pack_input(ROOMS[room_type].input_fields, {"turn": 0.1})
    first_seq = 1
    print("all play", flush=True)
    while True:
        before = [client.reads for client in clients]
        await send_inputs(clients, rate_hz=INPUT_HZ, payload=payload, first_seq=first_seq, seconds=1.0)
        first_seq += int(INPUT_HZ)
        if told(clients, before) < count:
            sys.exit("somebody was told nothing for a second")


def told(clients: list[RawClient], before: list[int]) -> int:
    """How many were told something since."""
    return sum(client.reads > reads for client, reads in zip(clients, before, strict=True))


if __name__ == "__main__":
    uvloop.run(fill(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
