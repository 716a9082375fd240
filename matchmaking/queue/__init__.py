"""The matchmaking queue: tickets wait, a leader matches them, and agents notify the players."""

from tickwire.matchmaking.queue.agent import (
    MatchRoom,
    QueueAgent,
    QueueListener,
    QueueNotification,
    QueuePosition,
    QueueRequest,
)
from tickwire.matchmaking.queue.explain import Explanation, explain
from tickwire.matchmaking.queue.leader import Leader
from tickwire.matchmaking.queue.match_function import find_matches
from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.queue.quality import MatchQuality
from tickwire.matchmaking.queue.queues import Queues, QueueStatus
from tickwire.matchmaking.queue.relaxation import QueueSnapshot
from tickwire.matchmaking.queue.rules import MatchFunction, Rules, SkillOf, SkillRequest
from tickwire.matchmaking.queue.ticket import Backfill, Entry, Match, QueueTicket

__all__ = [
    "Backfill",
    "Entry",
    "Explanation",
    "Leader",
    "Match",
    "MatchFunction",
    "MatchQuality",
    "MatchRoom",
    "Mode",
    "QueueAgent",
    "QueueListener",
    "QueueNotification",
    "QueuePosition",
    "QueueRequest",
    "QueueSnapshot",
    "QueueStatus",
    "QueueTicket",
    "Queues",
    "Rules",
    "SkillOf",
    "SkillRequest",
    "explain",
    "find_matches",
]
