"""Steam: verifies the tickets of `GetAuthTicketForWebApi` with the Web API.

https://partner.steamgames.com/doc/webapi/ISteamUserAuth#AuthenticateUserTicket
The key is sent in a header, because addresses are logged by proxies and shown in errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import structlog

from tickwire.server.errors import InvalidToken, Unavailable
from tickwire.server.tokens.fetch import read_body
from tickwire.server.tokens.strict_json import decode_object
from tickwire.services.accounts.providers.port import Credential, ProviderIdentity
from tickwire.services.accounts.providers.settings import ProviderSettings

log = structlog.get_logger(__name__)

PATH = "/ISteamUserAuth/AuthenticateUserTicket/v1/"
_TICKET = re.compile(r"(?:[0-9A-Fa-f]{2}){16,2560}")
_STEAM_ID = re.compile(r"[0-9]{1,20}")
RETRY_AFTER_MS = 2000


class SteamProvider:
    """Implements `IdentityProvider` for Steam.

    Args:
        settings: the app and its key.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings

    async def verify(self, credential: Credential) -> ProviderIdentity:
        """See `IdentityProvider.verify`."""
        if not _TICKET.fullmatch(credential.token):
            raise InvalidToken("the ticket must have hexadecimal digits", reason="malformed")
        return ProviderIdentity("steam", read_steam_id(await self._ask(credential.token)))

    async def _ask(self, ticket: str) -> dict[str, Any]:
        settings = self._settings
        parameters = {"appid": settings.steam_app_id, "ticket": ticket}
        if settings.steam_identity:
            parameters["identity"] = settings.steam_identity
        timeout = aiohttp.ClientTimeout(total=settings.deadline_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(
                    settings.steam_url.rstrip("/") + PATH,
                    params=parameters,
                    headers={"x-webapi-key": settings.steam_key},
                    allow_redirects=False,
                ) as answer,
            ):
                status, data = answer.status, await read_body(answer)
            if status == 200:
                return decode_object(data)
            reason = f"status {status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            reason = type(error).__name__  # its text may contain the ticket
        log.warning("steam_unavailable", error=reason)
        raise Unavailable("Steam does not answer; try again", retry_after_ms=RETRY_AFTER_MS)


def read_steam_id(document: Mapping[str, Any]) -> str:
    """Return the Steam id of an answer.

    Raises:
        InvalidToken: Steam refuses the ticket, or has banned the player from the publisher's games.
        Unavailable: the answer is not one of Steam's.
    """
    response = document.get("response")
    if isinstance(response, Mapping) and isinstance(response.get("error"), Mapping):
        raise InvalidToken("Steam refuses the ticket", reason="refused")
    parameters = response.get("params") if isinstance(response, Mapping) else None
    if not isinstance(parameters, Mapping):
        log.warning("steam_unavailable", error="unknown answer")
        raise Unavailable("Steam does not answer; try again", retry_after_ms=RETRY_AFTER_MS)
    steam_id = parameters.get("steamid")
    if parameters.get("result") != "OK" or not isinstance(steam_id, str) or not _STEAM_ID.fullmatch(steam_id):
        raise InvalidToken("Steam refuses the ticket", reason="refused")
    if parameters.get("publisherbanned") is True:
        raise InvalidToken("the player is banned by the publisher at Steam", reason="refused")
    return steam_id
