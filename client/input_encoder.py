"""Encodes a player's inputs with the fields that the room declares, and numbers them. Pure."""

from __future__ import annotations

from tickwire.schemas.codec import encode_input
from tickwire.schemas.fields import Field, InputPacker


class InputEncoder:
    """The encoder of one session.

    Attributes:
        fields: the fields of the room's inputs.
        seq: the sequence number of the last input. It continues in the next room of the session.
    """

    def __init__(self) -> None:
        self.fields: tuple[Field, ...] = ()
        self.seq = 0
        self._names: frozenset[str] = frozenset()
        self._packer: InputPacker | None = None  # created with the first input

    def enter(self, fields: tuple[Field, ...]) -> None:
        """Encode for a room whose inputs have these fields from now on."""
        self.fields = fields
        self._packer = None
        self._names = frozenset(field.name for field in fields)

    def reset(self) -> None:
        """Begin a new session: the next input has the number 1."""
        self.seq = 0

    def pack(self, values: dict[str, float]) -> bytes:
        """Return the payload of an input, given in the game's units. Missing fields are zero.

        Raises:
            ValueError: the room declares no such input, or a value is not a number.
        """
        if not values.keys() <= self._names:
            unknown = ", ".join(sorted(values.keys() - self._names))
            known = ", ".join(sorted(self._names)) or "none"
            raise ValueError(f"unknown input {unknown}; the inputs of this room are: {known}")
        if self._packer is None:
            self._packer = InputPacker(self.fields)
        return self._packer.pack(values)

    def encode(self, tick: int, payload: bytes) -> bytes:
        """Encode the next input.

        Args:
            tick: the tick of the newest state; 0 before the first one.
            payload: from `pack`.
        """
        self.seq += 1
        return encode_input(self.seq, tick, payload)
