"""Job files: what loads, and how errors are told."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from pydantic import BaseModel

from crawler.errors import JobError
from crawler.job import Job
from crawler.jobfile import load
from crawler.jobinput import expand
from crawler.jobtemplate import template
from crawler.jobtext import dumps
from crawler.places import toml_lines

MINIMAL = 'name = "t"\n[input]\nurls = ["https://e.org/"]\n'


def write(folder: Path, text: str, name: str = "job.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(folder: Path, text: str, name: str = "job.toml", sets: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(JobError) as caught:
        load(write(folder, text, name), sets)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


def test_all_errors_at_once_in_their_order(tmp_path: Path) -> None:
    """Every problem is told with its line and the nearest right key, sorted by line."""
    text = 'name = "x y"\n[input]\nurls = ["https://e.org/"]\n[limits]\nwokers = 3\nrate = 5\n'
    text += '[timeouts]\nread = "5 parsecs"\n'
    told = problems(tmp_path, text)
    assert [problem.split(":")[1] for problem in told] == ["1", "5", "6", "8"]
    assert told[1] == "job.toml:5: limits.wokers: unknown key; did you mean 'workers'?"
    assert "has no unit" in told[2]
    assert "is not a duration" in told[3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 't'\n[input]\n", "no input"),
        (MINIMAL + "[output]\nlayout = '../x'\n", "layout"),
        (MINIMAL + "[request]\nheaders = { 'X Y' = '1' }\n", "header"),
        (MINIMAL + "[request]\nmethod = 'FETCH'\n", "GET"),
        ("name = 't'\n[input]\ntemplate = 'https://e.org/{pgae}'\nvars = { page = '1..2' }\n", "did you mean 'page'"),
        ("name = 't'\n[input]\nfiles = ['url.txt']\n", "did you mean 'urls.txt'"),
        ("name = \n", "line 1"),
        (MINIMAL + "[request]\ncontact = 'me'\n", "request.contact: 'me' is no e-mail address or http(s) URL"),
        (MINIMAL + "[request]\ncontact = 'https://e.org/(me)'\n", "is no e-mail address"),
        (
            MINIMAL + "[limits]\npoliteness = 'site'\n",
            "limits.politeness: 'site' is unknown; known here: host, domain, ip",
        ),
        (MINIMAL + "[limits]\nmemory = '1B'\n", "limits.memory"),
        (MINIMAL + "[limits]\nmin_rate_per_host = 1\n", "limits.min_rate_per_host: 1 has no unit"),
        (MINIMAL + "[breaker]\ngive_up = 15\n", "breaker.give_up: 15 has no unit"),
        (MINIMAL + "[connection]\nresolve = { a = 'b' }\n", "is not an IP address"),
        (MINIMAL + "[connection]\nresolve = { 'a/b' = '::1' }\n", "is not a host name"),
        (MINIMAL + "[output]\ndir = 'a\0b'\n".replace("\0", "\\u0000").replace("'", '"'), "cannot name a folder"),
        ("name = 't'\ninput = 3\n", "input: is not a table"),
        (MINIMAL + "[request.params]\na = [[1]]\n", "request.params.a: is not text, a number, true, false, or a list"),
        (MINIMAL + "[hosts]\na = 3\n", "hosts.a: is not a table"),
        (MINIMAL + "[hosts.a]\nper_hots = 3\n", "hosts.a.per_hots: unknown key; did you mean 'per_host'?"),
        (MINIMAL + "[hosts.a.retry.backoff]\nmax = 3\n", "hosts.a.retry.backoff.max: 3 has no unit"),
        (MINIMAL + "[hosts.a.retry]\nattemps = 3\n", "did you mean 'attempts'?"),
        (MINIMAL + "[hosts.a]\n[hosts.A]\n", "hosts: 'A' is the same as 'a'"),
        (MINIMAL + "'[key]' = 3\n", "unknown key"),
        ("name = 't'\n[input]\ntemplate = '{a}'\nvars = { a = '1..9 step 0' }\n", "is not a range"),
        ("name = 't'\n[input]\ntemplate = '{a}'\nvars = { a = '1..%s' }\n" % ("9" * 5000), "is not a range"),
    ],
)
def test_each_fault_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong is said in words that help."""
    (tmp_path / "urls.txt").write_text("https://e.org/\n")
    assert said in " ".join(problems(tmp_path, text))


def test_extends_merges_table_by_table(tmp_path: Path) -> None:
    """The file wins over its base, key by key; --set wins over both; an error names the file it stands in."""
    write(tmp_path, "[limits]\nworkers = 5\nper_host = 3\n[retry]\nbackoff = { factor = 3.0 }\n", "base.toml")
    path = write(tmp_path, 'extends = "base.toml"\n' + MINIMAL + "[limits]\nworkers = 7\n")
    job = load(path, ["limits.rate=5/s", "retry.backoff.initial=1s"]).job
    assert (job.limits.workers, job.limits.per_host, job.limits.rate) == (7, 3, 5.0)
    assert (job.retry.backoff.factor, job.retry.backoff.initial) == (3.0, 1.0)
    write(tmp_path, "[limits]\nwurkers = 5\n", "base.toml")
    with pytest.raises(JobError, match=r"base\.toml:2: limits\.wurkers"):
        load(path)


def test_a_circle_of_extends_is_refused(tmp_path: Path) -> None:
    """Two files that extend each other are an error, not an endless loop, however they are called."""
    write(tmp_path, f'extends = "../{tmp_path.name}/job.toml"\n', "base.toml")
    assert "extends itself" in problems(tmp_path, 'extends = "base.toml"\n' + MINIMAL)[0]


def test_a_chain_of_extends_ends(tmp_path: Path) -> None:
    """A long chain is refused before it is a deep recursion."""
    for number in range(30):
        write(tmp_path, f'extends = "{number + 1}.toml"\n', f"{number}.toml")
    with pytest.raises(JobError, match="more than 20 files extend each other"):
        load(tmp_path / "0.toml")


@pytest.mark.parametrize("name", ["a\\u0000b", "x" * 5000, "."])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    """NUL, an overlong name, a folder: each a sentence at its key, in extends and in input.files."""
    assert "job.toml:1: extends: '" in problems(tmp_path, f'extends = "{name}"\n' + MINIMAL)[0]
    assert "job.toml:3: input.files: '" in problems(tmp_path, f'name = "t"\n[input]\nfiles = ["{name}"]\n')[0]


def test_the_file_that_says_the_wrong_thing_is_named(tmp_path: Path) -> None:
    """Where two files have the same table, the one that has the wrong key is told, not the topmost."""
    write(tmp_path, '[hosts."a.b"]\nper_host = 0\n', "base.toml")
    told = problems(tmp_path, 'extends = "base.toml"\n' + MINIMAL + '[hosts."a.b"]\nadaptive = false\n')
    assert told == ['base.toml:2: hosts."a.b".per_host: 0: input should be greater than or equal to 1']


def test_many_faults_are_told_in_part(tmp_path: Path) -> None:
    """Nobody reads a hundred thousand sentences, and wording them takes time."""
    told = problems(tmp_path, MINIMAL + "".join(f"k{number} = 1\n" for number in range(5000)))
    assert len(told) == 101
    assert told[-1].endswith("more")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits.rate", "write it like 'limits.rate=5/s'"),
        ("=5", "write it like"),
        ("limits=3", "limits: is not a table"),
        ("limits.workers=0x" + "f" * 50, "is a larger number than 64 bits hold"),
        ("limits.workers=" + "9" * 5000, "limits.workers"),
        ("request.json=nan", "is not a number that can be used"),
        ("a." * 5000 + "b=1", "is nested more than 50 deep"),
        ("request.json=" + "[" * 5000 + "]" * 5000, "request.json"),
        ("[key]=", "unknown key"),
        ("a\nb=1", "unknown key"),
    ],
)
def test_each_wrong_set_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    """Whatever stands in --set ends in words, or is taken as text."""
    if text.startswith("request.json=["):
        assert load(write(tmp_path, MINIMAL), [text]).job.request.json_body == text.removeprefix("request.json=")
    else:
        assert said in problems(tmp_path, MINIMAL, sets=(text,))[0]


def test_set_reaches_hosts(tmp_path: Path) -> None:
    """A part with dots of its own stands in quotes, as in the file."""
    job = load(write(tmp_path, MINIMAL), ['hosts."*.e.org:8080".retry.attempts=2', "hosts.'[::1]'.max_body=1kB"]).job
    assert job.hosts["*.e.org:8080"].retry.attempts == 2
    assert job.hosts["[::1]"].max_body == 1000


def test_yaml_and_json_make_the_same_job(tmp_path: Path) -> None:
    """All three formats load into one model, YAML errors have lines as well."""
    toml = load(write(tmp_path, MINIMAL)).job
    yaml = load(write(tmp_path, "name: t\ninput:\n  urls: [https://e.org/]\n", "job.yaml")).job
    json = load(write(tmp_path, '{"name": "t", "input": {"urls": ["https://e.org/"]}}', "job.json")).job
    assert toml == yaml == json
    bad = problems(tmp_path, "name: t\ninput:\n  urls: [https://e.org/]\n  dedup: true\n", "bad.yaml")
    assert bad == ["bad.yaml:4: input.dedup: unknown key; did you mean 'dedupe'?"]


def test_the_effective_job_loads_back(tmp_path: Path) -> None:
    """What check prints, and fetch saves, is the same job again."""
    text = (
        MINIMAL
        + '[request]\nheaders = { "X-A" = "a\\"b" }\njson = { a = [1, { b = "ü" }] }\n[limits]\nrate = "30/min"\n'
        + '[connection]\nresolve = { "e.org:80" = "[::1]:81" }\n'
        + '[hosts."*.e.org"]\nretry = { backoff = { max = "3s" } }\n'
        + '[hosts."[::1]:8080"]\nmax_body = "1kB"\nheaders = { "X.y" = "z" }\n'
    )
    job = load(write(tmp_path, text)).job
    assert load(write(tmp_path, dumps(job), "again.toml")).job == job


def test_the_template_names_every_key(tmp_path: Path) -> None:
    """A new key must be told to whoever begins; the template itself is a valid job."""
    text = template("begin")
    assert load(write(tmp_path, text)).job.name == "begin"

    def keys(model: type[BaseModel]) -> set[str]:
        found = set()
        for name, field in model.model_fields.items():
            found.add(field.alias or name)
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                found |= keys(field.annotation)
        return found

    missing = {key for key in keys(Job) if f"{key} =" not in text and f"[{key}]" not in text and f"[{key}." not in text}
    assert missing == set()


def test_the_readme_names_every_key() -> None:
    """The job reference is complete."""
    text = (Path(__file__).parent.parent / "README.md").read_text()
    for section, field in Job.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, inner in kind.model_fields.items():
                assert f"`{section}.{inner.alias or name}`" in text, f"{section}.{name}"


def test_lines_are_found_whatever_stands_between() -> None:
    """Strings and arrays that span lines, comments and dotted keys do not shift the count."""
    text = 'a = """\n[no]\nx = 1\n"""\n# b = 1\n[t]\nl = [\n  "k = 2", # ]\n]\nd.e = 3\n["q.r"]\ns = {u = 1}\n'
    lines = toml_lines(text)
    assert lines == {("a",): 1, ("t",): 6, ("t", "l"): 7, ("t", "d", "e"): 10, ("q.r",): 11, ("q.r", "s"): 12}
    text = 'a = """x\\"""\n[no]\n"""\nb = ""\n[hosts."[::1]:81"]\nc = 1\n'
    assert toml_lines(text) == {("a",): 1, ("b",): 4, ("hosts", "[::1]:81"): 5, ("hosts", "[::1]:81", "c"): 6}


def test_an_unchanged_job_has_no_changes(tmp_path: Path) -> None:
    """Held against what a checkpoint keeps of it, tables of hosts and keys with an alias included."""
    text = MINIMAL + '[request]\njson = { a = 1 }\n[hosts."a.b"]\nrequest = { json = { b = 2 } }\n'
    text += (
        'expect = { json = true }\nconnection = { proxy = { url = "http://p:1", user = "u", password = "env:P" } }\n'
    )
    job = load(write(tmp_path, text)).job
    assert job.changes(orjson.loads(job.model_dump_json())) == ([], [])


def test_changes_are_told_by_what_they_touch(tmp_path: Path) -> None:
    """Headers of [hosts] count as what is fetched, like those of [request]; limits may change at any time."""
    old = load(write(tmp_path, MINIMAL + '[hosts."a.b"]\nper_host = 2\nheaders = { X-A = "1" }\n')).job
    text = MINIMAL + '[limits]\nworkers = 3\n[output]\nlayout = "mirror"\n[hosts."a.b"]\nheaders = { X-A = "2" }\n'
    new = load(write(tmp_path, text + "[hosts.c]\nretry = { attempts = 2 }\nheaders = { X-B = '1' }\n")).job
    content, other = new.changes(old.to_data())
    assert content == ['hosts."a.b".headers.X-A', "hosts.c.headers.X-B", "output.layout"]
    assert other == ['hosts."a.b".per_host', "hosts.c.retry.attempts", "limits.workers"]


def test_changes_of_requests_are_told_apart_from_those_of_credentials(tmp_path: Path) -> None:
    """Paging, [expect] and what hosts ask for say what is fetched; [auth], [cookies] and ways say only how."""
    old = load(write(tmp_path, MINIMAL + '[auth.a]\ntype = "bearer"\ntoken = "env:A"\nhosts = ["a.b"]\n')).job
    text = MINIMAL + '[auth.a]\ntype = "bearer"\ntoken = "env:B"\nhosts = ["a.b"]\n[cookies]\njar = true\n'
    text += '[auth.b]\ntype = "netrc"\nhosts = ["b.c"]\n[paging]\nnext = "link"\n[expect]\njson = true\n'
    text += '[request]\nform = { a = "1" }\n[connection]\nproxy = "http://p.org:80"\n'
    text += (
        '[hosts."a.b"]\nrequest = { method = "PUT" }\nexpect = { min_size = "1kB" }\nconnection = { family = "ipv4" }\n'
    )
    content, other = load(write(tmp_path, text)).job.changes(old.to_data())
    hosts = ['hosts."a.b".expect.min_size', 'hosts."a.b".request.method']
    assert content == ["expect.json", *hosts, "paging", "request.form"]
    assert other == ["auth.a.token", "auth.b", "connection.proxy", "cookies.jar", 'hosts."a.b".connection.family']


def test_how_outputs_are_written_may_change_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """Who ran out of room, or uploads with a wrong key, changes that and goes on; forms and targets stay."""
    upload = '[output.upload]\nto = "s3://abc/b"\n'
    old = load(write(tmp_path, MINIMAL + upload)).job
    how = (
        '[output]\nmin_free = "1MB"\nsync = "close"\nsegment_size = "1MB"\n' + upload + 'region = "eu"\nparallel = 2\n'
    )
    content, other = load(write(tmp_path, MINIMAL + how)).job.changes(old.to_data())
    keys = ["min_free", "segment_size", "sync", "upload.parallel", "upload.region"]
    assert (content, other) == ([], [f"output.{key}" for key in keys])
    what = '[output]\nrecords = "csv"\n[output.upload]\nto = "s3://abc/c"\nwhat = "records"\n'
    content, _ = load(write(tmp_path, MINIMAL + what)).job.changes(old.to_data())
    assert content == ["output.records", "output.upload.to", "output.upload.what"]
    content, _ = load(write(tmp_path, MINIMAL)).job.changes(old.to_data())
    assert content == ["output.upload"]


def test_a_key_that_is_newer_than_the_run_has_not_changed(tmp_path: Path) -> None:
    """Data of an older version lack today's keys, and JSON made without aliases calls `json` otherwise."""
    job = load(write(tmp_path, MINIMAL + "[request]\njson = { a = 1 }\n")).job
    old = job.model_dump(mode="json")
    del old["hosts"], old["breaker"], old["limits"]["politeness"]
    assert job.changes(old) == ([], [])


def test_templates_are_expanded_in_order() -> None:
    """All combinations, ranges padded and stepped, names looked up and never evaluated."""
    assert list(expand("{a}-{b}", {"a": "08..10", "b": ["x", "y"]})) == ["08-x", "08-y", "09-x", "09-y", "10-x", "10-y"]
    assert list(expand("{n}", {"n": "0..10 step 5"})) == ["0", "5", "10"]


def test_templates_of_any_length_begin_at_once() -> None:
    """Ranges are counted as they are used, never listed."""
    found = expand("{a}/{b}", {"a": "1..999999999999", "b": "1..999999999999"})
    assert [next(found), next(found)] == ["1/1", "1/2"]


def test_the_packaged_quickstart_is_the_one_in_jobs() -> None:
    """`crawler demo` does the same from a checkout and installed."""
    root = Path(__file__).parent.parent
    for name in ("quickstart.toml", "demo-urls.csv"):
        assert (root / "jobs" / name).read_text() == (root / "crawler/demo_jobs" / name).read_text()
