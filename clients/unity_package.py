"""Writes the `.meta` files of the Unity package in clients/csharp, and packs it.

    python3 clients/unity_package.py meta          writes and removes .meta files
    python3 clients/unity_package.py pack FOLDER   writes io.tickwire.client-VERSION.tgz

Unity identifies each file by the GUID in its `.meta` file, and creates none in an installed package: it ignores files
without one. The GUIDs are derived from the paths, so that they are equal on every machine. Unity does not import
folders that end with `~`; they have none.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent / "csharp"
LICENSE = Path(__file__).parents[1] / "LICENSE"
LICENSE_NAME = "LICENSE.md"
"""The license is copied into the archive; the checkout has it once."""
TESTS = ("Tests~", "UnityStandIns~")
"""The folders that are not packed."""

_TAIL = "  userData: \n  assetBundleName: \n  assetBundleVariant: \n"
_SCRIPT = """MonoImporter:
  externalObjects: {}
  serializedVersion: 2
  defaultReferences: []
  executionOrder: 0
  icon: {instanceID: 0}
"""
_WEBGL_PLUGIN = """PluginImporter:
  externalObjects: {}
  serializedVersion: 2
  iconMap: {}
  executionOrder: {}
  defineConstraints: []
  isPreloaded: 0
  isOverridable: 0
  isExplicitlyReferenced: 0
  validateReferences: 1
  platformData:
  - first:
      Any: ANY
    second:
      enabled: 0
      settings: {}
  - first:
      Editor: Editor
    second:
      enabled: 0
      settings:
        DefaultValueInitialized: true
  - first:
      WebGL: WebGL
    second:
      enabled: 1
      settings: {}
""".replace("ANY", "")
_IMPORTERS = {
    ".cs": _SCRIPT,
    ".jslib": _WEBGL_PLUGIN,
    ".asmdef": "AssemblyDefinitionImporter:\n  externalObjects: {}\n",
    ".json": "PackageManifestImporter:\n  externalObjects: {}\n",
    ".md": "TextScriptImporter:\n  externalObjects: {}\n",
    ".xml": "TextScriptImporter:\n  externalObjects: {}\n",
}


def package_paths(package: Path = PACKAGE) -> Iterator[Path]:
    """Yield the files and folders that Unity imports, relative to the package and sorted."""
    for path in sorted(package.rglob("*")):
        relative = path.relative_to(package)
        is_ignored = any(part.startswith(".") or part.endswith("~") for part in relative.parts)
        if not is_ignored and path.suffix != ".meta" and not _is_empty(path):
            yield relative


def _is_empty(path: Path) -> bool:
    """Return whether a path is a folder without assets, which a checkout does not have."""
    return path.is_dir() and all(each.is_dir() or each.suffix == ".meta" for each in path.rglob("*"))


def meta_of(relative: Path, *, is_folder: bool) -> str:
    """Return the content of a `.meta` file.

    Raises:
        ValueError: no importer is known for the file.
    """
    if is_folder:
        importer = "folderAsset: yes\nDefaultImporter:\n  externalObjects: {}\n"
    elif relative.suffix in _IMPORTERS:
        importer = _IMPORTERS[relative.suffix]
    else:
        raise ValueError(
            f"{relative}: no importer is known for this kind of file; add it to clients/unity_package.py"
        )
    guid = hashlib.md5(f"io.tickwire.client/{relative.as_posix()}".encode(), usedforsecurity=False).hexdigest()
    return f"fileFormatVersion: 2\nguid: {guid}\n{importer}{_TAIL}"


def expected_metas(package: Path = PACKAGE) -> dict[Path, str]:
    """Return the content of each `.meta` file by its path, relative to the package."""
    return {
        relative.with_name(relative.name + ".meta"): meta_of(relative, is_folder=(package / relative).is_dir())
        for relative in package_paths(package)
    }


def write_metas(package: Path = PACKAGE) -> None:
    """Write all `.meta` files, and remove those of files that are gone."""
    expected = expected_metas(package)
    for path in package.rglob("*.meta"):
        if path.relative_to(package) not in expected:
            path.unlink()
    for relative, text in expected.items():
        (package / relative).write_text(text)


def pack(folder: Path, package: Path = PACKAGE) -> Path:
    """Write the package as Unity's registries and `Add package from tarball` accept it. Return the archive's path."""
    manifest = json.loads((package / "package.json").read_text())
    archive = folder / f"{manifest['name']}-{manifest['version']}.tgz"
    license_path = Path(LICENSE_NAME)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(package.rglob("*")):
            relative = path.relative_to(package)
            if path.is_file() and relative.parts[0] not in TESTS and not relative.name.startswith("."):
                tar.add(path, f"package/{relative.as_posix()}")
        _add_text(tar, license_path, LICENSE.read_text())
        _add_text(tar, license_path.with_suffix(".md.meta"), meta_of(license_path, is_folder=False))
    return archive


def _add_text(tar: tarfile.TarFile, relative: Path, text: str) -> None:
    data = text.encode()
    entry = tarfile.TarInfo(f"package/{relative.as_posix()}")
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["meta"]:
            write_metas()
        case ["pack", target]:
            Path(target).mkdir(parents=True, exist_ok=True)
            sys.stdout.write(f"{pack(Path(target))}\n")
        case _:
            sys.exit(__doc__)
