"""Rules for errors, queues and deadlines that hold for the whole of the server, its matchmaker and its load tests.

Each exception to a rule is listed here with its reason; one that is not needed any more fails, too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("server", "services", "matchmaking", "loadtest", "testing")
BROAD = ("Exception", "BaseException", "")
REPORTS = ("exception", "critical", "error")
"""Methods of a logger that report an error."""

Found = Iterator[tuple[str, int]]
Rule = Callable[[ast.Module, list[str]], Found]


def called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def scopes(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield every node with the name of the innermost function or class that holds it."""

    def walk(node: ast.AST, scope: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            yield scope, child
            is_scope = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from walk(child, child.name if is_scope else scope)

    yield from walk(tree, "")


def broad_handlers(tree: ast.Module, lines: list[str]) -> Found:
    """Handlers of every exception that neither raise again nor report what they caught."""
    for scope, node in scopes(tree):
        if isinstance(node, ast.ExceptHandler) and (ast.unparse(node.type) if node.type else "") in BROAD:
            inner = [one for statement in node.body for one in ast.walk(statement)]
            if not any(isinstance(one, ast.Raise) or called(one).rpartition(".")[2] in REPORTS for one in inner):
                yield scope, node.lineno


def silent_handlers(tree: ast.Module, lines: list[str]) -> Found:
    """Handlers that do nothing, without a comment that says why."""
    for scope, node in scopes(tree):
        if isinstance(node, ast.ExceptHandler) and all(isinstance(one, ast.Pass | ast.Continue) for one in node.body):
            last = node.body[-1].end_lineno or node.lineno
            if not any("#" in line for line in lines[node.lineno - 1 : last]):
                yield scope, node.lineno


def broad_suppress(tree: ast.Module, lines: list[str]) -> Found:
    """`suppress` of every exception, or of the cancellation of the waiting task."""
    for scope, node in scopes(tree):
        if isinstance(node, ast.Call) and called(node).endswith("suppress"):
            names = {ast.unparse(argument).rpartition(".")[2] for argument in node.args}
            if names & {"Exception", "BaseException", "CancelledError"}:
                yield scope, node.lineno


def tasks_without_an_owner(tree: ast.Module, lines: list[str]) -> Found:
    """Tasks that nothing keeps, so that their errors are lost, and they may be collected while they run."""
    for scope, node in scopes(tree):
        owner, _, name = called(node.value).rpartition(".") if isinstance(node, ast.Expr) else ("", "", "")
        if name in ("create_task", "ensure_future") and owner != "group":  # a TaskGroup owns its tasks
            yield scope, node.lineno


def queues_without_a_bound(tree: ast.Module, lines: list[str]) -> Found:
    """Queues that grow as long as they are fed."""
    for scope, node in scopes(tree):
        name = called(node).rpartition(".")[2]
        if isinstance(node, ast.Call) and name in ("Queue", "PriorityQueue", "SimpleQueue", "deque"):
            keywords = {keyword.arg for keyword in node.keywords}
            is_bounded = "maxlen" in keywords or "maxsize" in keywords or (name != "deque" and node.args)
            if not is_bounded:
                yield scope, node.lineno


def calls_without_a_deadline(tree: ast.Module, lines: list[str]) -> Found:
    """Calls to the network or to other programs that may wait for ever."""
    timed = {
        "urlopen": "timeout",
        "ClientSession": "timeout",
        "create_connection": "timeout",
        "run": "timeout",
        "check_output": "timeout",
        "check_call": "timeout",
    }
    for scope, node in scopes(tree):
        owner, _, name = called(node).rpartition(".")
        if not isinstance(node, ast.Call) or name not in timed:
            continue
        if name in ("run", "check_output", "check_call") and "subprocess" not in owner:
            continue
        keywords = {keyword.arg for keyword in node.keywords}
        if timed[name] not in keywords and not (name == "create_connection" and len(node.args) > 1):
            yield scope, node.lineno


def connections_outside_a_timeout(tree: ast.Module, lines: list[str]) -> Found:
    """Awaits of a new connection, or of a child process, outside of `async with ...timeout`."""
    waits = (
        "open_connection",
        "create_connection",
        "communicate",
        "drain",
        "wait_closed",
        "readuntil",
        "readexactly",
    )

    def walk(node: ast.AST, scope: str, *, has_timeout: bool) -> Found:
        for child in ast.iter_child_nodes(node):
            inner = has_timeout
            if isinstance(child, ast.AsyncWith):
                inner = inner or any("timeout" in called(item.context_expr).lower() for item in child.items)
            name = called(child.value) if isinstance(child, ast.Await) else ""
            is_wait = name.rpartition(".")[2] in waits and name not in ("parts.lease_keeper.drain", "shard.drain")
            if is_wait and not inner:
                yield scope, child.lineno
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, child.name if is_function else scope, has_timeout=inner and not is_function)

    yield from walk(tree, "", has_timeout=False)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        broad_handlers,
        silent_handlers,
        broad_suppress,
        tasks_without_an_owner,
        queues_without_a_bound,
        calls_without_a_deadline,
        connections_outside_a_timeout,
    )
}
ALLOWED: dict[str, dict[str, str]] = {
    "broad_handlers": {
        "server/recording/entries.py:text_of": "a game's `__str__` that raises; the entry still names the class",
        "server/recording/recording_writer.py:run": "in a thread; its caller receives the exception",
        "server/rooms/hook_call.py:describe_value": "a part of an error report, which says that the repr failed",
        "server/storage/write_behind.py:_write": "for one world `_reject_failed` logs it; for several it splits",
        "server/storage/write_behind.py:_pack": "in a thread; its caller logs and counts what it returns",
        "testing/room_description.py:describe_state": "a part of the report of a failed test, which names the error",
        "server/viewer/worker.py:_run": "in a thread; the caller of `run` receives the exception",
    },
    "queues_without_a_bound": {
        "server/edge/admission.py:__init__": "the acceptor checks `is_full` first",
        "server/replication/entity_ids.py:__init__": "an id is in it once; a table has at most 65,536 entities",
        "server/replication/entity_ids.py:released": "holds the ids of another instance",
        "server/rooms/outbox.py:push": "it drops the oldest above EVENTS_MAX and EVENT_BYTES_MAX",
        "server/rooms/outbox.py:restore": "holds what an outbox held",
        "server/rooms/outbox.py:_renumber": "holds what the outbox held",
        "matchmaking/script_runner.py:__init__": "run refuses calls above WAITING_CALLS_MAX",
        "matchmaking/queue/agent.py:__init__": "enqueue refuses players above PLAYERS_MAX",
        "testing/simulated_network.py:__init__": "every message leaves it after its delay, or with the connection",
        "testing/ledger_faults.py:__init__": "holds what a test has planned",
        "testing/memory_ledger.py:__init__": "holds the refusals of a test, as the ledger does",
    },
}


@pytest.mark.parametrize("name", RULES)
def test_the_rule_holds_everywhere_but_where_a_reason_is_listed(name: str) -> None:
    allowed = ALLOWED.get(name, {})
    found: dict[str, int] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            for scope, line in RULES[name](ast.parse(text), text.splitlines()):
                found[f"{path.relative_to(ROOT)}:{scope}"] = line
    unlisted = {place: line for place, line in found.items() if place not in allowed}
    assert not unlisted, RULES[name].__doc__
    assert not allowed.keys() - found.keys(), "not needed any more"


BREACHES = {
    "broad_handlers": ["try: f()\nexcept Exception: x = 1", "try: f()\nexcept: pass"],
    "silent_handlers": ["try: f()\nexcept KeyError:\n  pass", "for x in y:\n try: f()\n except KeyError: continue"],
    "broad_suppress": ["with suppress(Exception): f()", "with contextlib.suppress(asyncio.CancelledError): f()"],
    "tasks_without_an_owner": ["asyncio.create_task(f())", "loop.create_task(f())"],
    "queues_without_a_bound": ["q = asyncio.Queue()", "q = deque()", "q = collections.deque([1])"],
    "calls_without_a_deadline": ["urlopen(url)", "aiohttp.ClientSession()", "subprocess.run(['x'])"],
    "connections_outside_a_timeout": [
        "async def f():\n await asyncio.open_connection(h, p)",
        "async def f():\n async with asyncio.timeout(1):\n  async def g():\n   await writer.drain()",
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BREACHES.items() for text in texts])
def test_a_violation_is_found(name: str, text: str) -> None:
    assert list(RULES[name](ast.parse(text), text.splitlines()))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broad_handlers", "try: f()\nexcept Exception:\n log.exception('failed')"),
        ("broad_handlers", "try: f()\nexcept BaseException:\n g()\n raise"),
        ("silent_handlers", "try: f()\nexcept KeyError:\n  pass  # it has ended"),
        ("tasks_without_an_owner", "group.create_task(f())"),
        ("tasks_without_an_owner", "task = asyncio.create_task(f())"),
        ("queues_without_a_bound", "q = asyncio.Queue(10)\nr = deque(maxlen=3)"),
        ("calls_without_a_deadline", "uvloop.run(work)\nurlopen(url, timeout=1)"),
        ("connections_outside_a_timeout", "async def f():\n async with asyncio.timeout(1):\n  await w.drain()"),
    ],
)
def test_permitted_constructs_are_not_reported(name: str, text: str) -> None:
    assert not list(RULES[name](ast.parse(text), text.splitlines()))
