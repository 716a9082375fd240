"""The matchmaker on Redis: directory, placement, reservations, leases, queues, tickets. Imports none of ours."""

from matchmaking.directory import Access, Directory, Heard, RoomHome, RoomStatus, ShardInfo, ShardStatus
from matchmaking.errors import (
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
from matchmaking.handovers import Handovers, Offer
from matchmaking.leases import Leases, Orphan, Renewal, RoomRecord
from matchmaking.matchmaker import Matchmaker
from matchmaking.parcels import Parcels
from matchmaking.placement import Party, Placement, PlaceRequest, Placing
from matchmaking.tickets import Admissions, Ticket, TicketKeys, new_ticket_id, sign, verify
from matchmaking.ttls import Ttls

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
