"""The matchmaking queue: tickets wait, a leader matches them, desks tell the players."""

from matchmaking.queue.desk import Desk, Letter, Place, Waiter
from matchmaking.queue.desk import Room as MatchRoom
from matchmaking.queue.explaining import Explanation, explain
from matchmaking.queue.leader import Leader
from matchmaking.queue.matching import find_matches
from matchmaking.queue.mode import Mode
from matchmaking.queue.quality import MatchQuality
from matchmaking.queue.queues import Queues, QueueStatus
from matchmaking.queue.rules import MatchFunction, Rules, SkillOf
from matchmaking.queue.ticket import Backfill, Entry, Match, QueueTicket

__all__ = [
    "Backfill",
    "Desk",
    "Entry",
    "Explanation",
    "Leader",
    "Letter",
    "Match",
    "MatchFunction",
    "MatchQuality",
    "MatchRoom",
    "Mode",
    "Place",
    "QueueStatus",
    "QueueTicket",
    "Queues",
    "Rules",
    "SkillOf",
    "Waiter",
    "explain",
    "find_matches",
]
