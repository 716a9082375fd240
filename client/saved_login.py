"""A login as the application's storage keeps it between runs. Pure."""

from __future__ import annotations

import secrets

import msgspec

VERSION = 1


class SavedLogin(msgspec.Struct, frozen=True):
    """The login of a player, and the credentials of the device.

    Args:
        api_url: the API that the login belongs to; a login of another API is not used.
        player_id: the player; empty when logged out.
        refresh_token: renews the login; empty when logged out.
        player_url: the WebSocket address for players.
        device_id, device_secret: the credentials of the device's account; they survive a logout.
        known_client: proves an earlier login with a password; it survives a logout.
    """

    api_url: str
    player_id: str = ""
    refresh_token: str = ""
    player_url: str = ""
    device_id: str = ""
    device_secret: str = ""
    known_client: str = ""
    version: int = VERSION

    def __repr__(self) -> str:
        return f"SavedLogin(api_url={self.api_url!r}, player_id={self.player_id!r})"

    def with_device(self) -> SavedLogin:
        """Return the login with credentials of the device, which are created if they are missing."""
        if self.device_id:
            return self
        return msgspec.structs.replace(
            self, device_id=secrets.token_urlsafe(18), device_secret=secrets.token_urlsafe(32)
        )

    def logged_out(self) -> SavedLogin:
        """Return what remains after a logout."""
        return msgspec.structs.replace(self, player_id="", refresh_token="", player_url="")


def decode_login(text: str, api_url: str) -> SavedLogin:
    """Return the saved login; an empty one if the text is invalid, or of another API or a later version."""
    try:
        saved = msgspec.json.decode(text, type=SavedLogin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return SavedLogin(api_url)
    return saved if saved.api_url == api_url and saved.version == VERSION else SavedLogin(api_url)


def encode_login(login: SavedLogin) -> str:
    """Return the text to save."""
    return msgspec.json.encode(login).decode()
