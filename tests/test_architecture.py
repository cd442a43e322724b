"""Who may know whom: layers, purity of decisions, where aiohttp and sleeping may stand; read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import crawler
from crawler.errors import POLICY, Reason

PACKAGE = Path(crawler.__file__).parent
LAYERS = {
    1: "model errors",
    2: "units urls names places fingerprints pace paces learning breaker keys frontier hostqueue retry redirect quota "
    "robots robotstext nofollow admission addresses watch codings settle feed tables tally bound job perhost hosts "
    "jobtext identity rows states statuses inbox picking penalties",
    3: "lines sources durable session wire guard resolver spool receive fetch bandwidth memory sinks.bodies "
    "sinks.jsonl schema rowstore endlog checkpoint commit folders jobfile jobformats jobyaml jobfaults progress report "
    "logs status",
    4: "wake intake ledger pipeline parts resume run plan preview",
    5: "cli shell flags demo demoapp demofaults demopages demosite __main__",
}
# What may know its peers within layers 2 and 3; from any other layer imports go down only.
PEERS = {
    "addresses": "urls",
    "admission": "hosts redirect robots robotstext urls",
    "feed": "urls fingerprints",
    "frontier": "hostqueue pace",
    "hostqueue": "pace",
    "hosts": "job pace perhost retry watch",
    "identity": "codings job",
    "job": "addresses names perhost places retry statuses tables units urls",
    "jobfile": "jobfaults jobformats",
    "jobformats": "jobyaml",
    "jobtext": "hosts job perhost places redirect retry urls",
    "pace": "breaker learning retry",
    "paces": "pace",
    "penalties": "pace retry settle",
    "perhost": "retry tables units urls",
    "picking": "statuses",
    "places": "urls",
    "quota": "retry",
    "redirect": "urls",
    "retry": "units",
    "robots": "retry robotstext",
    "settle": "quota redirect retry urls",
    "checkpoint": "durable endlog rowstore schema",
    "commit": "checkpoint sinks.bodies sinks.jsonl",
    "endlog": "rowstore schema",
    "fetch": "receive session spool",
    "guard": "resolver",
    "receive": "session spool",
    "rowstore": "schema",
    "session": "guard resolver wire",
    "folders": "durable",
    "report": "durable progress",
    "sinks.bodies": "durable",
    "sinks.jsonl": "durable",
    "sources": "lines",
    "spool": "durable",
    "status": "folders progress schema",
}
ROOTS = {"__init__", "sinks.__init__"}  # import nothing of ours, known to all
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
DECISIONS = LAYERS[2].split()
# Clocks, chance, files and the net: `now` and `rng` are arguments of a decision.
EFFECTS = {"asyncio", "aiofiles", "aiohttp", "logging", "os", "random", "shutil", "socket", "sqlite3", "subprocess"}
EFFECTS |= {"tempfile", "threading", "time"}


def modules() -> list[str]:
    return sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py"))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())


def imported(module: str) -> Iterator[tuple[str, str]]:
    """Each import, at any depth, as (module, name); the name is "" where the module itself is imported."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


def ours(module: str) -> set[str]:
    """The modules of this package that `module` imports."""
    found = set()
    for source, name in imported(module):
        if source.split(".")[0] == "crawler":
            below = source.removeprefix("crawler").removeprefix(".")
            inner = ".".join(filter(None, (below, name)))
            found.add(inner if inner in LAYER else below)
    return found - {"", "sinks"}


def called(module: str) -> Iterator[str]:
    """The name of everything that is called: `open`, `Path.open`, `asyncio.sleep`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_every_module_has_its_place() -> None:
    """A new module is put into a layer here, and one that is gone is taken out."""
    assert set(modules()) - ROOTS - set(LAYER) == set(), "put these into a layer"
    assert set(LAYER) - set(modules()) == set(), "these are gone"
    assert all(not ours(root) for root in ROOTS)


@pytest.mark.parametrize("module", sorted(LAYER))
def test_imports_go_down(module: str) -> None:
    """A module knows lower layers, and of its own layer only what the table grants (layers 1, 4, 5: any peer)."""
    layer = LAYER[module]
    peers = set(PEERS.get(module, "").split()) if layer in (2, 3) else {m for m in LAYER if LAYER[m] == layer}
    allowed = {name for name in LAYER if LAYER[name] < layer} | peers
    assert ours(module) - allowed == set()


def test_the_table_grants_no_more_than_is_used() -> None:
    """An edge that nobody needs any more is taken out of the table."""
    assert {module: set(peers.split()) - ours(module) for module, peers in PEERS.items()} == {m: set() for m in PEERS}


def test_sinks_do_not_know_each_other() -> None:
    """Each sink can be left out."""
    assert [peers for name, peers in PEERS.items() if name.startswith("sinks.") and "sinks." in peers] == []


def test_there_is_no_cycle() -> None:
    """The modules can be put into one order in which each knows earlier ones only."""
    waiting = {module: ours(module) for module in LAYER}
    while free := [module for module, needs in waiting.items() if not needs]:
        for module in free:
            del waiting[module]
        waiting = {module: needs - set(free) for module, needs in waiting.items()}
    assert waiting == {}


@pytest.mark.parametrize("module", DECISIONS)
def test_decisions_only_decide(module: str) -> None:
    """No await, no file, no clock, no chance, no log: a decision is the same for the same arguments."""
    kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert [node.lineno for node in ast.walk(tree(module)) if isinstance(node, kinds)] == []
    effects = {pair for pair in imported(module) if pair[0].split(".")[0] in EFFECTS}
    assert effects - {("random", "Random")} == set()  # the type of `rng`
    forbidden = ("open", "print", "input", "Random")
    assert [call for call in called(module) if call in forbidden or call.endswith((".now", ".utcnow", ".today"))] == []


def test_aiohttp_stands_at_the_edge() -> None:
    """The transport can be changed in two files."""
    users = {module for module in modules() for source, _ in imported(module) if source.split(".")[0] == "aiohttp"}
    assert {module for module in users if not module.startswith("demo")} == {"session", "wire"}


def test_only_the_wiring_sleeps() -> None:
    """Waiting is a deadline in the frontier; sleeping stands in the loops of the wiring alone."""
    users = {module for module in modules() if any(call.endswith("sleep") for call in called(module))}
    assert {module for module in users if not module.startswith("demo")} <= {"pipeline", "intake"}


def test_every_reason_has_its_policy() -> None:
    """A new reason cannot be forgotten in the table."""
    assert set(POLICY) == set(Reason)


@pytest.mark.parametrize("module", sorted(set(LAYER) - {"__main__"}))
def test_each_module_opens_with_what_it_is(module: str) -> None:
    """A docstring of 3 to 12 lines says what the module does, what it must not know, and its invariant."""
    text = ast.get_docstring(tree(module)) or ""
    assert 3 <= len(text.splitlines()) <= 12
    assert "nvariant" in text
