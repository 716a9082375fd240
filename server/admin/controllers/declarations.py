"""Declarations that the controllers share: the injected operations, and limits.

Each handler declares the role that its caller needs: `role="support"`; see server/admin/roles.py.
"""

from __future__ import annotations

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation

from tickwire.server.admin.views import AdminOperations

LIMIT, LIMIT_MAX = 1000, 10_000
Admin = NamedDependency[SkipValidation[AdminOperations]]
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="the most items to return")]
