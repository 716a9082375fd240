"""Limits that several packages hold to: each is defined here and nowhere else.

Pure; imports no other module of Tickwire, so that every package may import it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PLAYER_CHARACTERS_MAX = 128
"""The longest player id."""
AMOUNT_MAX = 2**53
"""The most of one item that a player owns: every client can represent it exactly."""
REPLIES_MAX = 64
"""Replies that a session keeps, and that the ledger returns for it: more than a client has commands in flight."""
LABELS_MAX = 8
"""The most labels of a room, or of a request for one."""
LABEL_CHARACTERS_MAX = 64
_LABEL_WORD = re.compile(r"[A-Za-z0-9_.\-]+")


def check_label_words(words: Iterable[str]) -> None:
    """Check names and values of labels.

    Raises:
        ValueError: a word is empty, too long, or has other characters than letters, digits, `_`, `.` and `-`.
    """
    for word in words:
        if len(word) > LABEL_CHARACTERS_MAX or not _LABEL_WORD.fullmatch(word):
            raise ValueError(
                f"a label must have 1 to {LABEL_CHARACTERS_MAX} characters of A-Z a-z 0-9 _ . -, not {word[:80]!r}"
            )


def check_label_count(count: int) -> None:
    """Check the number of labels of one room or request.

    Raises:
        ValueError: there are more than LABELS_MAX.
    """
    if count > LABELS_MAX:
        raise ValueError(f"at most {LABELS_MAX} labels are allowed, not {count}")
