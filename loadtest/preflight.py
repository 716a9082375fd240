"""Before a swarm is let loose: is there a server, and does it want us? Says in a sentence what is wrong."""

from __future__ import annotations

import random

from tickwire.client.errors import ClientError, Disconnected, Refused
from tickwire.loadtest.session import SwarmSession
from tickwire.loadtest.swarm import Swarm
from tickwire.schemas import SCHEMA_VERSION, SCHEMA_VERSION_MIN, SUBPROTOCOL
from tickwire.schemas.messages import ErrorCode


class Unusable(Exception):
    """No swarm can play there; the words say why, and what to do."""


def probe(swarm: Swarm) -> None:
    """Connects, says Hello, and joins.

    Raises:
        Unusable: that does not work.
    """
    session = SwarmSession(swarm, swarm.player_id(0), random.Random(0))  # noqa: S311
    session.is_excluded = True
    try:
        session.connect_once()
        session.join_once(swarm.habits.room, options=dict(swarm.habits.options))
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
                f"{swarm.url} is too new for this swarm: it wants schema version {error.upgrade_to}, this is "
                f"{SCHEMA_VERSION}. Use the loadtest of the server's version."
            )
        case ErrorCode.UNAUTHORIZED:
            return (
                f"{swarm.url} does not accept the token ({error.message}). Give --token-secret-file with the "
                "server's auth.secret, or a --token-file; without either, players are guests (auth.guests)."
            )
        case ErrorCode.NO_SUCH_ROOM_TYPE:
            return f"{swarm.url} hosts no rooms of type {swarm.habits.room!r}: say which with --room."
        case _:
            return f"{swarm.url} refuses a player: {error.code.name}: {error.message}"


def _unreachable(swarm: Swarm, error: Exception) -> str:
    words = str(error)
    if "certificate is not trusted" in words:
        return f"{words}. Give the authority's certificate with --ca FILE."
    if f"speaks no {SUBPROTOCOL}" in words:
        return (
            f"{swarm.url} does not speak {SUBPROTOCOL}: it is another server, or one that is too old for this swarm "
            f"(schema versions {SCHEMA_VERSION_MIN} to {SCHEMA_VERSION})."
        )
    if isinstance(error, Disconnected):
        return f"there is no server that can be reached: {words}."
    return f"{swarm.url} does not answer as a server does: {words}"
