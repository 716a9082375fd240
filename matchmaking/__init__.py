"""The matchmaker on Redis: directory, placement, leases, handovers, queues and tickets. Imports no other package."""

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
    RoomNotCreated,
    RoomNotFound,
    StaleLease,
)
from tickwire.matchmaking.handoffs import HandoffOffer, Handoffs
from tickwire.matchmaking.leases import Leases, Renewal, RoomRecord
from tickwire.matchmaking.matchmaker import Matchmaker
from tickwire.matchmaking.placement import Party, Placement, PlaceRequest, RoomPlacement
from tickwire.matchmaking.queue import Mode, Rules, SkillRequest
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
    "Party",
    "PlaceRequest",
    "Placement",
    "PlacementFull",
    "PlacementLocked",
    "Renewal",
    "RoomLocation",
    "RoomNotCreated",
    "RoomNotFound",
    "RoomPlacement",
    "RoomRecord",
    "RoomStatus",
    "Rules",
    "SessionHandoffs",
    "ShardInfo",
    "ShardStatus",
    "SkillRequest",
    "StaleLease",
    "Ticket",
    "TicketKeys",
    "Ttls",
    "UsedTickets",
    "new_ticket_id",
    "sign",
    "verify",
]
