"""Limits repeated log lines: one a subject and interval, for at most SUBJECTS_MAX subjects, which peers may choose.

Pure: the caller passes the time.
"""

from __future__ import annotations

SUBJECTS_MAX = 100


class LogInterval:
    """When each subject was logged last.

    Args:
        interval_s: between two lines of one subject.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._logged_s: dict[str, float] = {}  # the longest ago first

    def is_due(self, subject: str, now_s: float) -> bool:
        """Return whether a line of this subject is to be written now, and note that it is."""
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
