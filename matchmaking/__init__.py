"""The matchmaker on Redis: directory, placement, leases, handovers, queues, tickets and presence.

Imports no other package.
"""

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
from tickwire.matchmaking.presence import (
    Claim,
    Delivery,
    Notice,
    Presence,
    PresenceRecord,
    PresenceRenewal,
    SessionPolicy,
)
from tickwire.matchmaking.queue import Mode, Rules, SkillRequest
from tickwire.matchmaking.session_handoffs import SessionHandoffs
from tickwire.matchmaking.tickets import Ticket, TicketKeys, UsedTickets, new_ticket_id, sign, verify
from tickwire.matchmaking.ttls import Ttls

__all__ = [
    "Access",
    "BadRequest",
    "BadTicket",
    "Claim",
    "Delivery",
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
    "Notice",
    "Party",
    "PlaceRequest",
    "Placement",
    "PlacementFull",
    "PlacementLocked",
    "Presence",
    "PresenceRecord",
    "PresenceRenewal",
    "Renewal",
    "RoomLocation",
    "RoomNotCreated",
    "RoomNotFound",
    "RoomPlacement",
    "RoomRecord",
    "RoomStatus",
    "Rules",
    "SessionHandoffs",
    "SessionPolicy",
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
