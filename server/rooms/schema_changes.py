"""The renamed and removed tables and fields of stored worlds, as a game declares them.

    class Arena(Room):
        schema_changes = SchemaChanges(
            renamed={"ships": "vessels", "vessels.hp": "vessels.health"},
            removed=("mines", "vessels.armour"),
        )

Tables are renamed first; a field is addressed by the new name of its table. A vector or a quaternion is
renamed or removed field by field: "vessels.position_x". Data that is neither declared nor named here is set aside in
the stored world, and restored when a build declares it again. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from tickwire.server.replication.table import Table

T = TypeVar("T")


class SchemaChanges(msgspec.Struct, frozen=True):
    """Tables and fields that were renamed or removed.

    Args:
        renamed: "table": "new table", and "new table.field": "new table.new field".
        removed: "table" or "table.field"; deleted with the next save.
    """

    renamed: Mapping[str, str] = {}
    removed: Collection[str] = ()

    def check(self, tables: Mapping[str, type[Table]]) -> None:
        """Check the changes against the tables of a room.

        Raises:
            TypeError: a new name is not declared, or a removed or former one still is.
        """
        declared = set(tables) | {f"{name}.{field}" for name, table in tables.items() for field in table.columns}
        groups = {
            f"{name}.{group}": (name, table.groups[group]) for name, table in tables.items() for group in table.groups
        }
        for path in self.renamed.values():
            if path in groups:
                name, group = groups[path]
                fields = ", ".join(f"{name}.{part}" for part in group.parts)
                raise TypeError(
                    f"schema_changes.renamed has the new name {path!r}, which has several fields: {fields}"
                )
            if path not in declared:
                raise TypeError(f"schema_changes.renamed has the new name {path!r}, which is not declared")
        for path in (*self.renamed, *self.removed):
            if path in declared:
                raise TypeError(f"schema_changes contains {path!r}, which is still declared")

    def rename_tables(self, stored: Mapping[str, T]) -> dict[str, T]:
        """Return stored tables under their new names, without the removed ones."""
        return self._changed("", stored)

    def rename_fields(self, table: str, stored: Mapping[str, T]) -> dict[str, T]:
        """Return the stored fields of a table (by its new name) under their new names, without the removed ones."""
        return self._changed(f"{table}.", stored)

    def _changed(self, prefix: str, stored: Mapping[str, T]) -> dict[str, T]:
        kept = {name: value for name, value in stored.items() if f"{prefix}{name}" not in self.removed}
        changed: dict[str, T] = {}
        for name, value in kept.items():
            new = self.renamed.get(f"{prefix}{name}", f"{prefix}{name}").removeprefix(prefix)
            # Both names are stored if the old build ran again after the new one; the old one is then set aside.
            changed[name if new in kept else new] = value
        return changed
