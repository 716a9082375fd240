"""How many logins per second can one process of `tickwire api` do?

The accounts and their tokens run on one core, MongoDB on the other. Without HTTP, which costs about 0.1 ms a request.
CONCURRENT logins are in flight; the accounts exist.

    device    login with a device: SHA-256, three reads, three writes of tokens
    email     login with an e-mail address and a password: also argon2id, and the budgets of failed logins
    create    login with a new device, which creates an account

`argon2id` is the CPU time of one verification with the parameters of the settings. `email_login_over_hash` is the CPU
time of a login with a password, divided by it: the hash should dominate.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.report import Report, goal, report, row
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE
from tickwire.server.dev import local_stores
from tickwire.server.observability import logs
from tickwire.server.storage import MongoStore, migrate
from tickwire.services.accounts.account_parts import PlayerAccounts, create_player_accounts
from tickwire.services.accounts.password_service import ClientOrigin
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.token_parts import TokenDatabase, create_token_parts

CONCURRENT = 16
ACCOUNTS = 50
OVER_HASH_MAX = 1.5
SECRET = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse battery"
SETTINGS = AccountSettings(secret="the secret of the benchmark, 32 characters", logins_max=1000)


class LoginTurn(msgspec.Struct):
    """The figures of one kind of login in one turn."""

    per_second: float
    cpu_ms: float


def run(*, quick: bool) -> Report:
    """Runs the benchmark."""
    seconds, turns = (2.0, 2) if quick else (10.0, 3)
    logs.configure(format="console", level="warning")
    processes.pin_this(LOAD_CORE)  # and with it MongoDB, which is its child
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder), with_redis=False) as stores:
        processes.pin_this(SERVER_CORE)
        found, hashes_ms = uvloop.run(_all(stores, seconds, turns))
    rows = []
    for kind in found[0]:
        rows.append(row(kind, "logins_per_second", "1/s", [turn[kind].per_second for turn in found]))
        rows.append(row(kind, "cpu_per_login", "ms", [turn[kind].cpu_ms for turn in found]))
    passwords = SETTINGS.passwords
    subject = f"m={passwords.memory_kib},t={passwords.time_cost},p={passwords.parallelism}"
    rows.append(row(subject, "argon2id", "ms", hashes_ms))
    ratio = median(turn["email"].cpu_ms for turn in found) / median(hashes_ms)
    return report("login", quick=quick, rows=rows, goals=[goal("email_login_over_hash", ratio, OVER_HASH_MAX)])


async def _all(
    stores: local_stores.LocalStores, seconds: float, turns: int
) -> tuple[list[dict[str, LoginTurn]], list[float]]:
    found, hashes_ms = [], []
    for number in range(turns):
        print(f"login: turn {number + 1} of {turns}", file=sys.stderr)
        store = MongoStore(stores.mongo_url, f"login_{number}")
        await migrate(store.database, store.calls)
        tokens = create_token_parts(
            TokenDatabase(store.database, store.calls, store.revocations), SETTINGS, time.time
        )
        accounts = create_player_accounts(store, tokens, SETTINGS, "", time.time)
        found.append(await _turn(accounts, seconds))
        hashes_ms.append(await _hash_ms(accounts))
        accounts.hasher.close()
        await store.ledger.close()
        store.close()
    return found, hashes_ms


async def _turn(accounts: PlayerAccounts, seconds: float) -> dict[str, LoginTurn]:
    numbers = itertools.count()

    async def device(number: int) -> object:
        return await accounts.login.login_device(f"device {number % ACCOUNTS:016}", SECRET, create=True)

    async def email(number: int) -> object:
        origin = ClientOrigin(f"10.0.{number % 200}.{number // 200 % 200}")
        address = f"player{number % ACCOUNTS}@x.example"
        return await accounts.passwords.login_email(address, PASSWORD, origin, create=True)

    async def create(number: int) -> object:
        return await accounts.login.login_device(f"new {next(numbers):016}", SECRET, create=True)

    for number in range(ACCOUNTS):  # creates the accounts
        await device(number)
        await email(number)
    kinds = {"device": device, "email": email, "create": create}
    return {kind: await _measure(login, seconds) for kind, login in kinds.items()}


async def _measure(login: Callable[[int], Awaitable[object]], seconds: float) -> LoginTurn:
    numbers = itertools.count()
    done = 0
    started_s, cpu_s = time.monotonic(), time.process_time()

    async def repeat() -> None:
        nonlocal done
        while time.monotonic() - started_s < seconds:
            await login(next(numbers))
            done += 1

    await asyncio.gather(*(repeat() for _ in range(CONCURRENT)))
    elapsed_s = time.monotonic() - started_s
    return LoginTurn(done / elapsed_s, (time.process_time() - cpu_s) / done * 1000)


async def _hash_ms(accounts: PlayerAccounts) -> float:
    stored = await accounts.hasher.hash(PASSWORD.encode())
    cpu_s, count = time.process_time(), 20
    for _ in range(count):
        assert await accounts.hasher.verify(stored, PASSWORD.encode())
    return (time.process_time() - cpu_s) / count * 1000
