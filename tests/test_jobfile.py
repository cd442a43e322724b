"""Job files: what loads, and how errors are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from crawler.errors import JobError
from crawler.job import Job, expand
from crawler.jobfile import load
from crawler.jobtext import dumps, template
from crawler.places import toml_lines

MINIMAL = 'name = "t"\n[input]\nurls = ["https://e.org/"]\n'


YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n"
YAML_BOMB += "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))


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
    """Two files that extend each other are an error, not an endless loop."""
    write(tmp_path, 'extends = "job.toml"\n', "base.toml")
    assert "extends itself" in problems(tmp_path, 'extends = "base.toml"\n' + MINIMAL)[0]


def test_yaml_and_json_make_the_same_job(tmp_path: Path) -> None:
    """All three formats load into one model, YAML errors have lines as well."""
    toml = load(write(tmp_path, MINIMAL)).job
    yaml = load(write(tmp_path, "name: t\ninput:\n  urls: [https://e.org/]\n", "job.yaml")).job
    json = load(write(tmp_path, '{"name": "t", "input": {"urls": ["https://e.org/"]}}', "job.json")).job
    assert toml == yaml == json
    bad = problems(tmp_path, "name: t\ninput:\n  urls: [https://e.org/]\n  dedup: true\n", "bad.yaml")
    assert bad == ["bad.yaml:4: input.dedup: unknown key; did you mean 'dedupe'?"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            YAML_BOMB,
            "bomb.yaml",
        ),
        ("!!python/object/apply:os.system ['true']", "object.yaml"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "deep.json"),
        ("a = " + "[" * 5000 + "]" * 5000, "deep.toml"),
    ],
)
def test_bombs_are_refused(tmp_path: Path, text: str, name: str) -> None:
    """Aliases that explode, tags that run code and endless nesting end in a sentence."""
    assert problems(tmp_path, text, name)


def test_the_effective_job_loads_back(tmp_path: Path) -> None:
    """What check prints, and fetch saves, is the same job again."""
    text = (
        MINIMAL
        + '[request]\nheaders = { "X-A" = "a\\"b" }\njson = { a = [1, { b = "ü" }] }\n[limits]\nrate = "30/min"\n'
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

    missing = {key for key in keys(Job) if f"{key} =" not in text and f"[{key}]" not in text}
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


def test_templates_are_expanded_in_order() -> None:
    """All combinations, ranges padded and stepped, names looked up and never evaluated."""
    assert list(expand("{a}-{b}", {"a": "08..10", "b": ["x", "y"]})) == ["08-x", "08-y", "09-x", "09-y", "10-x", "10-y"]
    assert list(expand("{n}", {"n": "0..10 step 5"})) == ["0", "5", "10"]


def test_the_packaged_quickstart_is_the_one_in_jobs() -> None:
    """`crawler demo` does the same from a checkout and installed."""
    root = Path(__file__).parent.parent
    for name in ("quickstart.toml", "demo-urls.csv"):
        assert (root / "jobs" / name).read_text() == (root / "crawler/demo_jobs" / name).read_text()
