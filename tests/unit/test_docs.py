"""The documents name what is there: every setting, metric, error and close code, and no file that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tests.harness.admin_endpoints import ENDPOINTS
from tickwire.loadtest.load_plan import Shape
from tickwire.loadtest.metrics import TIMES
from tickwire.loadtest.slo import CORRECT, COUNTS, SHARES
from tickwire.loadtest.summary import EXIT_CODES
from tickwire.schemas.messages import ErrorCode
from tickwire.server import errors
from tickwire.server.admin.api import PREFIX
from tickwire.server.config import Settings
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.observability.metrics import Metrics

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*DOCUMENTS, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "helm/tickwire/README.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
STATE = (ROOT / "docs" / "state.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def keys(section: msgspec.Struct, where: str = "") -> Iterator[str]:
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from keys(value, f"{where}{name}.")
        else:
            yield f"{where}{name}"


def leaves(error: type[errors.TickwireError]) -> Iterator[type[errors.TickwireError]]:
    for inner in error.__subclasses__():
        yield from leaves(inner) if inner.__subclasses__() else (inner,)


@pytest.mark.parametrize("key", list(keys(Settings())))
def test_every_setting_is_documented(key: str) -> None:
    assert f"`{key}`" in OPERATIONS


def known_metrics() -> set[str]:
    text = Metrics("1").render().decode()
    return {name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if not name.endswith("_created")}


def test_documented_metrics_are_those_that_exist() -> None:
    assert set(re.findall(r"`(tickwire_[a-z_]+)", OPERATIONS)) == known_metrics()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_that_a_document_names_exists(document: Path) -> None:
    assert set(re.findall(r"`(tickwire_[a-z_]+)", document.read_text())) <= known_metrics()


def test_every_error_code_is_documented_with_its_retryability() -> None:
    rows = dict(re.findall(r"^\| ([A-Z_]+) \|.*\| (yes|no) \|$", PROTOCOL, re.MULTILINE))
    assert set(rows) == {code.name for code in ErrorCode}
    for error in leaves(errors.TickwireError):
        if error.code in rows:
            assert rows[error.code] == ("yes" if error.retryable else "no"), error.code


@pytest.mark.parametrize("code", SessionCloseCode)
def test_every_close_code_is_documented(code: SessionCloseCode) -> None:
    assert re.search(rf"^\| [\d, ]*\b{code.value}\b", PROTOCOL, re.MULTILINE)


def test_decisions_are_numbered_once_and_titled_by_their_number() -> None:
    # Numbers are assigned before decisions are written, so that there may be gaps for a while.
    decisions = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    numbers = [int(path.name[:4]) for path in decisions]
    assert len(set(numbers)) == len(numbers) > 45
    for number, path in zip(numbers, decisions, strict=True):
        assert path.read_text().startswith(f"# {number}. "), path.name


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", LINKED, ids=lambda path: path.name)
def test_links_resolve(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", document.read_text()):
        file = document.parent / target if target else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    files = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "server" / "dev" / "new_game").glob("test_*.py.in")]
    text = document.read_text()
    known = {path.name.partition(".")[0] for path in files}
    known |= {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())}
    known |= {"test_relay", *re.findall(r"def (test_\w+)", text)}  # a guide may define a file and tests
    names = re.findall(r"\b(test_\w+)(\.\.\.)?", text)
    assert len(names) > 40 or document.name != "operations.md", "the failure table names many"
    for name, is_shortened in names:
        assert name in known or (is_shortened and any(each.startswith(name) for each in known)), name
    for path in re.findall(r"\btests/[\w/]+\.py", text):
        assert (ROOT / path).exists(), path


def test_every_documented_path_of_the_operations_port_exists() -> None:
    routes = {"/livez", "/readyz", "/metrics", "/console/", PREFIX, f"{PREFIX}/openapi.json"}
    routes |= {re.sub(r"\{\w+\}", "X", PREFIX + operation.path) for operation in ENDPOINTS}
    notes = (ROOT / "helm" / "tickwire" / "templates" / "NOTES.txt").read_text()
    named = set(re.findall(r"`(?:GET |POST |PUT |DELETE )?(/[a-z0-9]\S*?)`", OPERATIONS))
    forwarded = notes.partition("While the port is forwarded: ")[2].partition("\n")[0]
    noted = set(re.findall(r"(?<=[ 0])/[a-z0-9]+", forwarded))
    assert noted == {"/readyz", "/metrics", "/v1"}
    named |= noted
    unknown = {path for path in named if re.sub(r"/[A-Z]+\b", "/X", path.partition("?")[0]) not in routes}
    elsewhere = ("/s/", "/game")  # of the gateway, and a folder of the image
    assert not {path for path in unknown if not path.startswith(elsewhere)}, "of the operations port"


def test_every_documented_log_event_is_logged() -> None:
    source = "\n".join(
        path.read_text() for name in ("server", "services", "matchmaking") for path in (ROOT / name).rglob("*.py")
    )
    logged = set(re.findall(r"""(?:log\.\w+|report)\(\s*"([a-z_]+)\"""", source))
    logged |= {f"session_{event}" for event in re.findall(r"""\bnote\(\s*"([a-z_]+)\"""", source)}
    logged |= {"session_opened", "session_resumed"}  # named by `_note_connection`
    names = re.findall(r"`([a-z]+_[a-z_]+)`(?:,? (?:and|or) `[a-z_]+`)* in the log", OPERATIONS)
    names += re.findall(r"`(session_[a-z_]+|room_[a-z_]+|task_[a-z_]+|flush_[a-z_]+)`", OPERATIONS)
    assert len(names) > 20
    assert not set(names) - logged - {"room_type"}, "room_type is an attribute"


LOADTESTING = (ROOT / "docs" / "loadtesting.md").read_text()


def test_every_option_of_a_swarm_is_documented() -> None:
    source = (ROOT / "loadtest" / "options.py").read_text()  # importing it would patch this process for gevent
    names = re.findall(r'option\(\s*"(--[a-z-]+)"', source)
    assert len(names) > 20
    for name in names:
        assert f"`{name}" in LOADTESTING or f" {name} " in LOADTESTING, name


def test_every_row_level_shape_and_exit_code_of_a_swarm_is_documented() -> None:
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", LOADTESTING, re.MULTILINE))
    assert rows >= set(TIMES)
    assert rows >= set(get_args(Shape))
    for name in (*SHARES, *COUNTS, *CORRECT):
        assert f"`{name}`" in LOADTESTING, name
    codes = {int(code) for code in re.findall(r"^\| (\d) \|", LOADTESTING, re.MULTILINE)}
    assert codes == {2, *EXIT_CODES.values()}


def test_rooms_of_the_state_guide_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", STATE, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        exec(
            compile(block, f"docs/state.md, block {number}", "exec", dont_inherit=True),
            {"__name__": f"guide_{number}"},
        )
