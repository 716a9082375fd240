"""Restores sessions from the checkpoints of other shards."""

from __future__ import annotations

from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.commands import CommandProcessor
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.generations import Generations
from tickwire.server.edge.reply_cache import ReplyCache
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_history import SessionHistory
from tickwire.server.edge.session_token import SessionToken
from tickwire.server.rooms.checkpoint import SessionCheckpoint


def restore_session(checkpoint: SessionCheckpoint, context: SessionContext) -> Session:
    """Restore a session of another shard, disconnected, with the id, tokens and numbers that its client knows."""
    identity = Identity(checkpoint.player_id, checkpoint.is_guest)
    session = Session(identity, schema_version=checkpoint.schema_version, context=context)
    session.session_id = checkpoint.session_id
    session.history = SessionHistory(checkpoint.session_id, checkpoint.player_id)
    session.generations = Generations(
        context.now_s(), checkpoint.generation, checkpoint.used_generation, checkpoint.attempt, is_restored=True
    )
    session.opened_us = checkpoint.opened_us
    session.seat_changes = checkpoint.seat_changes
    session.joins = checkpoint.joins
    session.left_room_id, session.left_reason = checkpoint.left_room_id, checkpoint.left_reason
    session.from_shard = checkpoint.shard_id
    session.disconnected_since_s = context.now_s()
    if not checkpoint.is_guest:
        session.token = SessionToken(
            checkpoint.token_expires_at_s,
            checkpoint.token_issued_at_s,
            context.now_us() / 1e6,
            checkpoint.token_family_id,
        )
    session.outbox.restore(checkpoint.last_event, checkpoint.frames, restored_at=checkpoint.events_restored_at)
    replies = ReplyCache(checkpoint.replies, evicted_id=checkpoint.forgotten_command_id)
    session.commands = CommandProcessor(context, replies)
    return session
