"""Labels: what a room is like (map, mode, language) in a few words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tickwire.matchmaking.errors import BadRequest

Labels = Mapping[str, str]

LABELS_MAX = 8
LABEL_CHARACTERS_MAX = 64
_WORD = re.compile(r"[A-Za-z0-9_.\-]+")


def check_labels(labels: Labels) -> Labels:
    """The labels as they are, if they can be.

    Raises:
        BadRequest: there are too many, or one is too long or holds other signs than letters, digits, `_`, `.`, `-`.
    """
    if len(labels) > LABELS_MAX:
        raise BadRequest(f"at most {LABELS_MAX} labels, not {len(labels)}")
    for word in (*labels, *labels.values()):
        if len(word) > LABEL_CHARACTERS_MAX or not _WORD.fullmatch(word):
            raise BadRequest(f"a label has 1 to {LABEL_CHARACTERS_MAX} of A-Z a-z 0-9 _ . -, not {word[:80]!r}")
    return labels


def to_pairs(labels: Labels) -> list[str]:
    """As Redis keeps them: KEY=VALUE, in order."""
    return [f"{name}={value}" for name, value in sorted(labels.items())]


def from_pairs(pairs: str | Iterable[str]) -> dict[str, str]:
    """What `to_pairs` made, also when it was joined with commas."""
    found = pairs.split(",") if isinstance(pairs, str) else pairs
    return dict(pair.split("=", 1) for pair in found if pair)
