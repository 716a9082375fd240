"""The matchmaking queue: tickets wait, a leader matches them, desks tell the players."""

from tickwire.matchmaking.queue.agent import Desk, Letter, Place, Waiter
from tickwire.matchmaking.queue.agent import Room as MatchRoom
from tickwire.matchmaking.queue.explain import Explanation, explain
from tickwire.matchmaking.queue.leader import Leader
from tickwire.matchmaking.queue.match_function import find_matches
from tickwire.matchmaking.queue.mode import Mode
from tickwire.matchmaking.queue.quality import MatchQuality
from tickwire.matchmaking.queue.queues import Queues, QueueStatus
from tickwire.matchmaking.queue.rules import MatchFunction, Rules, SkillOf
from tickwire.matchmaking.queue.ticket import Backfill, Entry, Match, QueueTicket

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
