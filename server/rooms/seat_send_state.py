"""The attributes of a seat that the write of a tick reads: with the native kernel, they are fields of a struct.

The kernel reads them once a player and tick, without a call: see schemas/_kernel_seats.h. Python code uses them as
attributes in both cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickwire.schemas import kernel
from tickwire.server.replication.client_view import ClientView, InterestSet
from tickwire.server.rooms.send_rate import AdaptiveSendRate
from tickwire.server.rooms.subscriber import SeatConnection

if TYPE_CHECKING or not kernel.is_native:

    class SeatSendState:
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
        """

        __slots__ = (
            "acknowledged_seq",
            "applied_seq",
            "connection",
            "has_events",
            "interest",
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

else:
    SeatSendState = kernel.SeatSendState
