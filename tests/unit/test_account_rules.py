"""The pure rules of accounts: identities, budgets of failed logins, and tokens of known clients."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.account_parts import FixedKeys
from tickwire.server.errors import Conflict, IdentityTaken, InvalidArgument, Unauthorized
from tickwire.services.accounts.account import (
    LinkedIdentity,
    PlayerAccount,
    account_from_document,
    create_account_document,
)
from tickwire.services.accounts.account_rules import (
    MERGED_IDENTITIES_MAX,
    PendingOperation,
    check_merge,
    check_same_identity,
    check_unlink,
    require_account,
)
from tickwire.services.accounts.attempt_budget import list_budgets, mask_address
from tickwire.services.accounts.identities import (
    digest_secret,
    identity_key,
    normalise_email,
    normalise_password,
)
from tickwire.services.accounts.known_clients import VALID_S, KnownClients
from tickwire.services.accounts.settings import LockoutSettings

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("ann@x.example", "ann@x.example"),
        (" Ann@X.Example ", "ann@x.example"),
        ("\uff41\uff4e\uff4e@x.example", "ann@x.example"),
        ("straße@x.example", "strasse@x.example"),
        ("a+b@x.example", "a+b@x.example"),
    ],
)
def test_forms_of_one_address_are_one_identity(given: str, stored: str) -> None:
    assert normalise_email(given) == stored


@pytest.mark.parametrize(
    "text",
    ["", "@", "ann", "ann@", "@x", "a@b@c", "a b@x", "a@x..y", "a\n@x", "a\0@x", "a" * 65 + "@x", "a@" + "x" * 64],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(InvalidArgument):
        normalise_email(text)


@given(st.text(max_size=300))
def test_a_normalised_address_stays_as_it_is(text: str) -> None:
    try:
        stored = normalise_email(text)
    except InvalidArgument:
        return
    assert normalise_email(stored) == stored
    assert len(stored) <= 254


@pytest.mark.parametrize(
    ("password", "is_valid"),
    [
        ("x" * 7, False),
        ("x" * 8, True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("é" * 8, True),
        ("\ud800" * 8, False),
    ],
)
def test_passwords_have_8_to_128_characters(password: str, is_valid: bool) -> None:
    if is_valid:
        assert normalise_password(password)
    else:
        with pytest.raises(InvalidArgument):
            normalise_password(password)


def test_forms_of_one_password_are_one_password() -> None:
    assert normalise_password("e\u0301" * 8) == normalise_password("\u00e9" * 8)


def test_a_secret_must_be_random() -> None:
    with pytest.raises(InvalidArgument):
        digest_secret("ab" * 20)
    assert len(digest_secret("0123456789abcdef" * 2)) == 32


@given(st.sampled_from(["device", "email", "oidc-a", "steam"]), st.text(min_size=1, max_size=20))
def test_keys_of_identities_are_unambiguous(provider: str, subject: str) -> None:
    assert identity_key(provider, subject).partition(":")[::2] == (provider, subject)


def account(player: str, identities: int = 1, **fields: object) -> PlayerAccount:
    linked = tuple(LinkedIdentity("device", f"{player} {number}", NOW) for number in range(identities))
    return PlayerAccount(player, 1, NOW, linked, **fields)  # type: ignore[arg-type]


def test_a_document_holds_an_account() -> None:
    identity = LinkedIdentity("device", "d", NOW, secret=b"x")
    read = account_from_document(create_account_document("p-1", identity))
    assert read == PlayerAccount("p-1", 1, NOW, (identity,))


def test_rules_of_a_merge() -> None:
    ann, bob = account("ann"), account("bob")
    assert check_merge(ann, bob) is False
    assert check_merge(account("ann", merging_into="bob"), bob) is True
    with pytest.raises(InvalidArgument):
        check_merge(ann, ann)
    for source, target in ((None, bob), (ann, None)):
        with pytest.raises(Unauthorized):
            check_merge(source, target)
    for other in (
        account("ann", merging_into="cid"),
        account("ann", merged_into="cid"),
        account("ann", is_deleting=True),
    ):
        with pytest.raises(Conflict):
            check_merge(other, bob)
        with pytest.raises(Conflict):
            check_merge(bob, other)
    for busy in (account("ann", absorbing=("cid",)),):
        with pytest.raises(PendingOperation):
            check_merge(busy, bob)
        with pytest.raises(PendingOperation):
            check_merge(bob, busy)
    with pytest.raises(Conflict):
        check_merge(account("ann", MERGED_IDENTITIES_MAX), bob)


def test_rules_of_one_account() -> None:
    with pytest.raises(Conflict):
        check_unlink(account("ann"), "device:ann 0")
    check_unlink(account("ann"), "device:other")
    check_unlink(account("ann", 2), "device:ann 0")
    with pytest.raises(IdentityTaken):
        check_same_identity(
            LinkedIdentity("device", "d", NOW, secret=b"1"), LinkedIdentity("device", "d", NOW, secret=b"2")
        )
    for gone in (None, account("ann", merged_into="bob")):
        with pytest.raises(Unauthorized):
            require_account(gone)
    with pytest.raises(PendingOperation):
        require_account(account("ann", is_deleting=True))


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("no address", "unknown"),
    ],
)
def test_an_address_is_limited_with_its_network(address: str, masked: str) -> None:
    assert mask_address(address) == masked


class Bench:
    """The budgets of failed logins in memory, on a clock of their own."""

    def __init__(self, settings: LockoutSettings) -> None:
        self.settings, self.now_s = settings, 0.0
        self.stored: dict[str, tuple[float, float]] = {}

    def attempt(self, account_key: str, address: str, client: str = "") -> bool:
        """Fail a login; return whether the password was verified."""
        taken = []
        for budget in list_budgets(self.settings, account_key, address, client):
            tokens, at = self.stored.get(budget.budget_id, (float(budget.burst), self.now_s))
            tokens = budget.refill(tokens, self.now_s - at)
            if tokens < 1:
                for one in taken[1:]:
                    self.stored[one] = (self.stored[one][0] + 1, self.now_s)
                return False
            self.stored[budget.budget_id] = (tokens - 1, self.now_s)
            taken.append(budget.budget_id)
        return True


ATTACKS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["ann", "bob"]), st.integers(0, 60), st.booleans()),
    min_size=60,
    max_size=200,
)


@given(ATTACKS)
def test_no_attack_locks_out_a_known_client_or_guesses_faster_than_the_budgets(
    attacks: list[tuple[int, str, int, bool]],
) -> None:
    limits = LockoutSettings(account_burst=40, account_per_hour=40.0)
    bench = Bench(limits)
    guesses = 0
    for address, target, pause_s, has_token_of_own in attacks:
        bench.now_s += pause_s
        # A token of the attacker's own account is not valid for ann's, so that it names no client of hers.
        client = "the attacker's" if has_token_of_own and target == "bob" else ""
        guesses += bench.attempt(target, f"198.51.100.{address}", client) and target == "ann"
    hours = bench.now_s / 3600
    assert guesses <= limits.account_burst + limits.account_per_hour * hours + 1
    assert guesses <= 2 * (limits.pair_burst + limits.pair_per_hour * hours + 1)
    assert bench.attempt("ann", "198.51.100.0", "ann's telephone"), "a known client"


@given(st.lists(st.integers(0, 600), min_size=60, max_size=300))
def test_one_address_leaves_the_account_to_new_devices(pauses_s: list[int]) -> None:
    limits = LockoutSettings(account_burst=40, account_per_hour=40.0)
    bench = Bench(limits)
    for pause_s in pauses_s:
        bench.now_s += pause_s
        bench.attempt("ann", "198.51.100.1")
    assert bench.attempt("ann", "203.0.113.9"), "a new device at another address"


def test_a_token_of_a_known_client_is_valid_for_its_account_and_time() -> None:
    now_s = 1_000_000.0
    clients = KnownClients(FixedKeys(), lambda: now_s)
    token = clients.issue("email:ann@x.example")
    client = clients.verify(token, "email:ann@x.example")
    assert client
    assert clients.verify(token, "email:ann@x.example") == client
    assert clients.verify(token, "email:bob@x.example") == ""
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        # The last character has two bits that base64 does not use.
        if at < len(token) - 1:
            assert clients.verify(changed, "email:ann@x.example") == "", at
    for other in ("", "1", "1.one.x.1.x", "1.two." + token[6:], token + "x", token * 3):
        assert clients.verify(other, "email:ann@x.example") == ""
    now_s += VALID_S
    assert clients.verify(token, "email:ann@x.example") == ""
