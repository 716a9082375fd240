"""Fetches documents of issuers over HTTP: with a deadline, a size limit, and redirects that never leave https."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import aiohttp

DOCUMENT_BYTES_MAX = 256 * 1024
REDIRECTS_MAX = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


def is_secure(url: str) -> bool:
    """Return whether a URL is https, or http to this machine, which is for development."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


async def fetch(url: str, deadline_s: float) -> bytes:
    """Return the document at a URL.

    Args:
        url: the address.
        deadline_s: the limit for the whole call, seconds.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: it cannot be fetched now.
        ValueError: it is too large, or a redirect is not acceptable.
    """
    timeout = aiohttp.ClientTimeout(total=deadline_s)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        where = url
        for _ in range(REDIRECTS_MAX + 1):
            async with session.get(where, allow_redirects=False) as answer:
                if answer.status not in _REDIRECTS:
                    answer.raise_for_status()
                    return await read_body(answer)
                where = resolve_redirect(where, answer.headers.get("Location", ""))
        raise ValueError(f"{url} redirects more than {REDIRECTS_MAX} times")


async def read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer.

    Raises:
        ValueError: it has more than DOCUMENT_BYTES_MAX.
    """
    data = await answer.content.read(DOCUMENT_BYTES_MAX + 1)
    while len(data) <= DOCUMENT_BYTES_MAX and (more := await answer.content.read(DOCUMENT_BYTES_MAX)):
        data += more
    if len(data) > DOCUMENT_BYTES_MAX:
        raise ValueError(f"the document has more than {DOCUMENT_BYTES_MAX} bytes")
    return data


def resolve_redirect(where: str, location: str) -> str:
    """Return the URL to which a redirect leads.

    Args:
        where: the URL of the request.
        location: the Location header of the answer.

    Raises:
        ValueError: the target is invalid, or leaves https: an attacker on the path could then sign tokens of any
            player.
    """
    target = urljoin(where, location)
    scheme = urlsplit(target).scheme
    if target == where or scheme not in ("http", "https"):
        raise ValueError(f"{where} redirects to an invalid location: {location!r}")
    if urlsplit(where).scheme == "https" and scheme != "https":
        raise ValueError(f"{where} redirects to {target}, which is not https")
    return target
