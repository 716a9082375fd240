"""Labels: short key-value pairs that describe a room, such as its map, mode or language. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tickwire.limits import check_label_count, check_label_words
from tickwire.matchmaking.errors import BadRequest

Labels = Mapping[str, str]


def check_labels(labels: Labels) -> Labels:
    """Return the labels unchanged if they are valid.

    Raises:
        BadRequest: there are too many labels, or a key or value is too long or contains other characters than
            letters, digits, `_`, `.` and `-`.
    """
    try:
        check_label_count(len(labels))
        check_label_words((*labels, *labels.values()))
    except ValueError as error:
        raise BadRequest(str(error)) from error
    return labels


def to_pairs(labels: Labels) -> list[str]:
    """Return labels as Redis stores them: KEY=VALUE, sorted."""
    return [f"{name}={value}" for name, value in sorted(labels.items())]


def from_pairs(pairs: str | Iterable[str]) -> dict[str, str]:
    """Return the labels of a list of KEY=VALUE, or of a text that joins them with commas."""
    found = pairs.split(",") if isinstance(pairs, str) else pairs
    return dict(pair.split("=", 1) for pair in found if pair)
