"""The report of a player: a command that every shard answers itself, in any room.

    Command   name REPORT_COMMAND, payload {"reason": "he walks through walls"}
    Reply     {"report_id": "5f0c21aa", "is_recorded": true}, or COMMAND_FAILED with the reason

It needs no new message: an older shard replies NO_SUCH_COMMAND. Pure.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

REPORT_COMMAND = "tickwire.report"
"""No method of a room has this name, because it contains a dot."""
REPORT_CHARACTERS_MAX = 500


class PlayerReport(msgspec.Struct, frozen=True):
    """The payload of a report.

    Args:
        reason: the player's words.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REPORT_CHARACTERS_MAX)]


class ReportReply(msgspec.Struct, frozen=True):
    """The reply to a report.

    Args:
        report_id: the number of the report, for the support of the game; it is in the shard's log.
        is_recorded: whether the last seconds of the room are written to a file.
    """

    report_id: str
    is_recorded: bool = False
