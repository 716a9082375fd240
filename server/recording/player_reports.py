"""Reports of players about the match that they play: "he walks through walls".

A client sends the reserved command REPORT_COMMAND (schemas/report.py), which the room never sees. A report is logged,
and the last seconds of the room are written to a file. Two limits keep players from filling the disk: one report a
minute for each player, and one file in half a minute for each room. A report within that time names the first file.
Reports also use at most half of the directory (server/recording/recording_directory.py).
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable

import structlog

from tickwire.schemas.report import ReportReply
from tickwire.server.errors import RateLimited, TickwireError
from tickwire.server.recording.recording_limits import TriggerLimits
from tickwire.server.recording.recording_service import RecordingService
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat

log = structlog.get_logger(__name__)

NEWEST_MAX = 1000
"""The rooms whose newest recording is remembered."""


class PlayerReports:
    """Accepts the reports of the players of one shard. Implements `tickwire.server.edge.services.ReportService`.

    Args:
        recordings: writes the last seconds of the room.
        find_room: returns the room with an id, or None.
        now_s: a monotonic clock in seconds.

    Attributes:
        results: reports by result: recorded, logged (without a recording), limited.
    """

    def __init__(
        self,
        recordings: RecordingService,
        find_room: Callable[[str], RoomRuntime | None],
        now_s: Callable[[], float],
    ) -> None:
        self.results: Counter[str] = Counter()
        self._recordings = recordings
        self._find_room = find_room
        self._limits = TriggerLimits(now_s)
        self._newest: dict[str, str] = {}  # the newest recording of each room, as long as the limit of the room

    def report(self, seat: Seat, reason: str) -> ReportReply:
        """Log the report of a player, and write the last seconds of its room.

        Args:
            seat: the seat of the player who reports.
            reason: the player's words.

        Raises:
            RateLimited: the player has reported less than a minute ago.
        """
        if wait_s := self._limits.wait_s("report of a player", seat.player_id):
            self.results["limited"] += 1
            raise RateLimited(f"you have reported already; wait {math.ceil(wait_s)} s")
        self._limits.allows("report of a player", seat.player_id)
        recording = self._record(seat.room_id)
        report_id = secrets.token_hex(4)
        self.results["recorded" if recording else "logged"] += 1
        log.warning(
            "player_reported",
            report_id=report_id,
            player_id=seat.player_id,
            session_id=seat.subscriber.session_id,
            room_id=seat.room_id,
            room_type=seat.room_type,
            tick=seat.tick,
            reason=reason,
            recording=recording,
        )
        return ReportReply(report_id, is_recorded=bool(recording))

    def _record(self, room_id: str) -> str:
        """Write the last seconds of a room; return the name of the recording, or of one from some seconds ago."""
        runtime = self._find_room(room_id)
        if runtime is None:
            return ""
        if not self._limits.allows("report in a room", room_id):
            return self._newest.get(room_id, "")
        self._newest.pop(room_id, None)
        try:
            name = self._recordings.write_last(runtime, runtime.room.flight_recorder_s, "report")
        except TickwireError as error:  # recordings are disabled, or the room has no keyframe yet
            log.info("report_not_recorded", room_id=room_id, error=error.detail)
            return ""
        self._newest[room_id] = name
        if len(self._newest) > NEWEST_MAX:
            del self._newest[next(iter(self._newest))]
        return name
