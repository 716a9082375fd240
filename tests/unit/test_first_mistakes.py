"""The mistakes of a first game: each is refused with a sentence that names the column, the class or the parameter."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire import Event, Grid, Player, Room, Table, Transaction, command, enumeration, grant, uint, vec2


class Sprinters(Table):
    position = vec2(0, 100, step=1 / 16)
    color = enumeration("red", "blue")
    hits = uint(bits=8)


class Hit(Event):
    hits: int


class Track(Room):
    events = (Hit,)
    sprinters: Sprinters

    def on_join(self, player: Player, options: Any) -> None:
        player.entity = self.sprinters.spawn(position=(1.0, 2.0))

    @command
    def hit(self, player: Player) -> int:
        player.entity.hits += 1
        player.send(Hit(player.entity.hits))
        return int(player.entity.hits)


def test_a_label_is_refused_with_its_index() -> None:
    sprinters = Sprinters()
    with pytest.raises(ValueError, match=r"Sprinters\.color has the index of a label; write 1 for 'blue'"):
        sprinters.spawn(color="blue")
    row = sprinters.spawn(color=1)
    with pytest.raises(ValueError, match=r"Sprinters\.color has the index of a label; write 0 for 'red'"):
        row.color = "red"
    with pytest.raises(ValueError, match=r"Sprinters\.color cannot be 'green': invalid literal"):
        row.color = "green"
    assert (len(sprinters), row.color) == (1, 1)


def test_an_entity_that_could_not_be_spawned_does_not_exist() -> None:
    sprinters = Sprinters()
    first = sprinters.spawn(hits=1)
    with pytest.raises(ValueError, match=r"Sprinters\.hits cannot be 'two'"):
        sprinters.spawn(hits="two")
    second = sprinters.spawn(hits=3)
    assert [(row.id, row.hits) for row in sprinters] == [(first.id, 1), (second.id, 3)]
    assert first.exists


def test_a_vector_of_another_size_names_its_column() -> None:
    row = Sprinters().spawn()
    with pytest.raises(ValueError, match=r"Sprinters\.position cannot be \(1, 2, 3\)"):
        row.position = (1, 2, 3)


def test_an_unknown_column_of_a_row_names_the_table() -> None:
    row = Sprinters().spawn()
    with pytest.raises(AttributeError, match="Sprinters has no column 'pos'"):
        row.pos  # noqa: B018
    with pytest.raises(AttributeError, match="Sprinters has no column 'pos'"):
        row.pos = 3
    assert not hasattr(row, "pos")


def test_a_grid_over_a_vector_names_it() -> None:
    members = {"__annotations__": {"sprinters": Sprinters}, "grid": Grid("sprinters", cell=5, view=5)}
    with pytest.raises(TypeError, match=r"column 'x' of kind real; write `position='position'` for its vector"):
        type("Field", (Room,), members)


def test_moves_that_are_no_item_changes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be changes of items, such as \(\*spend"):
        Transaction((grant("ann", "coins", 1),), key="round")  # type: ignore[arg-type]
    assert len(Transaction(grant("ann", "coins", 1), key="round").moves) == 1


def test_a_command_without_its_player_is_refused() -> None:
    def go(self: Any, steps: int) -> int:
        return steps

    with pytest.raises(TypeError, match=r"Walk\.go: the first parameter is the player; write \(self, player, steps"):
        type("Walk", (Room,), {"go": command(go)})


@pytest.mark.parametrize(
    ("name", "value", "right"), [("max_player", 4, "max_players"), ("tick_rate", 5, "tick_rate_hz")]
)
def test_a_misspelt_declaration_is_refused(name: str, value: object, right: str) -> None:
    with pytest.raises(TypeError, match=rf"Walk\.{name} has no effect; write {right}, or choose"):
        type("Walk", (Room,), {name: value})
    type("Walk", (Room,), {"laps": 3, f"_{name}": value})


def test_a_test_of_a_game_creates_a_player_and_calls_the_room() -> None:
    track = Track(room_id="test", name="", seed=1)
    ann = Player("ann")
    track.on_join(ann, {})
    assert track.hit(ann) == 1
    assert [row.hits for row in track.sprinters] == [1]
