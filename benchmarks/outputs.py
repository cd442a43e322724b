"""Small pages into each form of output: processor time for each request, against that of the pipeline without bodies.

A fifth of the URLs bring a page that another brought already. `records` stands for the forms of records, without
bodies; all else writes JSON lines as well.
"""

from __future__ import annotations

import random
import shutil
import statistics
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Cost, cost
from benchmarks.site import Nginx, folder, write_job
from benchmarks.table import Line

WORKERS = 64
SIZE = 10 * 1024  # bytes of a page
PAGES = 0.8  # different ones, for each URL
_WORDS = 2000
_PARAGRAPHS = 2000


class Form(NamedTuple):
    """What is written: its name, the settings that ask for it, the ratio that is asked for."""

    name: str
    settings: tuple[str, ...]
    asked: str = "shown"


NOTHING = Form("bodies none", ("bodies=none",), "the yardstick")
FORMS = (
    Form("bodies files", ("bodies=files",), "<= 1.6x"),
    Form("bodies files, share = false", ("bodies=files", "share=false"), "<= 1.6x"),
    Form("bodies files, layout = mirror", ("bodies=files", "layout=mirror")),
    Form("bodies warc", ("bodies=warc",)),
    Form("bodies tar", ("bodies=tar",)),
    Form("bodies inline, compressed", ("bodies=inline", "compress=true")),
    Form("records csv", ("bodies=none", "records=csv")),
    Form("records parquet", ("bodies=none", "records=parquet")),
)


def run(*, quick: bool, full: bool) -> list[Line]:
    """Interleaved rounds; medians of the ratios within each round."""
    count, rounds = (10_000, 3) if quick else (100_000, 5 if full else 2)
    with folder() as where:
        paths = make_texts(where / "www", count)
        with Nginx(where / "www", where / "nginx") as server:
            limits = f"[limits]\nworkers = {WORKERS}\nper_host = {WORKERS}\n"
            job = write_job(
                where, "pages", [server.url + path for path in paths], f'{limits}[output]\ndir = "{where}/out"'
            )
            spent: dict[Form, list[Cost]] = {form: [] for form in (NOTHING, *FORMS)}
            for _ in range(rounds):
                for form, costs in spent.items():
                    settings = [word for said in form.settings for word in ("--set", f"output.{said}")]
                    costs.append(cost([*job, "--fresh", *settings]))
                    assert costs[-1].code == 0, f"a round of {form.name} failed"
                    shutil.rmtree(where / "out")
    base = spent[NOTHING]
    shown = f"{_each(base, count):.0f} us"
    return [
        Line(f"CPU per request, {count:,} pages of 10 KB: bodies none", shown, NOTHING.asked),
        *(Line(f"  {form.name}", _against(spent[form], base, count), form.asked) for form in FORMS),
    ]


def make_texts(root: Path, count: int) -> list[str]:
    """Pages of words, whose like a compressor finds on the web; the URL paths of `count` of them, some the same."""
    rng = random.Random(20261121)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(_WORDS)]
    weights = [1 / rank for rank in range(1, _WORDS + 1)]  # as words are spread in texts
    paragraphs = [f"<p>{' '.join(rng.choices(words, weights, k=90))}</p>\n".encode() for _ in range(_PARAGRAPHS)]
    pages = int(count * PAGES)
    for number in range(pages):
        place = root / str(number % 100)
        if number < 100:
            place.mkdir(parents=True)
        head = b"<!DOCTYPE html><title>Page %d</title>\n" % number
        (place / f"{number}.html").write_bytes((head + b"".join(rng.sample(paragraphs, 26)))[:SIZE])
    paths = [f"/{number % 100}/{number}.html" for number in range(pages)]
    paths += [f"{path}?again" for path in rng.sample(paths, count - pages)]
    rng.shuffle(paths)
    return paths


def _each(costs: list[Cost], count: int) -> float:
    return statistics.median(item.cpu for item in costs) / count * 1e6


def _against(costs: list[Cost], base: list[Cost], count: int) -> str:
    ratio = statistics.median(one.cpu / other.cpu for one, other in zip(costs, base, strict=True))
    return f"{ratio:.2f}x, {_each(costs, count):.0f} us"
