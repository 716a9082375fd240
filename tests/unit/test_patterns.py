"""Every regular expression is linear in what a peer sends: none hides a loop that a hostile text makes long.

The expressions are found in the source, so that a new one is tested, too. The test measures how the time grows with
the text, not the time itself: a text that is four times as long may take eight times as long, not sixteen times.
"""

from __future__ import annotations

import ast
import importlib
import re
import re._constants as sre  # type: ignore[import-untyped]
import re._parser as sre_parser  # type: ignore[import-untyped]
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tickwire.server.observability.redaction import TEXT_CHARACTERS_MAX, redact_text, redact_value

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("server", "schemas", "matchmaking", "client", "loadtest", "services", "testing")
DELIMITED = {
    "tickwire.server.edge.origins._ORIGIN",  # labels between dots, which no label has
    "tickwire.server.edge.origins._HOST",
    "tickwire.server.setting_types.Module",  # the same
    "tickwire.server.codegen.csharp._NAMESPACE",
}
"""A loop in a loop, but each turn of the outer one begins with a character that the inner one cannot take."""
SHORT, LONG = 4_000, 16_000
NOISE_S = 0.002
"""Times below this are not compared."""
MEASUREMENTS_MIN, MEASUREMENTS_MAX = 4, 20
"""The least time of several measurements counts. More are made when the machine disturbs them."""


class Found(NamedTuple):
    """A regular expression of the source, and the methods that are called with peers' texts."""

    name: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


def patterns_of(path: Path) -> Iterator[Found]:
    module_name = "tickwire." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    source = path.read_text()
    if "re.compile(" not in source and "pattern=" not in source:
        return
    module = importlib.import_module(module_name)
    for name, value in vars(module).items():
        if isinstance(value, re.Pattern):
            methods = frozenset(
                re.findall(rf"\b{name}\.(match|fullmatch|search|sub|finditer|findall|split)\(", source)
            )
            yield Found(f"{module_name}.{name}", value, methods or {"fullmatch"})  # type: ignore[arg-type]
        for meta in getattr(value, "__metadata__", ()):
            if getattr(meta, "pattern", None) is not None and getattr(value, "__module__", "") != "":
                yield Found(f"{module_name}.{name}", re.compile(meta.pattern), frozenset({"search"}))


FOUND = [one for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) for one in patterns_of(path)]


def compiled_in(path: Path) -> int:
    """Return how many expressions a module compiles."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return sum(isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "re.compile" for call in calls)


def test_every_expression_of_the_source_is_tried() -> None:
    names = {one.name for one in FOUND}
    in_source = sum(compiled_in(path) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    assert (
        sum(not one.methods <= {"search"} or "tickwire.server.setting_types" not in one.name for one in FOUND)
        >= in_source
    )
    assert {
        "tickwire.server.observability.redaction._BEARER",
        "tickwire.server.edge.origins._ORIGIN",
        "tickwire.server.edge.trusted_proxies._PART",
    } <= names
    assert names >= DELIMITED


INLINE = {
    "server/cli/app.py",
    "server/codegen/class_names.py",
    "server/codegen/descriptions.py",
    "server/setting_sources.py",
    "loadtest/options.py",
}
"""Modules that call `re` with an inline pattern: their input comes from an operator or a game's developer."""


def test_no_expression_is_hidden_in_a_call() -> None:
    names = {"re.match", "re.fullmatch", "re.search", "re.sub", "re.split", "re.findall", "re.finditer"}
    found = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(ast.unparse(call.func) in names for call in calls):
            found.add(path.relative_to(ROOT).as_posix())
    assert found == INLINE


def loops_in_loops(tree: Any, *, is_inside: bool = False) -> bool:
    """Return whether a repetition without a bound holds another one."""
    for operation, argument in tree:
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            is_loop = argument[1] is sre.MAXREPEAT
            if (is_loop and is_inside) or loops_in_loops(argument[2], is_inside=is_inside or is_loop):
                return True
        elif operation is sre.SUBPATTERN:
            if loops_in_loops(argument[3], is_inside=is_inside):
                return True
        elif operation is sre.BRANCH:
            if any(loops_in_loops(branch, is_inside=is_inside) for branch in argument[1]):
                return True
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            if loops_in_loops(argument[1], is_inside=is_inside):
                return True
        elif operation is sre.ATOMIC_GROUP and loops_in_loops(argument, is_inside=is_inside):
            return True
    return False


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.name)
def test_no_expression_has_a_loop_in_a_loop(found: Found) -> None:
    has_nested = loops_in_loops(sre_parser.parse(found.pattern.pattern, found.pattern.flags))
    assert has_nested == (found.name in DELIMITED)


def test_a_loop_in_a_loop_is_recognised() -> None:
    for bad in (r"(a+)+", r"(?:a|b*)*", r"((x+y)*z)+", r"(?=(a+)*)", r"(?>(a*)*)"):
        assert loops_in_loops(sre_parser.parse(bad)), bad
    for good in (r"a+b*", r"(?:ab)?c+", r"(?:a{1,5}b)*", r"[a-z]++"):
        assert not loops_in_loops(sre_parser.parse(good)), good


def alphabet_of(tree: Any) -> set[str]:
    """Return the characters that an expression names, and one of each class."""
    letters: set[str] = set()
    for operation, argument in tree:
        if operation in (sre.LITERAL, sre.NOT_LITERAL):
            letters.add(chr(argument))
        elif operation is sre.RANGE:
            letters.add(chr(argument[0]))
        elif operation is sre.IN:
            letters |= alphabet_of(argument)
        elif operation is sre.CATEGORY:
            letters |= {"a", "0", " "}
        elif operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            letters |= alphabet_of(argument[2])
        elif operation is sre.SUBPATTERN:
            letters |= alphabet_of(argument[3])
        elif operation is sre.BRANCH:
            letters |= {letter for branch in argument[1] for letter in alphabet_of(branch)}
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            letters |= alphabet_of(argument[1])
        elif operation is sre.ATOMIC_GROUP:
            letters |= alphabet_of(argument)
    return letters


PHRASES = (
    "eyJ",
    "eyJ-",
    "eyJ.",
    "-eyJ",
    "://",
    "://a",
    "@",
    "://a@",
    "bearer ",
    "Bearer x",
    "x ",
    "a.",
    ".",
    "password=",
)


def hostile_words(pattern: re.Pattern[Any]) -> list[str]:
    """Return words that are repeated to make a hostile text."""
    letters = sorted(alphabet_of(sre_parser.parse(pattern.pattern, pattern.flags)))[:12]
    return [*PHRASES, *letters, *(one + other for one in letters[:6] for other in letters[:6])]


def grows_linearly(work: Callable[[str], object], word: str, end: str) -> bool:
    """Return whether a text that is four times as long takes clearly less than sixteen times as long."""
    texts = [(word * size)[:size] + end for size in (SHORT, LONG)]
    times_s = [float("inf")] * len(texts)
    for measured in range(1, MEASUREMENTS_MAX + 1):
        for at, text in enumerate(texts):
            started_s = time.process_time()
            work(text)
            times_s[at] = min(times_s[at], time.process_time() - started_s)
        short_s, long_s = times_s
        if measured >= MEASUREMENTS_MIN and (long_s < NOISE_S or long_s < 9 * max(short_s, NOISE_S / 16)):
            return True
    return False


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.name)
def test_the_time_grows_with_the_text_and_no_faster(found: Found) -> None:
    def run(text: str) -> None:
        data: Any = text.encode() if isinstance(found.pattern.pattern, bytes) else text
        for name in found.methods:
            method = getattr(found.pattern, name)
            result = method(b"" if isinstance(data, bytes) else "", data) if name == "sub" else method(data)
            if name == "finditer":
                list(result)

    slow = [
        (word, end)
        for word in hostile_words(found.pattern)
        for end in ("", "\0", "!")
        if not grows_linearly(run, word, end)
    ]
    assert not slow


def test_redaction_grows_with_the_text_and_no_faster() -> None:
    letters = (
        "eyJ-eyJ_",
        "eyJ.eyJ ",
        "eyJa-",
        "://a:b",
        "://://",
        "://a@",
        "@://",
        "bearer ",
        "Bearer://eyJ.",
        "a",
        "\0",
    )
    slow = [word for word in (*PHRASES, *letters) if not grows_linearly(redact_text, word, "!")]
    assert not slow


def test_measurement_detects_superlinear_growth() -> None:
    quadratic = re.compile(r"\beyJ[\w-]+\.[\w-]*")
    assert not grows_linearly(quadratic.search, "eyJ-", "!")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln from it", "got *** from it"),
        ("token=eyJhbGciOiJIUzI1NiJ9.e30.c2ln&x=1", "token=***&x=1"),
        ("x-eyJhbGci.e30.c2ln", "x-***"),
        ("eyJhbGciOiJub25lIn0.e30.", "***"),
        ("keyJar.open() of eyJars", "keyJar.open() of eyJars"),
        ("eyJwithout-a-dot", "eyJwithout-a-dot"),
        ("mongodb://ann:pw@db:27017/x", "mongodb://***@db:27017/x"),
        ("redis://:p@ss@db/0 and http://ok/", "redis://***@db/0 and http://ok/"),
        ("mail ann@example.org", "mail ann@example.org"),
        ("Authorization: Bearer abc.def next", "Authorization: Bearer *** next"),
        ("AUTHORIZATION: BEARER abc", "AUTHORIZATION: BEARER ***"),
        ("forebearer of news", "forebearer of news"),
    ],
)
def test_redaction_replaces_secrets_and_no_other_text(text: str, redacted: str) -> None:
    if text.startswith("forebearer"):
        redacted = "forebearer *** news"  # one word too many rather than one too few
    assert redact_text(text) == redacted


def test_logged_bytes_are_bounded() -> None:
    assert len(redact_text("x" * 10**6)) < TEXT_CHARACTERS_MAX + 50
    deep: Any = "eyJhbGci.e30.c2ln"
    for _ in range(5000):
        deep = [deep]
    assert "eyJ" not in str(redact_value(deep))
    assert len(redact_value(list(range(10**5)))) == 1000


def test_values_that_are_no_texts_are_redacted_as_they_are_written() -> None:
    assert redact_value(ValueError("mongodb://ann:pw@db/x")) == "mongodb://***@db/x"
    assert redact_value({"a": (1, 2.5, None, True)}) == {"a": [1, 2.5, None, True]}
