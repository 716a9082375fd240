"""Match requests: their options are decoded within limits, and errors name the field and its range."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire.matchmaking.queue import Mode, Rules
from tickwire.schemas.messages import MatchRequest
from tickwire.schemas.payloads import encode_payload
from tickwire.server.errors import Malformed
from tickwire.server.placement.match_request import decode_match_request

MODE = Mode("team", Rules(room_type="duel", team_size=4, labels=("map",)))


def test_request_without_options_uses_the_region_of_the_shard() -> None:
    options = decode_match_request(MatchRequest("team"), MODE, "eu")
    assert (options.latencies, options.labels, options.party) == ({"eu": 0.0}, [], None)


def test_options_are_decoded_and_unknown_labels_are_left_out() -> None:
    request = MatchRequest(
        "team",
        party="us",
        party_size=2,
        latencies=encode_payload({"eu": 20.0, "us": 90.0}),
        labels=encode_payload({"map": "ice", "weather": "rain"}),
    )
    options = decode_match_request(request, MODE, "eu")
    assert options.latencies == {"eu": 20.0, "us": 90.0}
    assert options.labels == ["map=ice"]
    assert options.party == ("us", 2)


def test_party_of_one_is_a_player_alone() -> None:
    assert decode_match_request(MatchRequest("team", party="us", party_size=1), MODE, "eu").party is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latencies": encode_payload({"eu": -1.0})}, "latencies: must be 0 to 10000 ms"),
        ({"latencies": encode_payload({"eu": float("nan")})}, "latencies: must be 0 to 10000 ms"),
        ({"latencies": encode_payload({f"r{n}": 1.0 for n in range(33)})}, "at most 32 regions, not 33"),
        ({"latencies": encode_payload({"r" * 65: 1.0})}, "at most 64 characters"),
        ({"latencies": encode_payload(["eu"])}, "latencies: must be a msgpack map"),
        ({"labels": encode_payload({"map": 5})}, "labels: must be a msgpack map"),
        ({"labels": b"\xc1"}, "labels: must be a msgpack map"),
        ({"labels": encode_payload({"a b": "c"})}, "label"),
        ({"party": "us", "party_size": 5}, "party"),
        ({"party": "x" * 99, "party_size": 2}, "party"),
    ],
)
def test_invalid_options_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed, match=message):
        decode_match_request(MatchRequest("team", **fields), MODE, "eu")
