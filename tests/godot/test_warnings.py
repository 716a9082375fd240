"""The scripts of the addon have no warnings of Godot: all declarations are typed, and nothing is unused."""

from __future__ import annotations

from pathlib import Path

from tests.harness.godot_cases import create_project, run_script

_WARNINGS = (
    "untyped_declaration",
    "integer_division",
    "narrowing_conversion",
    "unused_variable",
    "unused_parameter",
    "unused_local_constant",
    "unused_private_class_variable",
    "shadowed_variable",
    "shadowed_variable_base_class",
    "shadowed_global_identifier",
    "unreachable_code",
    "standalone_expression",
    "int_as_enum_without_cast",
    "confusable_local_declaration",
)
_ERROR = 2


def test_scripts_of_the_addon_have_no_warnings(godot: list[str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    create_project(project)
    rules = "".join(f"gdscript/warnings/{warning}={_ERROR}\n" for warning in _WARNINGS)
    with (project / "project.godot").open("a") as settings:
        # Addons are excluded by default: in 4.3 by the first rule, and in 4.6 by the second.
        settings.write(
            "\n[debug]\n\ngdscript/warnings/exclude_addons=false\ngdscript/warnings/directory_rules={}\n" + rules
        )
    output = run_script(godot, project, "res://cases/load_scripts.gd")
    assert "Error" not in output, output
    loaded = set(output.splitlines())
    assert loaded >= {f"loaded {path.name}" for path in (project / "addons" / "tickwire").rglob("*.gd")}
