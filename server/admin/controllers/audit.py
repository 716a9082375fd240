"""The audit trail: which operator has changed what."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation

from tickwire.server.http.cursors import PAGE_ITEMS, CursorCodec, Page, PageCursor, PageLimit
from tickwire.server.storage import AuditEntry, AuditFilter, AuditStore

Text = Annotated[str, QueryParameter(max_length=128)]
_EntryId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]
_CURSORS: CursorCodec[tuple[datetime.datetime, str]] = CursorCodec("audit", tuple[datetime.datetime, _EntryId])


class AuditController(Controller):
    """Lists the audit trail."""

    path = "/audit"
    tags = ("operators",)

    @get("/", summary="List the changes of operators, the newest first", role="read")
    async def list_audit(  # noqa: PLR0913 - the parameters of the query
        self,
        audit: NamedDependency[SkipValidation[AuditStore]],
        operator: Text = "",
        action: Text = "",
        player_id: Text = "",
        limit: PageLimit = PAGE_ITEMS,
        cursor: PageCursor = "",
    ) -> Page[AuditEntry]:
        """Return the entries of an operator, of an action such as `PUT /bans/{player_id}`, or of a player."""
        filters = AuditFilter(operator, action, player_id)
        found = await audit.list_entries(filters, limit + 1, _CURSORS.decode(cursor))
        return _CURSORS.page(found, limit, lambda entry: (entry.at, entry.id))
