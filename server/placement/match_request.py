"""Decodes and validates a client's MatchRequest."""

from __future__ import annotations

import msgspec

from tickwire.matchmaking import BadRequest, Party
from tickwire.matchmaking.labels import check_labels, to_pairs
from tickwire.matchmaking.placement import check_party
from tickwire.matchmaking.queue import Mode
from tickwire.schemas.messages import MatchRequest
from tickwire.server.errors import Malformed
from tickwire.server.placement.client_errors import decode_options

REGIONS_MAX = 32
REGION_CHARACTERS_MAX = 64
LATENCY_MS_MAX = 10_000.0


class QueueOptions(msgspec.Struct, frozen=True):
    """The options of one player in a queue.

    Args:
        latencies: by region, in ms.
        labels: the labels that the rules of the mode match by, as sorted KEY=VALUE.
        party: the code and the size of the player's party; None for a player alone.
    """

    latencies: dict[str, float]
    labels: list[str]
    party: tuple[str, int] | None


def decode_match_request(request: MatchRequest, mode: Mode, region: str) -> QueueOptions:
    """Decode the options of a request.

    Args:
        request: the client's message.
        mode: the mode that it names.
        region: of this shard, for a request without latencies.

    Raises:
        Malformed: a latency, a label or the party is invalid.
    """
    latencies = decode_options(request.latencies, dict[str, float], "latencies")
    if len(latencies) > REGIONS_MAX:
        raise Malformed(f"latencies: must name at most {REGIONS_MAX} regions, not {len(latencies)}")
    if not all(0 <= ms <= LATENCY_MS_MAX for ms in latencies.values()):
        raise Malformed(f"latencies: must be 0 to {LATENCY_MS_MAX:g} ms")
    if any(len(name) > REGION_CHARACTERS_MAX for name in latencies):
        raise Malformed(f"latencies: a region must have at most {REGION_CHARACTERS_MAX} characters")
    party: tuple[str, int] | None = None
    try:
        requested = check_labels(decode_options(request.labels, dict[str, str], "labels"))
        # The match function reads no other labels.
        labels = {name: requested[name] for name in mode.rules.labels if name in requested}
        if request.party:
            checked = check_party(Party(request.party, request.party_size), size_max=mode.rules.team_size)
            party = (checked.code, checked.size) if checked.size > 1 else None
    except BadRequest as error:
        raise Malformed(str(error)) from error
    return QueueOptions(latencies or {region: 0.0}, to_pairs(labels), party)
