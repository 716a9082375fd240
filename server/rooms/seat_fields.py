"""The attributes of a seat that every input and every tick read: with the native kernel, they are fields of a struct.

The kernel reads them without a call: see schemas/_kernel_seats.h. Python code uses them as attributes in both cases.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from tickwire.schemas import kernel
from tickwire.schemas.messages import Input
from tickwire.server.replication.client_view import ClientView, InterestSet
from tickwire.server.rooms.send_rate import AdaptiveSendRate
from tickwire.server.rooms.subscriber import SeatConnection

if TYPE_CHECKING or not kernel.is_native:

    class SeatFields:
        """The base class of a seat.

        Attributes:
            connection: the connection of its session; None while the session is disconnected.
            interest: the channels that its player subscribes to.
            view: the state that the client holds; None if unknown.
            send_rate: the send rate of a slow client; None for all others.
            applied_seq: the number of the last input that the room has applied.
            acknowledged_seq: the number of the last input that was acknowledged.
            has_events: whether the session has unsent events.
            reads_tables: whether the client has schema version 3: it reads state and acknowledgements as tables.
            inbox: the inputs for the next tick, unless the room receives all inputs of a tick together.
            is_open: whether the player has the seat.
        """

        __slots__ = (
            "_input_size",
            "_may_misfit",
            "_may_restart",
            "_newest_inputs",
            "_received_seq",
            "acknowledged_seq",
            "applied_seq",
            "connection",
            "has_events",
            "inbox",
            "interest",
            "is_open",
            "reads_tables",
            "send_rate",
            "view",
        )

        connection: SeatConnection | None
        interest: InterestSet
        view: ClientView | None
        send_rate: AdaptiveSendRate | None
        applied_seq: int
        acknowledged_seq: int
        has_events: bool
        reads_tables: bool
        inbox: list[Input]
        is_open: bool
        _newest_inputs: MutableMapping[Any, Input] | None
        _received_seq: int
        _input_size: int
        _may_restart: bool
        _may_misfit: bool

else:
    SeatFields = kernel.SeatFields
