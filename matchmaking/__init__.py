"""The matchmaker on Redis: directory, placement, reservations, leases, queues, tickets. Imports none of ours."""

from tickwire.matchmaking.directory import Access, Directory, Heard, RoomHome, RoomStatus, ShardInfo, ShardStatus
from tickwire.matchmaking.errors import (
    BadRequest,
    BadTicket,
    MatchmakerUnavailable,
    MatchmakingError,
    NoCapacity,
    RoomFull,
    RoomLocked,
    RoomNotFound,
    RoomNotMade,
    StaleLease,
)
from tickwire.matchmaking.handoffs import Handovers, Offer
from tickwire.matchmaking.leases import Leases, Orphan, Renewal, RoomRecord
from tickwire.matchmaking.matchmaker import Matchmaker
from tickwire.matchmaking.placement import Party, Placement, PlaceRequest, Placing
from tickwire.matchmaking.queue import Mode, Rules
from tickwire.matchmaking.session_handoffs import Parcels
from tickwire.matchmaking.tickets import Admissions, Ticket, TicketKeys, new_ticket_id, sign, verify
from tickwire.matchmaking.ttls import Ttls

__all__ = [
    "Access",
    "Admissions",
    "BadRequest",
    "BadTicket",
    "Directory",
    "Handovers",
    "Heard",
    "Leases",
    "Matchmaker",
    "MatchmakerUnavailable",
    "MatchmakingError",
    "Mode",
    "NoCapacity",
    "Offer",
    "Orphan",
    "Parcels",
    "Party",
    "PlaceRequest",
    "Placement",
    "Placing",
    "Renewal",
    "RoomFull",
    "RoomHome",
    "RoomLocked",
    "RoomNotFound",
    "RoomNotMade",
    "RoomRecord",
    "RoomStatus",
    "Rules",
    "ShardInfo",
    "ShardStatus",
    "StaleLease",
    "Ticket",
    "TicketKeys",
    "Ttls",
    "new_ticket_id",
    "sign",
    "verify",
]
