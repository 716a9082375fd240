"""The matchmaker on Redis: directory, placement, reservations, leases, queues, tickets. Imports none of ours."""

from tickwire.matchmaking.directory import (
    Access,
    Directory,
    HeartbeatReply,
    RoomLocation,
    RoomStatus,
    ShardInfo,
    ShardStatus,
)
from tickwire.matchmaking.errors import (
    BadRequest,
    BadTicket,
    MatchmakerUnavailable,
    MatchmakingError,
    NoCapacity,
    PlacementFull,
    PlacementLocked,
    RoomNotFound,
    RoomNotMade,
    StaleLease,
)
from tickwire.matchmaking.handoffs import HandoffOffer, Handoffs
from tickwire.matchmaking.leases import Leases, Orphan, Renewal, RoomRecord
from tickwire.matchmaking.matchmaker import Matchmaker
from tickwire.matchmaking.placement import Party, Placement, PlaceRequest, RoomPlacement
from tickwire.matchmaking.queue import Mode, Rules
from tickwire.matchmaking.session_handoffs import SessionHandoffs
from tickwire.matchmaking.tickets import Ticket, TicketKeys, UsedTickets, new_ticket_id, sign, verify
from tickwire.matchmaking.ttls import Ttls

__all__ = [
    "Access",
    "BadRequest",
    "BadTicket",
    "Directory",
    "HandoffOffer",
    "Handoffs",
    "HeartbeatReply",
    "Leases",
    "Matchmaker",
    "MatchmakerUnavailable",
    "MatchmakingError",
    "Mode",
    "NoCapacity",
    "Orphan",
    "Party",
    "PlaceRequest",
    "Placement",
    "PlacementFull",
    "PlacementLocked",
    "Renewal",
    "RoomLocation",
    "RoomNotFound",
    "RoomNotMade",
    "RoomPlacement",
    "RoomRecord",
    "RoomStatus",
    "Rules",
    "SessionHandoffs",
    "ShardInfo",
    "ShardStatus",
    "StaleLease",
    "Ticket",
    "TicketKeys",
    "Ttls",
    "UsedTickets",
    "new_ticket_id",
    "sign",
    "verify",
]
