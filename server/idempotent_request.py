"""The types of stored answers, which server/http uses and server/storage stores.

    begin    -> Lease             the caller runs the operation, and completes or abandons the lease
             -> StoredAnswer      an earlier attempt has completed: the caller sends its answer again
             -> RequestInProgress another attempt holds the lease
             -> IdempotencyKeyReused the key belongs to another request

A process that crashes leaves its lease behind. The lease ends by itself, and the next attempt runs the operation
again. The operation receives the key, so that its own write is made once.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

KEY_CHARACTERS_MAX = 255
"""The length of an Idempotency-Key; Stripe has the same limit."""
ANSWER_BYTES_MAX = 256 * 1024
"""The longest body that is stored."""


class IdempotentRequest(msgspec.Struct, frozen=True):
    """A request with an Idempotency-Key.

    Args:
        caller: the player, or another identity, that the key belongs to; keys of two callers are independent.
        operation: the name of the operation; keys of two operations are independent.
        key: the Idempotency-Key.
        digest: a digest of everything in the request that the operation depends on.
    """

    caller: str
    operation: str
    key: str
    digest: bytes


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer to a request.

    Args:
        status: the HTTP status.
        headers: the headers that are sent again with the body.
        body: at most ANSWER_BYTES_MAX.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Lease(msgspec.Struct, frozen=True):
    """The right to run an operation.

    Args:
        request_id: the id of the stored request.
        token: the random name of this attempt.
        attempt: 1 for the first attempt; more after a crash or a failure.
    """

    request_id: str
    token: str
    attempt: int


class IdempotentRequestStore(Protocol):
    """Stores which requests have run, and their answers."""

    async def begin(self, request: IdempotentRequest) -> Lease | StoredAnswer:
        """Acquire the lease of a request, or return the answer of an earlier attempt. Atomic.

        Raises:
            IdempotencyKeyReused: another request of this caller and operation has the key.
            RequestInProgress: another attempt holds the lease; the error says how long.
            Unavailable: the store does not answer. If it did acquire the lease, the lease ends by itself.
        """
        ...

    async def complete(self, lease: Lease, answer: StoredAnswer) -> StoredAnswer:
        """Store the answer, and return the answer that holds.

        The first stored answer holds: that of another attempt, if this lease has ended and another attempt has
        completed. Idempotent.

        Raises:
            Unavailable: the store does not answer; the answer may be stored.
        """
        ...

    async def abandon(self, lease: Lease) -> None:
        """End the lease without an answer, so that the next attempt runs at once. The key stays with its request.

        Has no effect if another attempt has acquired the lease.

        Raises:
            Unavailable: the store does not answer; the lease ends by itself.
        """
