"""Limits repeated log lines: one per subject and interval, for at most SUBJECTS_MAX subjects at a time.

Peers may choose the subjects, hence the limit. Pure: the caller passes the time.
"""

from __future__ import annotations

SUBJECTS_MAX = 100


class LogInterval:
    """Records when each subject was logged last.

    Args:
        interval_s: the shortest time between two lines of one subject.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._logged_s: dict[str, float] = {}  # the oldest first

    def is_due(self, subject: str, now_s: float) -> bool:
        """Return whether to write a line of this subject now, and record it if so."""
        self._expire(now_s)
        if subject in self._logged_s or len(self._logged_s) >= SUBJECTS_MAX:
            return False
        self._logged_s[subject] = now_s
        return True

    def _expire(self, now_s: float) -> None:
        while self._logged_s:
            subject, logged_s = next(iter(self._logged_s.items()))
            if now_s - logged_s < self._interval_s:
                return
            del self._logged_s[subject]
