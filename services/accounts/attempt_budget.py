"""Budgets of failed logins: which of them a login uses, and how they refill. Pure.

A login is charged before its password is verified, so that many concurrent guesses are counted; a successful one is
refunded. A budget is a token bucket.

    a known client     its own budget alone
    other clients      address, then (account, address), then account; the first that is empty refuses the login

A known client holds a signed token of an earlier login to the same account (known_clients.py; OWASP calls it a device
cookie). So strangers cannot lock it out. They can lock out new devices of the account, but only from many addresses:
one address is refused by its own budgets before it can use up the account's.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from typing import NamedTuple

from tickwire.services.accounts.settings import LockoutSettings

SECONDS_PER_HOUR = 3600.0
_IPV6_PREFIX = 64
"""A customer has a whole /64, so that it counts as one address."""


class Budget(NamedTuple):
    """One token bucket.

    Args:
        budget_id: the id of the limited subject.
        burst: the most tokens that it holds.
        per_s: how fast it refills.
    """

    budget_id: str
    burst: int
    per_s: float

    @property
    def refill_s(self) -> float:
        """How long an empty bucket takes to be full; then it need not be stored any more."""
        return self.burst / self.per_s

    def refill(self, tokens: float, elapsed_s: float) -> float:
        """Return the tokens after some time. A clock that was set back adds none."""
        return min(float(self.burst), tokens + max(0.0, elapsed_s) * self.per_s)

    def wait_ms(self, tokens: float) -> int:
        """Return the time until the bucket has a token."""
        return max(0, math.ceil((1.0 - tokens) / self.per_s * 1000))


def list_budgets(settings: LockoutSettings, account_key: str, address: str, client_id: str) -> list[Budget]:
    """Return the budgets that a login uses, in the order of their checks.

    Args:
        settings: the limits.
        account_key: the key of the identity, whether an account has it or not.
        address: the address of the client.
        client_id: the id of a known client; empty for all others.
    """
    account = digest_key(account_key)
    if client_id:
        return [_budget(f"client:{account}:{client_id}", settings.client_burst, settings.client_per_hour)]
    network = mask_address(address)
    return [
        _budget(f"address:{network}", settings.address_burst, settings.address_per_hour),
        _budget(f"pair:{account}:{network}", settings.pair_burst, settings.pair_per_hour),
        _budget(account_budget_id(account_key), settings.account_burst, settings.account_per_hour),
    ]


def account_budget_id(account_key: str) -> str:
    """Return the id of the budget of an account, which is deleted with the account."""
    return f"account:{digest_key(account_key)}"


def digest_key(account_key: str) -> str:
    """Return the digest of an identity's key: the budgets of addresses of no account store no e-mail address."""
    return hashlib.sha256(account_key.encode()).hexdigest()[:32]


def mask_address(address: str) -> str:
    """Return the address that is limited: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False).network_address)
    return str(parsed)


def _budget(budget_id: str, burst: int, per_hour: float) -> Budget:
    return Budget(budget_id, burst, per_hour / SECONDS_PER_HOUR)
