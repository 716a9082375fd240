"""The matchmaker on Redis: directory of shards, leases, placement, reservations, tickets. Imports none of ours."""

from matchmaking.errors import BadTicket, MatchmakerUnavailable, MatchmakingError, RoomFull, StaleLease
from matchmaking.matchmaker import Lease, Matchmaker, Placement, ShardInfo, ShardStatus, Ttls
from matchmaking.tickets import Ticket, TicketKeys, sign, verify

__all__ = [
    "BadTicket",
    "Lease",
    "Matchmaker",
    "MatchmakerUnavailable",
    "MatchmakingError",
    "Placement",
    "RoomFull",
    "ShardInfo",
    "ShardStatus",
    "StaleLease",
    "Ticket",
    "TicketKeys",
    "Ttls",
    "sign",
    "verify",
]
