"""The guarantees of refresh tokens, on a real MongoDB: one live token a family, whatever ends when."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Callable

import jwt
import pytest
from bson import json_util

from tests.harness.token_processes import SECRET, Clock, Interrupted, TokenProcess
from tickwire.server.errors import InvalidToken, Unavailable
from tickwire.server.storage import MongoStore
from tickwire.services.accounts.ports import IssuedTokens
from tickwire.services.accounts.refresh_tokens import REPEAT_S

STEPS_MAX = 40


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    await made.check_schema(may_migrate=True)
    yield made
    made.close()


@pytest.fixture
def create(store: MongoStore) -> Callable[..., TokenProcess]:
    """Return a function that starts a process of the fleet."""
    clock = Clock(time.time())

    def start(**changes: object) -> TokenProcess:
        return TokenProcess(store, clock, **changes)  # type: ignore[arg-type]

    return start


async def let_repetition_pass(store: MongoStore) -> None:
    """Let the time pass in which a repetition returns the same successor."""
    earlier = {"$set": {"used_at": {"$subtract": ["$used_at", int(REPEAT_S * 1000) + 1000]}}}
    await store.database["refresh_families"].update_many({}, [earlier])


async def is_refused(process: TokenProcess, token: str, reason: str) -> bool:
    with pytest.raises(InvalidToken) as refused:
        await process.service.refresh(token)
    return refused.value.reason == reason


async def is_revoked(process: TokenProcess, tokens: IssuedTokens) -> bool:
    try:
        await process.check.verify(tokens.access_token)
    except InvalidToken as error:
        return error.reason == "revoked"
    return False


async def test_each_use_returns_a_successor_and_a_valid_access_token(create: Callable[..., TokenProcess]) -> None:
    process = create()
    first = await process.service.issue("p-ann", "device")
    second = await create().service.refresh(first.refresh_token)
    third = await process.service.refresh(second.refresh_token)
    assert len({each.refresh_token for each in (first, second, third)}) == 3
    holder = await process.service.find_holder(third.refresh_token)
    for tokens in (first, second, third):
        decoded = await create().decoder.decode(tokens.access_token)
        assert (decoded.player_id, decoded.family_id) == ("p-ann", holder.family_id)
        assert tokens.expires_in_s == pytest.approx(900, abs=1)
    claims = jwt.decode(third.access_token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("tickwire", "tickwire", "p-ann")
    assert third.refresh_expires_in_s == pytest.approx(30 * 86_400, abs=5)


async def test_concurrent_uses_return_one_successor(create: Callable[..., TokenProcess]) -> None:
    first = await create().service.issue("p-ann", "device")
    processes = [create() for _ in range(4)]
    answers = await asyncio.gather(
        *(process.service.refresh(first.refresh_token) for process in processes for _ in range(3))
    )
    assert len({each.refresh_token for each in answers}) == 1
    assert await create().service.refresh(answers[0].refresh_token)


async def test_concurrent_uses_under_two_secrets_return_one_successor(create: Callable[..., TokenProcess]) -> None:
    other = SECRET[::-1]
    old = create(previous_secrets=[other])
    new = create(secret=other, previous_secrets=[SECRET])
    first = await old.service.issue("p-ann", "device")
    answers = await asyncio.gather(*(each.service.refresh(first.refresh_token) for each in (old, new) * 4))
    assert len({each.refresh_token for each in answers}) == 1


async def test_reuse_ends_the_family_and_its_access_tokens(
    create: Callable[..., TokenProcess], store: MongoStore
) -> None:
    process = create()
    first = await process.service.issue("p-ann", "device")
    other = await process.service.issue("p-ann", "device")
    second = await process.service.refresh(first.refresh_token)
    assert (await create().service.refresh(first.refresh_token)).refresh_token == second.refresh_token
    await let_repetition_pass(store)
    assert await is_refused(process, first.refresh_token, "reused")
    assert await is_refused(process, second.refresh_token, "ended")
    assert await is_revoked(process, first)
    assert await is_revoked(process, second)
    assert not await is_revoked(process, other), "another login of the player continues"
    assert await process.service.refresh(other.refresh_token)


async def test_token_before_the_previous_one_is_a_reuse_at_once(create: Callable[..., TokenProcess]) -> None:
    process = create()
    first = await process.service.issue("p-ann", "device")
    second = await process.service.refresh(first.refresh_token)
    third = await process.service.refresh(second.refresh_token)
    assert await is_refused(process, first.refresh_token, "reused")
    assert await is_refused(process, third.refresh_token, "ended")
    assert process.service.results["reused"] == 1


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 10_000, "ü" * 43, "\x00" * 43, "$where", "a" * 42 + "\n"])
async def test_made_up_token_is_refused_and_changes_nothing(create: Callable[..., TokenProcess], token: str) -> None:
    process = create()
    tokens = await process.service.issue("p-ann", "device")
    with pytest.raises(InvalidToken):
        await process.service.refresh(token)
    assert await process.service.refresh(tokens.refresh_token)


async def test_refresh_interrupted_at_any_step_can_be_repeated(create: Callable[..., TokenProcess]) -> None:
    """The client has lost the answer, and repeats the call with another process."""
    for step in range(1, STEPS_MAX):
        tokens = await create().service.issue("p-ann", "device")
        dying = create()
        await dying.keys.refresh()
        dying.calls.count, dying.calls.interrupt_at = 0, step
        try:
            answer = await dying.service.refresh(tokens.refresh_token)
        except Interrupted:
            repeated = await create().service.refresh(tokens.refresh_token)
            again = await create().service.refresh(tokens.refresh_token)
            assert again.refresh_token == repeated.refresh_token, f"step {step}"
            assert await create().service.refresh(repeated.refresh_token), f"step {step}"
        else:
            assert step > 4, "there were steps"
            assert await create().service.refresh(answer.refresh_token)
            return
    pytest.fail("the call never ends")


async def test_reuse_detection_interrupted_at_any_step_is_completed_by_the_next_call(
    create: Callable[..., TokenProcess],
) -> None:
    for step in range(1, STEPS_MAX):
        first = await create().service.issue("p-ann", "device")
        second = await create().service.refresh(first.refresh_token)
        third = await create().service.refresh(second.refresh_token)
        dying = create()
        dying.calls.interrupt_at = step
        try:
            await dying.service.refresh(first.refresh_token)
        except Interrupted:
            for token in (first.refresh_token, third.refresh_token):
                with pytest.raises(InvalidToken):
                    await create().service.refresh(token)
            assert await is_revoked(create(), third), f"step {step}"
        except InvalidToken:
            assert step > 4, "there were steps"
            return
    pytest.fail("the call never ends")


@pytest.mark.parametrize("everywhere", [False, True])
async def test_logout_interrupted_at_any_step_can_be_repeated(
    create: Callable[..., TokenProcess], everywhere: bool
) -> None:
    for step in range(1, STEPS_MAX):
        tokens = await create().service.issue("p-ann", "device")
        other = await create().service.issue("p-ann", "device")
        dying = create()
        dying.calls.interrupt_at = step
        try:
            await dying.service.log_out(tokens.refresh_token, everywhere=everywhere)
        except Interrupted:
            await create().service.log_out(tokens.refresh_token, everywhere=everywhere)
        else:
            assert step > 4, "there were steps"
            step = STEPS_MAX
        assert await is_refused(create(), tokens.refresh_token, "ended")
        assert await is_revoked(create(), tokens)
        assert await is_revoked(create(), other) is everywhere
        if everywhere:
            assert await is_refused(create(), other.refresh_token, "ended")
        else:
            await create().service.end_all("p-ann")
        if step == STEPS_MAX:
            return
    pytest.fail("the call never ends")


async def test_login_right_after_a_logout_everywhere_is_valid(create: Callable[..., TokenProcess]) -> None:
    process = create()
    before = await process.service.issue("p-ann", "device")
    await process.service.end_all("p-ann")
    after = await create().service.issue("p-ann", "device")
    assert await is_revoked(process, before)
    assert not await is_revoked(process, after), "although its clock has not moved"


async def test_refresh_that_passes_a_logout_issues_a_revoked_access_token(
    create: Callable[..., TokenProcess],
) -> None:
    """A logout that ends between the rotation and the answer of a refresh concerns its access token, too."""
    process, other = create(), create()
    tokens = await process.service.issue("p-ann", "device")
    rotate = process.families.rotate

    async def rotate_and_log_out(*arguments):  # type: ignore[no-untyped-def]
        rotated = await rotate(*arguments)
        await other.service.end_all("p-ann")
        return rotated

    process.families.rotate = rotate_and_log_out  # type: ignore[method-assign]
    late = await process.service.refresh(tokens.refresh_token)
    assert await is_revoked(other, late)
    assert await is_refused(other, late.refresh_token, "ended")


async def test_logins_of_a_player_are_bounded_and_the_oldest_ends(create: Callable[..., TokenProcess]) -> None:
    process = create(logins_max=3)
    logins = [await process.service.issue("p-ann", "device") for _ in range(3)]
    kept = await process.service.refresh(logins[0].refresh_token)
    stranger = await process.service.issue("p-bob", "device")
    newest = await process.service.issue("p-ann", "device")
    assert await is_refused(process, logins[1].refresh_token, "ended")
    assert await is_revoked(process, logins[1])
    for tokens in (kept, logins[2], newest, stranger):
        assert await process.service.refresh(tokens.refresh_token)
    assert len(await process.service.list_families("p-ann")) == 3


async def test_token_expires_unless_it_is_used(create: Callable[..., TokenProcess], store: MongoStore) -> None:
    process = create()
    tokens = await process.service.issue("p-ann", "device")
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    await store.database["refresh_families"].update_many({}, {"$set": {"expires_at": soon}})
    renewed = await process.service.refresh(tokens.refresh_token)
    assert renewed.refresh_expires_in_s > 86_400, "each use moves the end"
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    await store.database["refresh_families"].update_many({}, {"$set": {"expires_at": past}})
    assert await is_refused(process, renewed.refresh_token, "expired")
    assert await process.service.list_families("p-ann") == []


async def test_family_that_has_ended_is_stored_for_a_day(
    create: Callable[..., TokenProcess], store: MongoStore
) -> None:
    """Otherwise each login searches all that a player has ended in the life of a refresh token."""
    process, families = create(logins_max=1), store.database["refresh_families"]
    first = await process.service.issue("p-ann", "device")
    await process.service.issue("p-ann", "device")
    (ended,) = await families.find({"ended_at": {"$exists": True}}).to_list(None)
    assert ended["expires_at"] - ended["ended_at"] == datetime.timedelta(days=1)
    assert await is_refused(process, first.refresh_token, "ended")
    assert (await families.find_one({"_id": ended["_id"]}))["expires_at"] == ended["expires_at"]
    soon = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(hours=1)
    await families.update_many({}, {"$set": {"expires_at": soon}})
    await process.service.end_all("p-ann")
    assert [each["expires_at"] for each in await families.find().to_list(None)] == [soon, soon]


async def test_clock_of_a_process_does_not_matter_for_refresh_tokens(store: MongoStore) -> None:
    """Two processes whose clocks are a year apart keep one family alive."""
    now_s = time.time()
    ahead, behind = (TokenProcess(store, Clock(now_s + days * 86_400)) for days in (365, -365))
    tokens = await ahead.service.issue("p-ann", "device")
    for process in (behind, ahead, behind):
        renewed = await process.service.refresh(tokens.refresh_token)
        repeated = await ahead.service.refresh(tokens.refresh_token)
        assert repeated.refresh_token == renewed.refresh_token
        tokens = renewed


async def test_deleted_player_has_no_token_and_no_document(
    create: Callable[..., TokenProcess], store: MongoStore
) -> None:
    process = create()
    tokens = await process.service.issue("p-ann", "device")
    renewed = await process.service.refresh(tokens.refresh_token)
    stranger = await process.service.issue("p-bob", "device")
    assert await process.service.delete_of("p-ann") == 1
    assert await process.service.delete_of("p-ann") == 0
    assert await is_revoked(process, renewed)
    assert await is_refused(process, renewed.refresh_token, "unknown")
    assert await store.database["refresh_tokens"].count_documents({}) == 1
    assert await process.service.refresh(stranger.refresh_token)


async def test_database_holds_no_token_and_no_private_key(
    create: Callable[..., TokenProcess], store: MongoStore
) -> None:
    process = create()
    tokens = await process.service.issue("p-ann", "device")
    renewed = await process.service.refresh(tokens.refresh_token)
    signer = await process.keys.get_signer()
    dump = ""
    for name in await store.database.list_collection_names():
        dump += json_util.dumps(await store.database[name].find().to_list(None))
    secrets = [tokens.refresh_token, renewed.refresh_token, tokens.access_token, SECRET]
    assert not [secret for secret in secrets if secret in dump]
    private = json_util.dumps(signer.key.private_bytes_raw())
    assert private.split('"')[5] not in dump
    assert len(dump) > 500


async def test_answer_of_mongodb_that_is_lost_is_unavailable(create: Callable[..., TokenProcess]) -> None:
    process = create()
    tokens = await process.service.issue("p-ann", "device")
    process.calls.is_down = True
    for call in (
        process.service.refresh(tokens.refresh_token),
        process.service.issue("p-ann", "device"),
        process.service.log_out(tokens.refresh_token),
    ):
        with pytest.raises(Unavailable):
            await call
