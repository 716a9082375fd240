"""Load clients that do not decode the state: `python -m benchmarks.load_clients PORT COUNT ROOM_TYPE`.

They join, send inputs at 10 Hz and count received bytes. A core carries several times as many of them as of players
that verify their worlds. The process prints a line when all clients play. It runs until it is stopped, and exits with
an error if a client receives nothing for a second.
"""

from __future__ import annotations

import sys

import uvloop

from benchmarks.load import LoadClient, open_clients, send_inputs
from benchmarks.rooms import ROOMS
from tickwire.schemas.fields import pack_input

INPUT_HZ = 10.0


async def fill(port: int, count: int, room_type: str) -> None:
    """Play until the process is stopped, or a client receives nothing for a second."""
    clients = await open_clients(port, count, room_type=room_type)
    payload = pack_input(ROOMS[room_type].input_fields, {"turn": 0.1})
    first_seq = 1
    print("all play", flush=True)
    while True:
        before = [client.reads for client in clients]
        await send_inputs(clients, rate_hz=INPUT_HZ, payload=payload, first_seq=first_seq, seconds=1.0)
        first_seq += int(INPUT_HZ)
        if count_active(clients, before) < count:
            sys.exit("a client received nothing for a second")


def count_active(clients: list[LoadClient], before: list[int]) -> int:
    """Return the number of clients that received data since."""
    return sum(client.reads > reads for client, reads in zip(clients, before, strict=True))


if __name__ == "__main__":
    uvloop.run(fill(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
