"""Pages of lists, by opaque cursors.

    GET /v1/things?limit=50                 {"items": [...], "next_cursor": "gqJ0..."}
    GET /v1/things?limit=50&cursor=gqJ0...  {"items": [...], "next_cursor": ""}       the last page

A cursor is the position of the last item: base64url of the msgpack array [version, name of the list, position]. It is
not signed. A forged cursor is harmless, because it selects a position in a list that the caller may read anyway, and
because the decoded position must have the declared type. The query must filter by the caller, never by the cursor.

Pure.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from tickwire.server.errors import InvalidArgument

CURSOR_CHARACTERS_MAX = 512
PAGE_ITEMS_MAX = 100
PAGE_ITEMS = 50

PageLimit = Annotated[int, QueryParameter(ge=1, le=PAGE_ITEMS_MAX, description="The most items of the page.")]
"""The type of a handler's parameter `limit`; its default is PAGE_ITEMS."""
PageCursor = Annotated[
    str,
    QueryParameter(
        max_length=CURSOR_CHARACTERS_MAX, description="`next_cursor` of the page before; empty for the first."
    ),
]
"""The type of a handler's parameter `cursor`; its default is an empty text."""

Item = TypeVar("Item")
Position = TypeVar("Position")


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A page of a list.

    Args:
        items: the items, in the order of the list.
        next_cursor: the cursor of the next page; empty after the last one.
    """

    items: list[Item]
    next_cursor: str = ""


class CursorCodec(Generic[Position]):
    """Encodes positions in one list as cursors.

    Args:
        name: the name of the list; a cursor of another list is refused.
        position: the type of the positions, with its bounds.
        version: increased when the meaning of positions changes; older cursors are refused.
    """

    def __init__(self, name: str, position: type[Position], *, version: int = 1) -> None:
        self._head = (version, name)
        self._decoder = msgspec.msgpack.Decoder(tuple[int, str, position])  # type: ignore[valid-type]

    def encode(self, position: Position) -> str:
        """Return the cursor of a position.

        Raises:
            ValueError: the cursor would be longer than CURSOR_CHARACTERS_MAX.
        """
        data = msgspec.msgpack.encode((*self._head, position))
        text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        if len(text) > CURSOR_CHARACTERS_MAX:
            raise ValueError(f"a position of the list {self._head[1]} does not fit into a cursor")
        return text

    def decode(self, cursor: str) -> Position | None:
        """Return the position of a cursor; None for an empty one, which is the first page.

        Raises:
            InvalidArgument: the text is not a cursor of this list.
        """
        if not cursor:
            return None
        try:
            if len(cursor) > CURSOR_CHARACTERS_MAX:
                raise ValueError("too long")
            data = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
            version, name, position = self._decoder.decode(data)
            if (version, name) != self._head:
                raise ValueError("of another list")
            # Only what `encode` writes is a cursor. A position in another form may break the query: a time with an
            # offset, for example, that is outside of the years 1 to 9999 in UTC.
            if msgspec.msgpack.encode((version, name, position)) != data:
                raise ValueError("not in the form of encode")
        except (ValueError, OverflowError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
            raise InvalidArgument("cursor: is not a cursor of this list; begin again with the first page") from error
        found: Position = position
        return found

    def page(self, found: Sequence[Item], limit: int, position: Callable[[Item], Position]) -> Page[Item]:
        """Return the page of a query for one item more than the limit.

        Args:
            found: the items from the position of the request on, at most `limit` + 1.
            limit: the most items of the page.
            position: returns the position of an item.
        """
        items = list(found[:limit])
        return Page(items, self.encode(position(items[-1])) if len(found) > limit else "")
