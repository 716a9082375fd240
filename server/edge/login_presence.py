"""The session of a guest under the id of the player who logs in, for the presence of the fleet."""

from __future__ import annotations

from typing import Any

from tickwire.server.edge.session import Session


class LoginPresence:
    """A session under the id of the player of a login. Implements `tickwire.server.edge.services.PresentSession`.

    Args:
        session: the session of the guest.
        player_id: the player who logs in.
        now_us: when; the login counts as the opening of the session.
    """

    is_guest = False

    def __init__(self, session: Session, player_id: str, now_us: int) -> None:
        self._session = session
        self.session_id = session.session_id
        self.player_id = player_id
        self.opened_us = now_us
        self.generations = session.generations
        self.connection: Any = session.connection
        self.previous_session_id = session.previous_session_id

    @property
    def room_id(self) -> str:
        """See `PresentSession.room_id`."""
        return self._session.room_id

    @property
    def room_type(self) -> str:
        """See `PresentSession.room_type`."""
        return self._session.room_type

    @property
    def is_moving(self) -> bool:
        """See `PresentSession.is_moving`."""
        return self._session.is_moving

    def replace(self) -> None:
        """See `PresentSession.replace`."""
        self._session.replace()

    def end_if_redirected(self) -> bool:
        """See `PresentSession.end_if_redirected`."""
        return self._session.end_if_redirected()

    def kick(self, reason: str) -> None:
        """See `PresentSession.kick`."""
        self._session.kick(reason)
