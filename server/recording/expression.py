"""Conditions about the state of a room, such as `ships[7].x > 500 and tick > 100`.

    condition    comparisons of values, with `and`, `or`, `not` and brackets
    values       numbers, texts, True, False; + - * / % of numbers; abs(...)
    state        TABLE[ID].COLUMN; sum(TABLE.COLUMN), min, max of all rows; len(TABLE); len(players); tick

The text is parsed with `ast`, and only these forms are accepted: nothing else of Python can be reached. A condition
about an entity that does not exist is false, and so is one about the minimum of a table without rows. Pure.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.server.rooms.room import Room

CHARACTERS_MAX = 500
Evaluate = Callable[[Room], Any]
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_AGGREGATES: dict[str, Callable[[NDArray[np.float64]], Any]] = {"sum": np.sum, "min": np.min, "max": np.max}


class ExpressionError(ValueError):
    """A condition is not valid; the message quotes the part."""


class StateCondition:
    """A condition about the state of a room.

    Args:
        text: the condition.
        room_class: the class of the room.

    Raises:
        ExpressionError: the condition is not valid, or names a table or a column that the class does not have.
    """

    def __init__(self, text: str, room_class: type[Room]) -> None:
        if len(text) > CHARACTERS_MAX:
            raise ExpressionError(f"the condition has {len(text)} characters; the limit is {CHARACTERS_MAX}")
        try:
            parsed = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(f"{text!r} is not a condition such as `ships[7].x > 500`") from error
        self._evaluate = _Compiler(text.strip(), room_class).compile(parsed.body)

    def is_true(self, room: Room) -> bool:
        """Return whether the condition is true of a room; False if it is about an entity that does not exist."""
        try:
            return bool(self._evaluate(room))
        except (LookupError, ArithmeticError, TypeError, ValueError):
            return False


class _Compiler:
    """Converts the nodes of one condition to functions of a room."""

    def __init__(self, text: str, room_class: type[Room]) -> None:
        self._text = text
        self._room_class = room_class

    def compile(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return lambda room: value
            case ast.Name(id="tick"):
                return lambda room: room.tick
            case ast.Attribute(value=ast.Subscript(value=ast.Name(id=table), slice=index), attr=column):
                return self._column(table, index, column)
            case ast.Call(
                func=ast.Name(id="sum" | "min" | "max" as name),
                args=[ast.Attribute(value=ast.Name(id=table), attr=column)],
                keywords=[],
            ):
                return self._aggregate(name, table, column)
            case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=name)], keywords=[]):
                return self._count(name)
            case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
                value_of = self.compile(inner)
                return lambda room: abs(_number(value_of(room)))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                negated = self.compile(inner)
                return lambda room: not negated(room)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                positive = self.compile(inner)
                return lambda room: -_number(positive(room))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
                one, two, calculate = self.compile(left), self.compile(right), _OPERATIONS[type(op)]
                return lambda room: calculate(_number(one(room)), _number(two(room)))
            case ast.BoolOp(op=op, values=values):
                parts, combine = [self.compile(value) for value in values], all if isinstance(op, ast.And) else any
                return lambda room: combine(part(room) for part in parts)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
                return self._comparison([left, *others], [_COMPARISONS[type(op)] for op in ops])
        raise ExpressionError(f"{ast.get_source_segment(self._text, node) or self._text!r} is not allowed in it")

    def _comparison(self, nodes: list[ast.expr], compare: list[Callable[[Any, Any], Any]]) -> Evaluate:
        values = [self.compile(node) for node in nodes]

        def evaluate(room: Room) -> bool:
            found = [value(room) for value in values]
            return all(one(found[at], found[at + 1]) for at, one in enumerate(compare))

        return evaluate

    def _aggregate(self, name: str, table: str, column: str) -> Evaluate:
        self._check_column(table, column)
        aggregate = _AGGREGATES[name]

        def evaluate(room: Room) -> Any:
            values = getattr(room, table).view(column)
            return float(aggregate(values.astype(np.float64)))  # TypeError or ValueError for a text

        return evaluate

    def _check_column(self, table: str, column: str) -> None:
        declared = self._room_class.tables.get(table)
        if declared is None:
            known = ", ".join(self._room_class.tables) or "none"
            raise ExpressionError(f"the room has no table {table!r}; its tables: {known}")
        if column not in declared.columns and column != "channel":
            raise ExpressionError(f"the table {table} has no column {column!r}: {', '.join(declared.columns)}")

    def _column(self, table: str, index: ast.expr, column: str) -> Evaluate:
        self._check_column(table, column)
        id_of = self.compile(index)

        def evaluate(room: Room) -> Any:
            rows = getattr(room, table)
            value = rows.view(column)[rows.row_of(int(id_of(room)))]
            return value.item() if isinstance(value, np.generic) else value

        return evaluate

    def _count(self, name: str) -> Evaluate:
        if name != "players" and name not in self._room_class.tables:
            raise ExpressionError(f"len({name}): the room has no table {name!r}")
        return lambda room: len(getattr(room, name))


def _number(value: Any) -> Any:
    if not isinstance(value, bool | int | float):
        raise TypeError
    return value
