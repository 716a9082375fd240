"""Checks before a run that the server accepts the swarm, and explains the error if it does not."""

from __future__ import annotations

import random

from tickwire.client.errors import ClientError, Disconnected, Refused
from tickwire.loadtest.session import SwarmSession
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas import SCHEMA_VERSION, SCHEMA_VERSION_MIN, SUBPROTOCOL
from tickwire.schemas.messages import ErrorCode


class Unusable(Exception):
    """The swarm cannot play on the server. The message has the reason and a remedy."""


def probe(swarm: Swarm) -> None:
    """Connect, open a session, join and leave a room.

    Raises:
        Unusable: one of these steps failed.
    """
    session = SwarmSession(swarm, swarm.player_id(0), random.Random(0))  # noqa: S311
    session.is_excluded = True
    try:
        session.open_once()
        habits = swarm.settings.habits
        session.join_once(habits.room, options=dict(habits.options))
        session.leave()
    except Refused as error:
        raise Unusable(_refused(swarm, error)) from error
    except (ClientError, TimeoutError) as error:
        raise Unusable(_unreachable(swarm, error)) from error
    finally:
        session.end()


def _refused(swarm: Swarm, refused: Refused) -> str:
    error = refused.error
    match error.code:
        case ErrorCode.UPGRADE_REQUIRED:
            return (
                f"{swarm.url} is too new for this swarm: it requires schema version {error.upgrade_to}, not "
                f"{SCHEMA_VERSION}. Use the load test of the server's version."
            )
        case ErrorCode.UNAUTHORIZED:
            return (
                f"{swarm.url} does not accept the token ({error.message}). Use --token-secret-file with the "
                "server's auth.secret, or --token-file; without either, players are guests (auth.guests)."
            )
        case ErrorCode.NO_SUCH_ROOM_TYPE:
            return f"{swarm.url} does not host rooms of type {swarm.settings.habits.room!r}: set --room."
        case _:
            return f"{swarm.url} refuses a player: {error.code.name}: {error.message}"


def _unreachable(swarm: Swarm, error: Exception) -> str:
    text = str(error)
    if "certificate is not trusted" in text:
        return f"{text}. Set the authority's certificate with --ca FILE."
    if f"does not support {SUBPROTOCOL}" in text:
        return (
            f"{swarm.url} does not support {SUBPROTOCOL}: it is another server, or too old for this swarm "
            f"(schema versions {SCHEMA_VERSION_MIN} to {SCHEMA_VERSION})."
        )
    if isinstance(error, Disconnected):
        return f"the server cannot be reached: {text}."
    return f"{swarm.url} does not answer as a Tickwire server: {text}"
