"""Creates a new game: a room, its test, a browser client, settings and an image, in a folder of its own.

The files are those of server/dev/new_game, without `.in`, and with `{{name}}` and `{{version}}` replaced.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from pathlib import Path

from tickwire.server import __version__
from tickwire.server.config import SYSTEM_DATABASES
from tickwire.server.errors import ConfigError

TEMPLATE = Path(__file__).parent / "new_game"
SDK = Path(__file__).parent / "sdk" / "tickwire.js"
"""The TypeScript SDK as one file; `make web` builds it, and a wheel that is built afterwards contains it."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
FILES = {
    "README.md": "README.md.in",
    "rooms.py": "rooms.py.in",
    "test_rooms.py": "test_rooms.py.in",
    "tickwire.toml": "tickwire.toml.in",
    "Dockerfile": "Dockerfile.in",
    ".gitignore": "gitignore.in",
    "web/index.html": "web/index.html.in",
    "web/client.js": "web/client.js.in",
    "web/style.css": "web/style.css.in",
}
SDK_FILE = "web/tickwire.js"


def create_game(name: str, parent: Path) -> list[str]:
    """Create a game in a new folder, and return its files, relative to the folder.

    Args:
        name: the name of the game and of its folder.
        parent: where the folder is created.

    Raises:
        ConfigError: the name cannot be used, the folder exists, or it cannot be written.
    """
    check_name(name)
    folder = parent / name
    files = {target: _fill(TEMPLATE / source, name) for target, source in FILES.items()}
    if SDK.is_file():
        files[SDK_FILE] = SDK.read_bytes()
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise ConfigError(f"{folder} exists: choose another name, or move it away") from error
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        for target, data in files.items():
            path = folder / target
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # otherwise the next attempt would find an existing folder
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error
    return sorted(files)


def check_name(name: str) -> None:
    """Check the name of a game.

    Raises:
        ConfigError: it is not a name of 1 to 40 lower-case letters, digits and underscores, or Python or MongoDB uses
            it.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"the name must have 1 to 40 lower-case letters, digits and underscores, and begin with a letter; "
            f"got {name[:100]!r}"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name == "tickwire" or name in SYSTEM_DATABASES:
        raise ConfigError(f"the name {name!r} is used by Python, MongoDB or Tickwire: choose another one")


def _fill(source: Path, name: str) -> bytes:
    return source.read_text().replace("{{name}}", name).replace("{{version}}", __version__).encode()
