"""The Unity package in clients/csharp is complete: manifest, assembly definitions, a `.meta` file for each asset."""

from __future__ import annotations

import json
import re
import tarfile
import tomllib
from pathlib import Path

from clients.unity_package import PACKAGE, TESTS, expected_metas, pack, package_paths, write_metas

ROOT = Path(__file__).parents[2]


def test_each_file_and_folder_that_unity_imports_has_its_meta_file() -> None:
    found = {path.relative_to(PACKAGE): path.read_text() for path in PACKAGE.rglob("*.meta")}
    assert found == expected_metas(), "run `make unity-meta`"
    assert len(found) >= 10


def test_guids_are_unique_and_do_not_depend_on_the_content() -> None:
    guids = re.findall(r"^guid: ([0-9a-f]{32})$", "".join(expected_metas().values()), re.MULTILINE)
    assert len(guids) == len(set(guids)) == len(list(package_paths()))


def test_writing_removes_the_meta_files_of_files_that_are_gone(tmp_path: Path) -> None:
    for name in ("Runtime/World.cs", "Runtime/Old.cs.meta", "Samples~/Arena/Game.cs", "Tests~/Program.cs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "Empty" / "Inner").mkdir(parents=True)
    write_metas(tmp_path)
    metas = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.meta")}
    assert metas == {"Runtime.meta", "Runtime/World.cs.meta"}


def test_the_manifest_names_the_version_of_the_server_and_samples_that_exist() -> None:
    manifest = json.loads((PACKAGE / "package.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9_-]+){2,}", manifest["name"])
    assert manifest["version"] == project["version"]
    assert manifest["license"] == project["license"]
    for sample in manifest["samples"]:
        assert list((PACKAGE / sample["path"]).glob("*.cs"))


def test_assembly_definitions_are_named_as_their_files_and_refer_to_each_other() -> None:
    definitions = {path: json.loads(path.read_text()) for path in PACKAGE.rglob("*.asmdef")}
    names = {definition["name"] for definition in definitions.values()}
    assert "Tickwire.Client" in names
    for path, definition in definitions.items():
        assert path.name == f"{definition['name']}.asmdef"
        assert set(definition["references"]) <= names
    scripts = [path for path in PACKAGE.rglob("*.cs") if not {*path.parts} & {*TESTS}]
    assert scripts
    for script in scripts:
        assert any(path.parent in script.parents for path in definitions), (
            f"{script} belongs to no assembly definition"
        )


def test_the_archive_has_the_package_with_its_license_and_without_its_tests(tmp_path: Path) -> None:
    with tarfile.open(pack(tmp_path)) as tar:
        names = set(tar.getnames())
    assert {"package/package.json", "package/LICENSE.md", "package/LICENSE.md.meta", "package/Runtime.meta"} <= names
    assert any(name.startswith("package/Samples~/Arena/") for name in names)
    assert not any("Tests~" in name or "StandIns" in name for name in names)
