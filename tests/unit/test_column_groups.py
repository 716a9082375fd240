"""Vectors and quaternions of tables: one value for the game and for clients, ordinary columns on the wire."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness.runtimes import create_runtime
from tickwire import Grid, Input, Room, Table, angle, local, quaternion, real, vec2, vec3
from tickwire.client.interpolation import Interpolation
from tickwire.client.world import World
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import create_codecs, encode_channel
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import NotANumber
from tickwire.schemas.messages import FieldKind, GroupDescription, GroupKind, StateDescription, TableDescription
from tickwire.schemas.parts import Part
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.replication.grid import GridIndex
from tickwire.server.replication.table_history import TableHistory

pytestmark = pytest.mark.usefixtures("each_kernel")
HALF = 0.5**0.5


class Gliders(Table):
    speed = local(np.float32)
    position = vec3(-64, 64, step=1 / 32)
    rotation = quaternion(bits=10)
    heading = angle(bits=8)
    aim = vec2(-1, 1, step=1 / 64)


def receive(table: Table, *, description: TableDescription | None = None, world: World | None = None) -> World:
    """Return the world of a client that received all of a table, in the next tick."""
    description = description or type(table).describe("gliders")
    world = world or World(StateDescription((description,)))
    codecs, values = create_codecs([table.fields]), table.quantise()
    packed = encode_channel(codecs, (codecs[0].empty,), (Columns(table.ids, values, values),))
    assert world.apply(Part(0, True, False, packed), tick=world.tick + 1, age=0)
    world.finish(world.tick + 1, keep=None)
    return world


def test_a_vector_is_a_view_of_its_parts() -> None:
    gliders = Gliders()
    first = gliders.spawn(position=(1, 2, 3), aim=(0.5, -0.5))
    second = gliders.spawn(position_y=5)
    assert gliders.position.tolist() == [[1, 2, 3], [0, 5, 0]]
    gliders.position += gliders.position
    gliders.position[1, 2] = 7
    gliders.aim[:, 0] = gliders.position_x / 4
    assert gliders.position_z.tolist() == [6, 7]
    assert gliders.aim_x.tolist() == [0.5, 0]
    assert first.position.tolist() == [2, 4, 6]
    second.position = first.position + np.array([1, 1, 1])
    second.aim = 0.25, 0.5
    second.position[0] -= 1
    assert second.position.tolist() == [2, 5, 7]
    assert (second.position_x, second.aim_y) == (2.0, 0.5)


def test_views_are_of_the_live_rows_after_the_table_grew_and_lost_rows() -> None:
    gliders = Gliders()
    for number in range(40):
        gliders.spawn(position=(number, 0, 0), rotation=(0, 0, number, 1))
    for glider in list(gliders)[:30]:
        glider.despawn()
    gliders.compact()
    assert gliders.position[:, 0].tolist() == list(range(30, 40))
    assert gliders.rotation[:, 2].tolist() == list(range(30, 40))
    assert gliders.rotation.shape == (10, 4)


def test_a_new_entity_is_not_turned() -> None:
    gliders = Gliders()
    glider = gliders.spawn()
    assert glider.rotation.tolist() == [0, 0, 0, 1]
    assert glider.position.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"position": (1, 2)}, r"Gliders\.position must have 3 numbers, not \(1, 2\)"),
        ({"rotation": 1.0}, r"Gliders\.rotation must have 4 numbers, not 1\.0"),
        ({"position": (1, 2, 3), "position_y": 1}, r"Gliders\.position_y is a part of position, which has a value"),
        ({"rotation_a": 1}, "Gliders has no column rotation_a"),
    ],
)
def test_spawn_refuses_values_that_do_not_fit(values: dict[str, object], error: str) -> None:
    gliders = Gliders()
    with pytest.raises(ValueError, match=error):
        gliders.spawn(**values)
    assert len(gliders) == 0


def test_a_part_with_the_name_of_a_column_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Broken\.position_x: the parts of Broken\.position have this name"):
        type("Broken", (Table,), {"position": vec2(0, 1, step=0.5), "position_x": real(0, 1, step=0.5)})
    with pytest.raises(TypeError, match=r"Broken\.rotation_a: the parts of Broken\.rotation have this name"):
        type("Broken", (Gliders,), {"rotation_a": real(0, 1, step=0.5)})
    with pytest.raises(ValueError, match="a quaternion must have 6 to 16 bits for each number, not 3"):
        quaternion(bits=3)


def test_a_subclass_may_replace_a_vector() -> None:
    class FlatGliders(Gliders):
        position = vec2(-8, 8, step=1 / 32)

    gliders = FlatGliders()
    gliders.spawn(position=(3, 4), aim=(1, 0))
    assert gliders.position.tolist() == [[3, 4]]
    assert "position_z" not in FlatGliders.columns
    assert receive(gliders).table("gliders").column("position").tolist() == [[3, 4]]


def test_an_input_cannot_be_a_vector() -> None:
    class PilotInput(Input):
        move = vec2(-1, 1, step=0.1)

    with pytest.raises(TypeError, match="PilotInput: 'move' is a vector, which only a table can have"):
        type("Pilots", (Room,), {"room_type": "pilots", "input_type": PilotInput})


def test_a_client_reads_vectors_and_quaternions() -> None:
    gliders = Gliders()
    gliders.spawn(position=(1, 2, 3.5), rotation=(0, 0, 2, 2), aim=(1, -1))
    glider = gliders.spawn(position=(-4, 0, 64), rotation=(0, -1, 0, 0))
    table = receive(gliders).table("gliders")
    assert table.column("position").tolist() == [[1, 2, 3.5], [-4, 0, 64]]
    assert np.allclose(table.column("rotation"), [[0, 0, HALF, HALF], [0, 1, 0, 0]], atol=1e-3)
    entity = table.entity(glider.id)
    assert entity["position"] == (-4, 0, 64)
    assert entity["position_z"] == 64
    assert np.allclose(entity["rotation"], (0, 1, 0, 0), atol=1e-3)
    assert "rotation_a" not in entity
    assert table.kind("position") is GroupKind.VECTOR
    assert table.kind("position_x") is FieldKind.REAL


def test_a_client_without_groups_reads_the_parts() -> None:
    gliders = Gliders()
    gliders.spawn(position=(1, 2, 3.5))
    described = TableDescription("gliders", Gliders.describe("gliders").fields)
    assert receive(gliders, description=described).table("gliders").column("position_z").tolist() == [3.5]


def test_a_group_of_a_later_kind_is_left_out() -> None:
    described = Gliders.describe("gliders")
    later = TableDescription("gliders", described.fields, (GroupDescription("matrix", 200, 0, 9), *described.groups))
    assert World(StateDescription((later,))).table("gliders").column("position").shape == (0, 3)


@pytest.mark.parametrize(
    "group",
    [
        GroupDescription("p", GroupKind.VECTOR.value, 0, 1),
        GroupDescription("p", GroupKind.VECTOR.value, 0, 5),
        GroupDescription("p", GroupKind.VECTOR.value, 8, 3),
        GroupDescription("p", GroupKind.VECTOR.value, 65535, 2),
        GroupDescription("p", GroupKind.VECTOR.value, 2, 2),
        GroupDescription("p", GroupKind.QUATERNION.value, 0, 4),
        GroupDescription("heading", GroupKind.VECTOR.value, 0, 3),
    ],
)
def test_an_invalid_group_is_malformed(group: GroupDescription) -> None:
    described = TableDescription("gliders", Gliders.describe("gliders").fields, (group,))
    with pytest.raises(MalformedMessage, match=f"the group '{group.name}' of fields"):
        World(StateDescription((described,)))


def test_a_part_that_is_not_a_number_is_named() -> None:
    gliders = Gliders()
    glider = gliders.spawn()
    glider.position = 0, np.nan, 0
    with pytest.raises(NotANumber, match="field 'position_y' of entity 1"):
        gliders.quantise()


def test_a_quaternion_that_cannot_be_normalised_is_sent_as_identity_and_counted() -> None:
    gliders = Gliders()
    for rotation in ((0, 0, 0, 0), (np.nan, 0, 0, 1), (0, 0, np.inf, 1), (0, 3, 0, 0)):
        gliders.spawn(rotation=rotation)
    shown = receive(gliders).table("gliders").column("rotation")
    assert np.allclose(np.abs(shown), [[0, 0, 0, 1]] * 3 + [[0, 1, 0, 0]], atol=1e-3)
    assert gliders.clamped == {"rotation": 3}


def test_a_saved_table_has_its_rotations() -> None:
    gliders, restored = Gliders(), Gliders()
    for turn in ((0.5, -0.5, 0.5, -0.5), (1, 0, 0, 0), (0, 0.6, -0.8, 0)):
        gliders.spawn(position=(1, 2, 3), rotation=turn)
    state = gliders.state()
    assert restored.restore(state) == {}
    assert np.allclose(np.abs((restored.rotation * gliders.rotation).sum(axis=1)), 1, atol=1e-4)
    assert restored.state().values.tolist() == state.values.tolist(), "the forms are kept too"


def test_a_field_that_becomes_a_quaternion_is_set_aside() -> None:
    class Darts(Table):
        rotation = angle(bits=8)

    darts, gliders = Darts(), Gliders()
    darts.spawn(rotation=1.0)
    assert list(gliders.restore(darts.state())) == ["rotation"]
    assert gliders.rotation.tolist() == [[0, 0, 0, 1]]


def test_rotations_that_were_set_aside_are_filled_in_field_by_field() -> None:
    gliders, later = Gliders(), Gliders()
    first, second = gliders.spawn(rotation=(0.1, 0.2, 0.9, -0.3)), gliders.spawn(rotation=(0, 1, 0, 0))
    fields = [one for one in gliders.state().split_fields() if one.fields[0].name.startswith("rotation")]
    expected = gliders.rotation[0] / np.linalg.norm(gliders.rotation[0])
    later.spawn(), later.spawn(), later.spawn(rotation=(1, 0, 0, 0))
    assert later.ids.tolist()[:2] == [first.id, second.id]
    for one in reversed(fields):
        later.restore_field(one)
    assert abs(float(later.rotation[0] @ expected)) > 0.999
    assert abs(float(later.rotation[1, 1])) > 0.999
    assert later.rotation[2].tolist() == [1, 0, 0, 0]


def test_a_grid_takes_a_vector() -> None:
    grid = GridIndex(Grid("gliders", cell=16, view=16, position="position"), [Gliders])
    assert (grid.across, grid.down) == (8, 8)
    gliders = Gliders()
    glider = gliders.spawn(position=(-60, -30, 0))
    assert grid.assign(gliders).tolist() == [glider.id]
    assert glider.channel == 1 + 2 * 8
    ground = GridIndex(Grid("gliders", cell=16, view=16, position=("position_x", "position_z")), [Gliders])
    ground.assign(gliders)
    assert glider.channel == 1 + 4 * 8
    with pytest.raises(ValueError, match="the table Gliders of a grid must have a column 'place_x' of kind real"):
        GridIndex(Grid("gliders", cell=16, view=16, position="place"), [Gliders])


def test_interpolation_of_vectors_and_quaternions() -> None:
    gliders = Gliders()
    glider = gliders.spawn(position=(0, 0, 0), rotation=(0, 0, 0, 1))
    world, frames = receive(gliders), Interpolation("gliders")
    frames.push(world)
    glider.position, glider.rotation = (1, 2, 4), (0, 0, -1, 0)
    frames.push(receive(gliders, world=world))
    _, positions = frames.sample(1.5, "position")
    assert np.allclose(positions, [[0.5, 1, 2]], atol=1e-2)
    _, rotations = frames.sample(1.5, "rotation")
    assert np.allclose(np.abs(rotations), [[0, 0, HALF, HALF]], atol=1e-2)


def test_a_local_vector_is_a_column_of_vectors() -> None:
    class Drifters(Table):
        position = vec2(-64, 64, step=1 / 32)
        velocity = local(np.float32, size=2)

    movers = Drifters()
    for number in range(20):
        movers.spawn(velocity=(number, 1))
    movers.position += movers.velocity * 0.5
    assert movers[3].position.tolist() == [1, 0.5]
    assert movers[3].velocity.tolist() == [2, 1]
    movers[1].despawn()
    movers.compact()
    assert movers.velocity[0].tolist() == [1, 1]
    with pytest.raises(ValueError, match="must have at least 1 component, not 0"):
        local(np.float32, size=0)


def test_a_history_interpolates_vectors_and_quaternions() -> None:
    gliders = Gliders()
    glider = gliders.spawn(position=(0, 0, 0), rotation=(0, 0, 0, 5))
    history = TableHistory(gliders, ["position", "rotation", "speed"], ticks=4)
    history.capture(1)
    for _ in range(20):
        gliders.spawn()
    glider.position, glider.rotation = (1, 2, 4), (0, 0, -3, 0)
    history.capture(2)
    past = history.sample(1.5)
    assert past.position.tolist() == [[0.5, 1, 2]]
    assert np.allclose(np.abs(past.rotation), [[0, 0, HALF, HALF]])
    assert history.sample(2).position.shape == (21, 3)


class Beams(Table):
    length = local(np.float32, size=1)
    ends = local(np.float64, size=2)


class GliderField(Room):
    room_type = "gliders"
    gliders: Gliders
    beams: Beams


def test_a_room_that_moves_has_the_same_vectors_and_rotations() -> None:
    before = create_runtime(GliderField)
    table = before.room.gliders
    for number in range(3):
        table.spawn(position=(number / 7, 0, 0), rotation=(0, 0, number, 9), speed=number)
    before.step()
    _, checkpoint = decode_room(encode_room(before))
    moved = Gliders()
    moved.restore(checkpoint.tables["gliders"])
    assert np.array_equal(moved.position, table.position)
    assert np.array_equal(moved.rotation, table.rotation), "not only the same rotation, the same numbers"
    assert moved.quantise().tolist() == table.quantise().tolist()


def test_a_room_that_moves_has_the_same_local_vectors() -> None:
    before = create_runtime(GliderField)
    before.room.beams.spawn(length=(3,), ends=(1, 2))
    before.room.beams.spawn(length=(4,), ends=(5, 6))
    _, checkpoint = decode_room(encode_room(before))
    moved = Beams()
    moved.restore(checkpoint.tables["beams"])
    assert moved.length.tolist() == [[3], [4]]
    assert moved.ends.tolist() == [[1, 2], [5, 6]]
