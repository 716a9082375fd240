"""Plays a scenario on the Python machine, and records its events and commands in the form of schemas/scenarios."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import msgspec

from tickwire.client.errors import CommandFailed, ConnectFailed, Disconnected, NotMatched, Refused
from tickwire.client.machine_commands import (
    CloseSocket,
    Connect,
    Emit,
    MachineCommand,
    Reject,
    Resolve,
    Send,
    SetTimer,
    StoreSession,
)
from tickwire.client.options import JoinOptions, MatchOptions
from tickwire.client.session_machine import MachineOptions, SessionMachine
from tickwire.client.updates import InputAcknowledged, PongReceived, StateApplied
from tickwire.schemas.codec import decode_client, encode_server
from tickwire.schemas.messages import Event, Joined, MatchStatus, Message, Reply, RoomList

URL = "ws://home/"


class ScenarioRecorder:
    """One scenario.

    Args:
        options: of the machine, other than the url.
        random: the random numbers, which are cycled.
    """

    def __init__(self, options: dict[str, Any] | None = None, random: Sequence[float] = (0.5,)) -> None:
        self.options = {"url": URL, "build": "1.0"} | (options or {})
        self.random = list(random)
        numbers = cycle(random)
        self.machine = SessionMachine(MachineOptions(**self.options), lambda: next(numbers))
        self.now_ms = 0
        self.steps: list[dict[str, Any]] = []
        self.timer_ms: float | None = None
        self.stored = ""

    # -- events ---------------------------------------------------------------------------------------------

    def open(self, stored: str = "") -> int:
        return self._step({"type": "open", "call": 0, "stored": stored}, lambda now: self.machine.open(stored, now))

    def join(self, room_type: str = "arena", **options: Any) -> int:
        event = {"type": "join", "call": 0, "room_type": room_type, "options": options}
        return self._step(event, lambda now: self.machine.join(room_type, JoinOptions(**options), now))

    def leave(self) -> int:
        return self._step({"type": "leave", "call": 0}, self.machine.leave)

    def match(self, mode: str = "duel", timeout_ms: int = 60_000, **options: Any) -> int:
        event = {"type": "match", "call": 0, "mode": mode, "options": options, "timeout_ms": timeout_ms}
        return self._step(event, lambda now: self.machine.match(mode, MatchOptions(**options), timeout_ms, now))

    def cancel_match(self) -> None:
        self._step({"type": "cancel_match"}, self.machine.cancel_match)

    def list_rooms(self, room_type: str = "arena", limit: int = 50, labels: dict[str, str] | None = None) -> int:
        event = {"type": "list_rooms", "call": 0, "room_type": room_type, "labels": labels or {}, "limit": limit}
        return self._step(event, lambda now: self.machine.list_rooms(room_type, labels, limit, now))

    def command(self, name: str, payload: Any = None, timeout_ms: int = 10_000) -> int:
        event = {"type": "command", "call": 0, "name": name, "payload": payload, "timeout_ms": timeout_ms}
        return self._step(event, lambda now: self.machine.command(name, payload, timeout_ms, now))

    def send_input(self, **values: float) -> None:
        event = {"type": "send_input", "values": values, "seq": 0}

        def send(now: float) -> None:
            event["seq"] = self.machine.send_input(values)

        self._step(event, send)

    def authenticate(self, token: str) -> int:
        event = {"type": "authenticate", "call": 0, "token": token}
        return self._step(event, lambda now: self.machine.authenticate(token, now))

    def abandon(self, call: int) -> None:
        self._step({"type": "abandon", "call": call}, lambda now: self.machine.abandon(call, now))

    def network_changed(self) -> None:
        self._step({"type": "network_changed"}, self.machine.network_changed)

    def drop(self) -> None:
        self._step({"type": "drop"}, self.machine.drop)

    def close(self) -> None:
        self._step({"type": "close"}, self.machine.close)

    def token(self, token: str = "") -> None:
        self._step({"type": "token_received", "token": token}, lambda now: self.machine.token_received(token, now))

    def token_failed(self) -> None:
        self._step({"type": "token_failed"}, lambda now: self.machine.token_failed("no token", now))

    def connected(self) -> None:
        self._step({"type": "connected"}, self.machine.connected)

    def connect_failed(self, retry_after_ms: int = 0) -> None:
        error = ConnectFailed("the server cannot be reached", retry_after_s=retry_after_ms / 1000)
        event = {"type": "connect_failed", "retry_after_ms": retry_after_ms}
        self._step(event, lambda now: self.machine.connect_failed(error, now))

    def lost(self, code: int | None = None) -> None:
        event = {"type": "connection_lost", "code": code}
        self._step(event, lambda now: self.machine.connection_lost(code, "", now))

    def timer(self, late_ms: int = 0) -> None:
        """Fire the timer at its time, or later."""
        assert self.timer_ms is not None
        self.now_ms = int(self.timer_ms) + late_ms
        self.timer_ms = None
        self._step({"type": "timer_fired"}, self.machine.timer_fired)

    def receive(self, message: Message | bytes) -> None:
        data = message if isinstance(message, bytes) else encode_server(message)
        event: dict[str, Any] = {"type": "message_received", "hex": data.hex()}
        if isinstance(message, Message):
            event["message"] = described(message)
        self._step(event, lambda now: self.machine.message_received(data, now))

    def wait(self, ms: int) -> None:
        """Let time pass, in which no timer is due."""
        self.now_ms += ms
        assert self.timer_ms is None or self.timer_ms >= self.now_ms, "a timer is due before"

    def _step(self, event: dict[str, Any], call: Callable[[float], Any]) -> Any:
        result = call(self.now_ms)
        if event.get("call") == 0:
            event["call"] = result
        commands = self.machine.take_commands()
        for command in commands:
            if isinstance(command, SetTimer):
                self.timer_ms = command.at_ms
            elif isinstance(command, StoreSession):
                self.stored = command.text
        self.steps.append({"at_ms": self.now_ms, "event": event, "commands": [command_to_json(c) for c in commands]})
        return result

    def to_bytes(self, name: str, about: str) -> bytes:
        """Return the file."""
        head = {"name": name, "about": about, "options": self.options, "random": self.random}
        steps = ",\n".join(json.dumps(step, ensure_ascii=False) for step in self.steps)
        return f'{json.dumps(head)[:-1]}, "steps": [\n{steps}\n]}}\n'.encode()


class Scenario(msgspec.Struct, frozen=True):
    """A scenario, with the name and the docstring of the function that plays it.

    Args:
        play: plays it on a recorder.
        random, options: of the recorder.
    """

    play: Callable[[ScenarioRecorder], None]
    random: Sequence[float]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return self.play.__name__

    def to_bytes(self) -> bytes:
        """Play the scenario, and return the file."""
        recorder = ScenarioRecorder(self.options, self.random)
        self.play(recorder)
        return recorder.to_bytes(self.name, " ".join((self.play.__doc__ or "").split()))


def scenario(
    *, random: Sequence[float] = (0.5,), **options: Any
) -> Callable[[Callable[[ScenarioRecorder], None]], Scenario]:
    """Make a function that plays on a recorder a scenario, and so a file.

    Args:
        random: the random numbers, which are cycled.
        **options: of the machine, other than the defaults.
    """
    return lambda play: Scenario(play, random, options)


def command_name(kind: type) -> str:
    """Return the name of a command in the files."""
    return "Close" if kind is CloseSocket else kind.__name__


def command_to_json(command: MachineCommand) -> dict[str, Any]:
    """Return a command in the form of the files."""
    shown: dict[str, Any] = {"type": command_name(type(command))}
    match command:
        case Connect(url):
            shown["url"] = url
        case Send(data):
            shown["message"] = described(decode_client(data))
        case SetTimer(at_ms):
            assert at_ms is None or at_ms == int(at_ms), "the machine's pauses are whole milliseconds"
            shown["at_ms"] = at_ms if at_ms is None else int(at_ms)
        case Resolve(call, value):
            shown |= {"call": call, "value": _result_to_json(value)}
        case Reject(call, error):
            shown |= {"call": call} | _error_to_json(error)
        case Emit(event, value):
            shown |= {"event": event, "value": _value_to_json(value)}
        case StoreSession(text):
            shown["session"] = json.loads(text)
        case CloseSocket(code):
            shown["code"] = code
    return shown


def described(message: Any) -> dict[str, Any]:
    """Return a message by name, with the fields that do not have their default value."""
    defaults = type(message)()
    fields = {
        name: _plain(getattr(message, name))
        for name in message.__struct_fields__
        if getattr(message, name) != getattr(defaults, name)
    }
    return {"type": type(message).__name__, "fields": fields}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _error_to_json(error: Exception) -> dict[str, Any]:
    match error:
        case Refused():
            return {"error": "Refused", "code": error.error.code.name}
        case CommandFailed():
            return {"error": "CommandFailed", "code": error.reply.error.name}
        case NotMatched():
            return {"error": "NotMatched", "state": error.status.state.name}
        case Disconnected():
            return {"error": "Disconnected"}
        case TimeoutError():
            return {"error": "Timeout"}
    return {"error": type(error).__name__}


def _result_to_json(value: Any) -> Any:
    return {"player_id": value} if isinstance(value, str) else _value_to_json(value)


def _value_to_json(value: Any) -> Any:
    match value:
        case Joined():
            return {"room_id": value.room_id, "room_type": value.room_type, "entity": value.entity}
        case RoomList():
            return {"rooms": [room.room_id for room in value.rooms]}
        case Reply():
            return {"id": value.id, "payload": value.payload.hex()}
        case Event():
            return {"number": value.number, "name": value.name, "payload": value.payload.hex()}
        case StateApplied():
            return {"tick": value.tick}
        case InputAcknowledged(tick, seq):
            return {"tick": tick, "seq": seq}
        case MatchStatus():
            return {"state": value.state.name, "mode": value.mode}
        case PongReceived(rtt_us, clock_offset_us):
            return {"rtt_ms": rtt_us // 1000, "clock_offset_ms": clock_offset_us // 1000}
        case bool():
            return {"has_resumed": value}
        case Exception():
            return _error_to_json(value)
    return None
