"""The world of a simulated client, for assertions: `bob.world.ships[bob.entity].hp`.

The values are those that the client has received, in the game's units. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tickwire.client.world import TableView, World


class MirroredEntity:
    """The fields of an entity at one tick, as attributes.

    Args:
        id: its id.
        values: the fields by name.
    """

    __slots__ = ("_values", "id")

    def __init__(self, id: int, values: dict[str, Any]) -> None:
        self.id = id
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values)
            raise AttributeError(f"the entity has no field {name!r}; its fields are {known}") from None

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"<entity {self.id}: {fields}>"


def _id_of(entity: Any) -> int:
    """Return the id of an entity: a number, or an object with an id."""
    return int(getattr(entity, "id", entity))


class MirroredTable:
    """The entities of a table at one tick, by id: `table[id].hp`, `len(table)`, `for entity in table`.

    Args:
        name: the name of the table.
        view: its contents.
    """

    __slots__ = ("_name", "_view")

    def __init__(self, name: str, view: TableView) -> None:
        self._name = name
        self._view = view

    @property
    def ids(self) -> list[int]:
        """The ids of the entities, ascending."""
        return [int(id) for id in self._view.ids]

    def column(self, field: str) -> list[Any]:
        """Return the values of a field of all entities, in the order of `ids`."""
        values: list[Any] = self._view.column(field).tolist()
        return values

    def __getitem__(self, entity: Any) -> MirroredEntity:
        id = _id_of(entity)
        if id not in self:
            seen = self.ids or "none; a world arrives with the next tick, so call room.run(ticks=1) after a join"
            raise KeyError(f"the client sees no entity {id} in {self._name!r}; it sees {seen}")
        return MirroredEntity(id, self._view.entity(id))

    def __contains__(self, entity: Any) -> bool:
        return _id_of(entity) in self._view

    def __iter__(self) -> Iterator[MirroredEntity]:
        return (MirroredEntity(id, self._view.entity(id)) for id in self.ids)

    def __len__(self) -> int:
        return len(self._view)


class MirroredWorld:
    """The tables that a client sees, as attributes.

    Args:
        world: the client's world.
    """

    __slots__ = ("_world",)

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def tick(self) -> int:
        """The tick of the newest frame."""
        return self._world.tick

    def table(self, name: str) -> MirroredTable:
        """Return a table by its name.

        Raises:
            KeyError: the room has no such table.
        """
        return MirroredTable(name, self._world.table(name))

    def __getattr__(self, name: str) -> MirroredTable:
        if name not in self._world.table_names:
            known = ", ".join(self._world.table_names)
            raise AttributeError(f"the room has no table {name!r}; its tables are {known}")
        return self.table(name)
