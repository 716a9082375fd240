"""Labels: what a room is like (map, mode, language) in a few words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tickwire.limits import check_label_count, check_label_words
from tickwire.matchmaking.errors import BadRequest

Labels = Mapping[str, str]


def check_labels(labels: Labels) -> Labels:
    """The labels as they are, if they can be.

    Raises:
        BadRequest: there are too many, or one is too long or holds other signs than letters, digits, `_`, `.`, `-`.
    """
    try:
        check_label_count(len(labels))
        check_label_words((*labels, *labels.values()))
    except ValueError as error:
        raise BadRequest(str(error)) from error
    return labels


def to_pairs(labels: Labels) -> list[str]:
    """As Redis keeps them: KEY=VALUE, in order."""
    return [f"{name}={value}" for name, value in sorted(labels.items())]


def from_pairs(pairs: str | Iterable[str]) -> dict[str, str]:
    """What `to_pairs` made, also when it was joined with commas."""
    found = pairs.split(",") if isinstance(pairs, str) else pairs
    return dict(pair.split("=", 1) for pair in found if pair)
