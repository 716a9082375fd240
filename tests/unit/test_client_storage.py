"""The asyncio client saves its session in the application's storage, and resumes it after a restart."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.harness.scripted_server import JOINED, Peer, server
from tickwire.client.client import Client
from tickwire.client.connection_state import ConnectionState
from tickwire.client.errors import Disconnected
from tickwire.client.events import ListenerError
from tickwire.client.session_storage import StoredText
from tickwire.schemas.messages import EndSession, Event, Hello, Join, Welcome


class TextInMemory:
    """A storage, as an application has it."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text
        self.saves = 0

    def load(self) -> str | None:
        return self.text

    def save(self, text: str) -> None:
        self.text = text
        self.saves += 1

    def clear(self) -> None:
        self.text = None


class SlowText(TextInMemory):
    """The same with coroutines; `save` waits until it may go on."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(text)
        self.may_save = asyncio.Event()

    async def load(self) -> str | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return self.text

    async def save(self, text: str) -> None:  # type: ignore[override]
        await self.may_save.wait()
        super().save(text)

    async def clear(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().clear()


class BrokenText:
    """A storage that is full, or forbidden."""

    def load(self) -> str:
        raise OSError("load")

    def save(self, text: str) -> None:
        raise OSError("save")

    def clear(self) -> None:
        raise OSError("clear")


async def test_program_that_is_started_again_is_in_its_room_without_a_join() -> None:
    hellos: list[Hello] = []

    async def first(peer: Peer) -> None:
        hellos.append(await peer.want(Hello))
        await peer.say(Welcome("s", resume_token="s.1", generation=1))
        await peer.want(Join)
        await peer.say(JOINED, Event(1, "hit"))

    async def restarted(peer: Peer) -> None:
        hellos.append(await peer.want(Hello))
        await peer.say(Welcome("s", resume_token="s.2", generation=2, room_id="r"))
        await asyncio.sleep(0.05)
        await peer.say(JOINED)
        await peer.want(EndSession)

    storage = TextInMemory()
    scripts = iter([first, restarted])

    async def play(peer: Peer) -> None:
        await next(scripts)(peer)

    async with server(play) as url:
        client = Client(url, session_storage=storage)
        await client.open()
        await client.join("arena")
        await client.wait_for(lambda: bool(client.events))
        assert storage.text is not None
        saved = json.loads(storage.text)
        assert (saved["resume_token"], saved["url"], saved["player"]) == ("s.1", url, "")
        client._session.machine.connection.close(4000, "the program ends")  # no EndSession, and the text stays
        await client.close()

        again = Client(url, session_storage=storage)
        joined = []
        again.on("joined", joined.append)
        await again.open()
        assert again.core.joined == JOINED
        assert joined == [JOINED]
        assert (again.resumes, again.sessions_lost) == (1, 0)
        assert (hellos[1].resume_token, hellos[1].room_id, hellos[1].last_tick) == ("s.1", "", 0)
        assert hellos[1].attempt > hellos[0].attempt
        assert json.loads(storage.text)["resume_token"] == "s.2"
        await again.close()
        assert storage.text is None, "the session has ended"


async def test_slow_storage_gets_the_newest_text_and_close_waits_for_it() -> None:
    storage = SlowText()
    stored = StoredText(storage, pytest.fail)
    stored.save("one")
    await asyncio.sleep(0)
    for text in ("two", "three"):
        stored.save(text)
    closing = asyncio.create_task(stored.close())
    await asyncio.sleep(0)
    assert not closing.done()
    storage.may_save.set()
    await closing
    assert (storage.text, storage.saves) == ("three", 2)
    stored.save("")
    await stored.close()
    assert storage.text is None


async def test_storage_that_raises_is_reported_and_the_client_continues() -> None:
    async with server(Peer.welcome) as url:
        client = Client(url, session_storage=BrokenText())
        reported: list[ListenerError] = []
        client.on("error", reported.append)
        await client.open()
        assert client.is_connected
        await client.close()
    assert {str(error.error) for error in reported} == {"load", "clear"}
    assert {error.event for error in reported} == {"session_storage"}


async def test_storage_that_raises_later_is_reported_with_its_method() -> None:
    class BrokenLater:
        async def load(self) -> None:
            return None

        async def save(self, text: str) -> None:
            raise OSError("save")

        async def clear(self) -> None:
            raise OSError("clear")

    reported: list[tuple[str, str]] = []
    stored = StoredText(BrokenLater(), lambda error, method: reported.append((str(error), method)))
    stored.save("one")
    await stored.close()
    stored.save("")
    await stored.close()
    assert reported == [("save", "save"), ("clear", "clear")]


async def test_client_that_is_closed_while_its_storage_loads_does_not_connect() -> None:
    connected: list[Peer] = []

    async def script(peer: Peer) -> None:
        connected.append(peer)
        await peer.welcome()

    async with server(script) as url:
        client = Client(url, session_storage=SlowText())
        opening = asyncio.create_task(client.open())
        await asyncio.sleep(0)  # `open` awaits the storage
        await client.close()
        with pytest.raises(Disconnected):
            await opening
        assert client.state is ConnectionState.CLOSED
        assert connected == []
