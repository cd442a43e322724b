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
    1: "model errors routes auth.scheme entry partial parcels links known",
    2: "units urls names places fingerprints pace paces learning breaker keys frontier hostqueue retry redirect "
    "quota robots robotstext nofollow admission addresses watch codings settle feed tables tally bound job "
    "perhost hosts jobtext identity rows states statuses inbox picking penalties patterns headertext jobinput "
    "jobrequest jobconnection jobauth jobsecrets jobtemplate bodytext multipart digests challenges charsets "
    "compose expect paging linkheader jmespaths cookies cookierules cookietext setcookie grants masking "
    "secretforms secretrefs proxies proxytext routing tokentext auth.apikey auth.awsfaults auth.awssigner "
    "auth.basic auth.bearer auth.digest auth.digestanswer auth.hmac auth.hmactemplate auth.netrc auth.oauth2 "
    "auth.plugin auth.sigv4 capture stamps records joboutput jobupload checks promises formats imageends windows "
    "mirrors ranges room warctext warcrecords cdxj visiting csvtext dock s3faults members openfiles warcread "
    "jobcrawl canon scope urlpatterns traps likeness readable htmlpage htmltags htmllinks hreftext refresh srcset "
    "csslinks feedlinks xmltext sitemap jsonlinks headerlinks treecost jobextract cssquery cssmatch extraction "
    "fieldtypes finding page pageformat discovery jobrun freshness history deadline allowance reasonglobs metrics "
    "schedule unittext crontext monitoraccess monitorfilter monitormetrics monitorrows monitorviews tags svg "
    "histogram examples gathering hostrows curve reportdata jobshown comparison reportstyle orders",
    3: "lines sources durable session wire guard resolver spool receive fetch bandwidth memory sinks.bodies "
    "sinks.jsonl schema rowstore endlog checkpoint commit folders jobfile jobformats jobyaml jobfaults progress "
    "report logs status authenticate awskeys connector cookiefiles exchange handshakes outgoing pools reading "
    "references secretcommand vault tls tokencache tokencall tokens tunnel upload wirefaults listening channel "
    "capturing sinks.frames series store recordlines tarcheck warccheck warcwriter warcindex sinks.tar sinks.csv "
    "sinks.warc sinks.parquet parquetrows rowgroups diskguard partfile resumption segments cargo shippinglog "
    "s3target fstarget targets flow filelimit callables pages bulk historylog recall copies joblock hook "
    "heartbeat standing interrupts crontabs monitorfiles monitorstate monitortails monitorcsv runlist "
    "reporttables reportlists reportpage control watchdog recordfiles runrows",
    4: "wake gates intake ledger settling following pipeline parts resume run plan preview credentials jars means "
    "authplan jobrate outlets uploads shipping verify exporting exportsource exportwarc opening working crawling past "
    "pruning timekeeping notices monitorrecords monitorwatch runrecords reporting diffing complaint controlling "
    "livestate steering rejoin",
    5: "cli shell flags demo demoapp demofaults demopages demosite __main__ library fetchall exportcommand "
    "croncommand monitor monitorapi monitorcommand monitordownload monitorsocket reportcommand diffcommand "
    "controlcommand",
}
# What may know its peers within layers 2 and 3; from any other layer imports go down only.
PEERS = {
    "addresses": "urls",
    "admission": "hosts redirect robots robotstext urls",
    "allowance": "jobrun reasonglobs",
    "auth.apikey": "challenges tables urls",
    "auth.basic": "challenges",
    "auth.bearer": "challenges",
    "auth.digest": "auth.digestanswer challenges urls",
    "auth.digestanswer": "challenges urls",
    "auth.hmac": "auth.hmactemplate challenges tables urls",
    "auth.hmactemplate": "urls",
    "auth.netrc": "challenges urls",
    "auth.oauth2": "grants tokentext",
    "auth.plugin": "challenges tables urls",
    "auth.sigv4": "auth.awsfaults auth.awssigner urls",
    "canon": "jobcrawl urls",
    "capture": "bodytext stamps units urls",
    "capturing": "channel flow session",
    "challenges": "urls",
    "channel": "session wirefaults",
    "checkpoint": "durable endlog historylog rowstore runrows schema shippinglog",
    "checks": "urls",
    "commit": "checkpoint durable sinks.frames sinks.jsonl sinks.parquet",
    "complaint": "progress report",
    "compose": "redirect",
    "connector": "guard tls tunnel wirefaults",
    "cookiefiles": "durable",
    "cookierules": "setcookie",
    "cookies": "cookierules setcookie",
    "cookietext": "cookierules urls",
    "copies": "spool",
    "crontabs": "durable",
    "csslinks": "charsets hreftext",
    "cssquery": "cssmatch urls",
    "deadline": "units",
    "discovery": "canon fingerprints jobcrawl records redirect robots scope traps urlpatterns urls",
    "diskguard": "wirefaults",
    "dock": "retry",
    "endlog": "rowstore schema",
    "exchange": "authenticate outgoing session",
    "expect": "charsets units urls",
    "extraction": "cssquery fieldtypes finding jobextract page units",
    "feed": "bodytext capture fingerprints urls",
    "feedlinks": "charsets hreftext xmltext",
    "fetch": "capturing copies diskguard exchange flow partfile reading receive resumption segments session spool",
    "fieldtypes": "stamps urls",
    "finding": "cssmatch cssquery fieldtypes jmespaths jobextract page urls",
    "folders": "durable joblock",
    "formats": "imageends windows",
    "freshness": "retry",
    "frontier": "hostqueue pace",
    "fstarget": "cargo",
    "gathering": "examples histogram",
    "grants": "retry urls",
    "guard": "resolver",
    "headerlinks": "hreftext linkheader nofollow refresh",
    "headertext": "tables",
    "hostqueue": "pace",
    "hostrows": "gathering tally",
    "hosts": "expect job jobconnection jobrequest orders pace patterns perhost retry watch",
    "htmllinks": "charsets csslinks hreftext htmltags nofollow refresh srcset",
    "htmlpage": "charsets htmltags treecost",
    "identity": "codings job",
    "imageends": "windows",
    "jmespaths": "urls",
    "job": "capture expect jobauth jobconnection jobcrawl jobextract jobinput joboutput jobrequest "
    "jobrun paging patterns perhost places retry units urls",
    "jobauth": "headertext patterns secretrefs tables units urls",
    "jobconnection": "addresses proxytext secretrefs units",
    "jobcrawl": "jmespaths urls",
    "jobextract": "cssquery fieldtypes jmespaths urls",
    "jobfile": "jobfaults jobformats",
    "jobformats": "jobyaml",
    "joboutput": "jobupload names units urls",
    "jobrequest": "bodytext headertext jobinput statuses tables urls",
    "jobrun": "reasonglobs secretrefs units",
    "jobsecrets": "job jobauth jobupload routing secretrefs",
    "jobshown": "job jobtext redirect secretrefs urls",
    "jobtext": "addresses bodytext hosts job jobauth jobconnection patterns perhost places redirect retry "
    "secretrefs urls",
    "jobupload": "addresses jobauth retry secretrefs units urls",
    "jsonlinks": "charsets hreftext jmespaths units urls",
    "masking": "secretforms",
    "mirrors": "urls",
    "monitormetrics": "metrics monitorviews",
    "monitorrows": "monitorviews",
    "monitorstate": "folders monitorfiles runrows schema",
    "monitorviews": "tally",
    "orders": "patterns units urls",
    "pace": "breaker learning retry",
    "paces": "pace",
    "page": "charsets htmlpage urls",
    "pageformat": "charsets sitemap",
    "pages": "callables exchange",
    "paging": "charsets jmespaths linkheader patterns units urls",
    "partfile": "durable",
    "patterns": "urls",
    "penalties": "pace retry settle",
    "perhost": "expect headertext jobconnection jobrequest retry units",
    "picking": "reasonglobs statuses",
    "places": "urls",
    "pools": "connector guard wire",
    "promises": "bodytext",
    "proxytext": "urls",
    "quota": "retry",
    "reading": "exchange pages session",
    "recall": "historylog schema",
    "receive": "diskguard flow partfile resumption segments session spool",
    "recordfiles": "durable parquetrows recordlines rowgroups sinks.jsonl",
    "records": "capture stamps urls",
    "redirect": "urls",
    "references": "secretcommand vault",
    "report": "durable progress",
    "reportdata": "curve examples gathering histogram history hostrows",
    "reportlists": "progress reporttables",
    "reportpage": "progress reportlists reporttables",
    "reporttables": "progress",
    "resolver": "filelimit",
    "resumption": "partfile session",
    "retry": "units",
    "robots": "retry robotstext",
    "routing": "jobconnection proxies proxytext secretrefs urls",
    "rowstore": "schema",
    "runlist": "folders runrows schema",
    "s3faults": "auth.awsfaults",
    "s3target": "cargo",
    "schema": "historylog",
    "scope": "jobcrawl urls",
    "segments": "diskguard exchange flow partfile resumption session",
    "series": "durable",
    "session": "bulk filelimit guard handshakes pools resolver wirefaults",
    "settle": "capture challenges freshness masking mirrors quota ranges records redirect retry urls",
    "sinks.bodies": "durable store",
    "sinks.csv": "durable",
    "sinks.frames": "durable",
    "sinks.jsonl": "durable",
    "sinks.parquet": "durable parquetrows recordlines rowgroups",
    "sinks.tar": "durable series",
    "sinks.warc": "durable series warccheck warcindex warcwriter",
    "sitemap": "charsets hreftext units xmltext",
    "sources": "lines",
    "spool": "partfile",
    "standing": "folders runlist",
    "status": "control folders progress runlist",
    "store": "durable",
    "svg": "tags",
    "tables": "bodytext capture promises urls",
    "tally": "histogram history",
    "targets": "cargo fstarget s3target",
    "tokencache": "durable",
    "tokencall": "flow session",
    "tokens": "tokencache",
    "tokentext": "grants",
    "traps": "jobcrawl scope urlpatterns urls",
    "treecost": "htmltags",
    "tunnel": "guard handshakes resolver tls",
    "unittext": "schedule",
    "warcindex": "durable",
    "warcread": "cdxj warctext",
    "warcrecords": "warctext",
    "warcwriter": "series",
    "watchdog": "logs",
    "wire": "connector tls upload",
    "wirefaults": "guard handshakes upload",
}
ROOTS = {"__init__", "auth.__init__", "sinks.__init__"}  # import nothing of ours at once, known to all
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
    return found - {"", "auth", "sinks"}


def called(module: str) -> Iterator[str]:
    """The name of everything that is called: `open`, `Path.open`, `asyncio.sleep`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_every_module_has_its_place() -> None:
    """A new module is put into a layer here, and one that is gone is taken out."""
    assert set(modules()) - ROOTS - set(LAYER) == set(), "put these into a layer"
    assert set(LAYER) - set(modules()) == set(), "these are gone"
    assert {root for root in ROOTS if ours(root)} == {"__init__"}
    assert ours("__init__") == {"errors", "fetchall", "library", "model", "page"}
    at_once = [node.module for node in tree("__init__").body if isinstance(node, ast.ImportFrom)]
    assert [module for module in at_once if (module or "").startswith("crawler")] == []  # each when it is asked for


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
    """The transport can be changed in the files behind `session`."""
    users = {module for module in modules() for source, _ in imported(module) if source.split(".")[0] == "aiohttp"}
    behind = {"session", "pools", "connector", "wire", "upload", "channel", "wirefaults"}
    assert {module for module in users if not module.startswith(("demo", "monitor"))} == behind  # these are servers


def test_no_credential_stands_on_a_session() -> None:
    """aiohttp carries what a session has to whatever host a redirect names: so ours has nothing, and redirects nothing.

    No auth, no cookies, no headers, no proxy, no trust in the environment, for sessions and their requests alike.
    """
    forbidden = {"auth", "cookies", "headers", "proxy", "proxy_auth", "trust_env", "allow_redirects"}
    sessions, requests = [], []
    for module in ("session", "pools", "connector", "wire", "upload"):
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ClientSession"):
                sessions.append({keyword.arg for keyword in node.keywords})
                jar = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "cookie_jar"]
                assert jar == ["aiohttp.DummyCookieJar()"]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ClientRequest"):
                requests.append({keyword.arg for keyword in node.keywords})
    assert sessions
    assert requests
    assert [given & forbidden for given in sessions] == [set()] * len(sessions)
    assert [given & (forbidden - {"headers", "proxy"}) for given in requests] == [set()] * len(requests)


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
