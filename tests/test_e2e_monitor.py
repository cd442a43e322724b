"""The monitor in a real browser, beside jobs that run in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.monitored import Job, failed, record
from tests.servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BODY = bytes(range(256)) * 1000
TRAP = "<img src=x onerror=window.pwned=1>"
SCRIPT = "<script>window.pwned=1</script>"
NAMED = f"{TRAP} job"
PHONE, DESK = (390, 844), (1280, 900)
NUMBERS = "return document.querySelector('.progress p').textContent"


class Site(BaseHTTPRequestHandler):
    """A page takes 20 ms; each seventh is missing, and each title is a trap."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One page."""
        number = int(self.path.split("?")[0].rsplit("/", 1)[-1])
        body = b"missing" if number % 7 == 0 else BODY if number == 1 else f"<title>{TRAP}</title>".encode() * 50
        self.send_response(404 if number % 7 == 0 else 200)
        self.send_header("Content-Type", f"text/html; x={SCRIPT}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which one job is at work for as long as the tests last, and others are done."""
    folder = tmp_path_factory.mktemp("monitor")
    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{site.server_port}"
    urls = [f"{base}/p/{n}?{TRAP if n % 3 else SCRIPT}" for n in range(1, 4000)]
    (folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    (folder / "almanac.toml").write_text(
        f'name = "almanac"\n[input]\nfiles = ["urls.txt"]\n[output]\ndir = "{folder}/out"\n'
        '[limits]\nworkers = 4\nper_host = 4\nrate_per_host = "40/s"\n[retry]\nattempts = 1\n'
    )
    stored = Job(folder / "out", NAMED)
    run = stored.run([record(1, url=f"http://a.example/{SCRIPT}", error=TRAP), failed(2, error=TRAP)], code=1)
    (run / "run.log").write_text(f"2026-01-01T00:00:00.000Z WARNING {TRAP}{SCRIPT}\n")
    (run / "report.html").write_text(f"<title>report</title><p id=p>report</p>{TRAP}{SCRIPT}")
    for n in range(8):
        Job(folder / "out", f"job-{n}").run([record(1)] * 5)
    log = open(folder / "job.log", "wb")  # noqa: SIM115
    command = [sys.executable, "-m", "crawler", "run", str(folder / "almanac.toml"), "--quiet"]
    job = subprocess.Popen(command, stdout=log, stderr=log)
    yield folder / "out"
    job.terminate()
    assert job.wait(30) == 3, (folder / "job.log").read_text()
    log.close()
    site.shutdown()
    site.server_close()


@contextmanager
def monitor(output: Path, port: int, *more: str) -> Iterator[tuple[str, str]]:
    """`crawler monitor` in a process of its own: its address, and what it printed after that."""
    command = [sys.executable, "-m", "crawler", "monitor", "-o", str(output), "--port", str(port), *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert str(port) in process.stderr.readline()
        token = process.stderr.readline().split()[-1] if "--control" in more else ""
        try:
            yield f"http://127.0.0.1:{port}", token
        finally:
            process.terminate()
            assert process.wait(20) == 0


class Browser:
    """Chromium, which tells of every error it met."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = shutil.which("chromium") or "chromium"
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, url: str, size: tuple[int, int] = DESK, *, dark: bool = False) -> None:
        """A page anew, at a size; what the one before met is forgotten."""
        self.driver.get("about:blank")
        self.errors()
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(url)

    def run(self, script: str) -> Any:
        """What a script gives; it runs beside the page's CSP, as the user's own tools do."""
        return self.driver.execute_script(script)  # type: ignore[no-untyped-call]

    def until(self, script: str, wanted: Callable[[Any], bool] = bool, seconds: float = 15.0) -> Any:
        """What a script gives once it is what is wanted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if wanted(found := self.run(script)):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{script}: still {found!r}")

    def errors(self) -> list[str]:
        """What the console holds, CSP reports among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def mode(self) -> str:
        """What the sign says."""
        return str(self.run("return document.getElementById('sign').textContent"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver")
    pytest.importorskip("selenium", reason="needs selenium")
    browser = Browser()
    yield browser
    browser.driver.quit()


def settled(text: str) -> int:
    return int(text.partition(" of ")[0].replace(",", ""))


def test_numbers_move_and_the_filter_works(output: Path, browser: Browser, tmp_path: Path) -> None:
    """A page that is open shows a job of another process: counts, plot, hosts, failures, log, records, a download."""
    with monitor(output, free_port()) as (url, _):
        browser.open(url)
        browser.until("return document.querySelectorAll('tbody tr').length", lambda rows: rows >= 10)
        assert browser.until("return document.getElementById('sign').textContent") == "live"
        browser.driver.save_screenshot(str(tmp_path / "overview-1280.png"))
        browser.open(f"{url}/#/job/almanac")
        first = browser.until(NUMBERS, lambda text: "settled" in (text or ""))
        browser.until(NUMBERS, lambda text: settled(text) > settled(first) + 20)
        browser.until(
            "return (document.querySelector('.plot .line') || {getTotalLength: () => 0}).getTotalLength()",
            lambda n: n > 100,
        )
        assert browser.run("return document.querySelector('.plot title').textContent")
        assert browser.run("return document.querySelector('.plot svg').getAttribute('role')") == "img"
        for label in ("Hosts", "Recent failures", "Runs"):
            rows = f"return document.querySelectorAll('[aria-label=\"{label}\"] tbody td:not(.empty)').length"
            browser.until(rows)
        browser.run(
            "const f = document.querySelector('form.filters'); f.elements.status.value = '4xx'; f.requestSubmit()"
        )
        cells = "document.querySelectorAll('[aria-label=Records] tbody tr:not(.detail) td:nth-child(3)')"
        shown = f"return [...{cells}].map(x => x.textContent)"
        assert set(browser.until(shown)) == {"404"}
        find = "f.reset(); f.elements.url.value = '/p/1?'; f.requestSubmit()"
        browser.run(f"const f = document.querySelector('form.filters'); {find}")
        browser.until("return document.querySelector('[aria-label=Records] a[href*=file]') != null")
        browser.driver.save_screenshot(str(tmp_path / "job-1280.png"))
        assert browser.errors() == []


def test_a_download_resumes(output: Path) -> None:
    """What the browser's link leads to comes in two parts."""
    with monitor(output, free_port()) as (url, _):
        with urllib.request.urlopen(f"{url}/api/jobs/almanac") as answer:
            run = json.load(answer)["parts"]["job"]["run"]
        with urllib.request.urlopen(f"{url}/api/jobs/almanac/runs/{run}/records?url=/p/1%3F") as answer:
            link = json.load(answer)["records"][0]["body"]
        parts = []
        for part in ("bytes=0-99999", "bytes=100000-"):
            asked = urllib.request.Request(url + link, headers={"Range": part})
            with urllib.request.urlopen(asked) as answer:
                assert answer.status == 206
                parts.append(answer.read())
        assert b"".join(parts) == BODY


def test_stored_html_is_text(output: Path, browser: Browser) -> None:
    """In URLs, errors, log lines and the names of jobs; and a report runs nothing."""
    with monitor(output, free_port()) as (url, _):
        name = urllib.request.quote(NAMED, safe="")
        for page in ("#/", f"#/job/{name}", "#/job/almanac"):
            browser.open(f"{url}/{page}")
            browser.until("return document.body.textContent.includes('onerror')")
            browser.run("const f = document.querySelector('form.filters'); if (f) f.requestSubmit()")
            if page != "#/":
                browser.until("return document.querySelectorAll('[aria-label=Records] tbody tr').length > 1")
            assert browser.run("return window.pwned") is None
            assert browser.run("return document.images.length + document.querySelectorAll('main script').length") == 0
            assert browser.errors() == []
        browser.open(f"{url}/api/jobs/{name}/runs/20260101T000000Z-aaaaaa/report.html")
        assert browser.run("return document.getElementById('p').textContent") == "report"
        assert browser.run("return window.origin") == "null"
        assert browser.run("return window.pwned") is None
        assert browser.errors()  # the CSP tells what it held back


def test_without_a_websocket_the_page_polls(output: Path, browser: Browser) -> None:
    """The sign says so, numbers still move; it returns to the socket, and says when all is lost."""
    port = free_port()
    with monitor(output, port) as (url, _):
        browser.open(f"{url}/#/job/almanac")
        browser.until("return document.getElementById('sign').textContent", lambda text: text == "live")
        # What breaks the socket here is what breaks it anywhere: the page sees it close, and none opens.
        browser.run(
            "window.Kept = WebSocket; wire.socket.close();"
            "WebSocket = class extends Kept { constructor() { super(`ws://${location.host}/none`); } }"
        )
        browser.until("return document.getElementById('sign').textContent", lambda text: text == "polling")
        first = browser.run(NUMBERS)
        browser.until(NUMBERS, lambda text: settled(text) > settled(first))
        browser.run("WebSocket = Kept")
        browser.until("return document.getElementById('sign').textContent", lambda text: text == "live", 25)
    browser.until("return document.getElementById('sign').textContent", lambda text: text == "lost")
    browser.errors()


def test_orders_are_given_from_the_page(output: Path, browser: Browser) -> None:
    """Pause and resume with the token that was printed; without it nothing."""
    with monitor(output, free_port(), "--control") as (url, token):
        browser.open(f"{url}/#/job/almanac")
        press = "[...document.querySelectorAll('form.order button')].find(b => b.textContent === '{}').click()"
        state = "return document.querySelector('.head .badge').textContent"
        browser.until("return document.querySelectorAll('form.order button').length")
        browser.run(press.format("Pause"))
        browser.until(
            "return document.querySelector('form.order').parentNode.textContent", lambda text: "token" in text
        )
        assert "401" in browser.errors()[-1]
        browser.run(f"document.querySelector('form.order input').value = '{token}'; {press.format('Pause')}")
        browser.until(state, lambda text: text == "paused")
        browser.run(press.format("Resume"))
        browser.until(state, lambda text: text == "running")
        assert browser.run("return sessionStorage.getItem('token')") == token
        assert browser.run("return localStorage.length") == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_everybody_can_use_it(
    output: Path, browser: Browser, tmp_path: Path, size: tuple[int, int], *, dark: bool
) -> None:
    """axe-core finds nothing serious, and no page is wider than its window."""
    axe = Path(os.environ.get("CRAWLER_NODE_MODULES", "none")) / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("CRAWLER_NODE_MODULES has no axe-core")
    with monitor(output, free_port(), "--control") as (url, _):
        for page in ("#/", "#/job/almanac"):
            browser.open(f"{url}/{page}", size, dark=dark)
            browser.until("return document.querySelectorAll('tbody tr').length > 2")
            browser.run("const f = document.querySelector('form.filters'); if (f) f.requestSubmit()")
            rows = "document.querySelector('[aria-label=Records] tbody tr') != null"
            browser.until(f"return !document.querySelector('form.filters') || {rows}")
            browser.run(axe.read_text())
            found = browser.driver.execute_async_script(  # type: ignore[no-untyped-call]
                "const done = arguments[0]; axe.run().then(r => done(r.violations.filter(v => "
                "['serious', 'critical'].includes(v.impact)).map(v => [v.id, v.nodes.map(n => n.html).slice(0, 3)])))"
            )
            assert found == []
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
            browser.driver.save_screenshot(
                str(tmp_path / f"{page[2:5] or 'all'}-{size[0]}{'-dark' if dark else ''}.png")
            )
