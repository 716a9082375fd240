"""How much CPU time does a shard need to check a player's token?

The keys are cached, so that no check reads anything over a network. Microseconds of CPU time a check: of an access
token of the accounts (EdDSA), and of tokens of an external issuer (HS256, ES256, RS256), in alternating rounds. The
goal counts the reads of the accounts' keys: one, for all checks.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from benchmarks.report import Report, goal, report, row
from tickwire.server.edge.auth.authenticator import AccountAuthentication, Authenticator, create_authenticator
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.tokens.access_tokens import AccessToken, AccessTokenDecoder, sign_access_token
from tickwire.server.tokens.jwks import JwksCache

SECRET = "a secret of the benchmark, of 32 characters or more"
TTL_S = 3600.0
READS_MAX = 1.0


def to_jwk(algorithm: str, key: Any) -> dict[str, Any]:
    """Return the public part of a key."""
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": algorithm, "alg": algorithm, "use": "sig"}


def create_cases(folder: Path) -> tuple[dict[str, tuple[Authenticator, str]], Callable[[], int]]:
    """Return an authenticator and a token for each kind of token, and the number of reads of the accounts' keys."""
    now_s = time.time()
    keys: dict[str, Any] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    }
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps({"keys": [to_jwk(name, key) for name, key in keys.items()]}))
    external = create_authenticator(AuthSettings(guests=False, secret=SECRET, jwks_file=str(jwks)), time.time)
    claims = {"sub": "p-ann", "iat": now_s, "exp": now_s + TTL_S}
    cases: dict[str, tuple[Authenticator, str]] = {
        name: (external, jwt.encode(claims, key, algorithm=name, headers={"kid": name}))
        for name, key in {"HS256": SECRET, **keys}.items()
    }
    account_key = ed25519.Ed25519PrivateKey.generate()
    published = json.dumps({"keys": [to_jwk("EdDSA", account_key)]}).encode()
    reads = 0

    async def read() -> bytes:
        nonlocal reads
        reads += 1
        return published

    cache = JwksCache(read, refresh_s=TTL_S, now_s=time.time)
    decoder = AccessTokenDecoder(cache, issuer="tickwire", leeway_s=10.0, now_s=time.time)
    accounts = create_authenticator(AuthSettings(accounts=True), time.time, AccountAuthentication(decoder))
    content = AccessToken("p-ann", "f-family", now_s, now_s + TTL_S)
    cases["EdDSA (accounts)"] = (accounts, sign_access_token(content, "tickwire", "EdDSA", account_key))
    return cases, lambda: reads


async def measure_us(authenticator: Authenticator, token: str, checks: int) -> float:
    """Return the microseconds of CPU time that one check takes."""
    await authenticator.authenticate(token)
    started = time.process_time()
    for _ in range(checks):
        await authenticator.authenticate(token)
    return (time.process_time() - started) / checks * 1e6


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    checks, rounds = (1000, 3) if quick else (5000, 5)
    with tempfile.TemporaryDirectory() as folder:
        cases, reads = create_cases(Path(folder))
        found = asyncio.run(_measure_all(cases, checks, rounds))
    rows = [row(name, "cpu_per_check", "us", values) for name, values in found.items()]
    return report("token_check", quick=quick, rows=rows, goals=[goal("reads_of_account_keys", reads(), READS_MAX)])


async def _measure_all(
    cases: dict[str, tuple[Authenticator, str]], checks: int, rounds: int
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (authenticator, token) in cases.items():
            found[name].append(await measure_us(authenticator, token, checks))
    return found
