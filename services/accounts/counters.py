"""Counts the results of the operations on accounts, for metrics.

The result of an operation is "ok" or the code of the error that refused it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tickwire.server.errors import TickwireError


class AccountCounters:
    """The counters of one process.

    Attributes:
        operations: the number of operations, by name and result.
        locked_out: the number of logins that a budget of failed logins refused, by the kind of the budget.
    """

    def __init__(self) -> None:
        self.operations: Counter[tuple[str, str]] = Counter()
        self.locked_out: Counter[str] = Counter()

    @contextmanager
    def count(self, operation: str) -> Iterator[None]:
        """Count an operation with the result of the body."""
        try:
            yield
        except TickwireError as error:
            self.operations[operation, error.code] += 1
            raise
        self.operations[operation, "ok"] += 1
