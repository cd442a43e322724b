"""report.html in a real browser, from a file, with the net off: read, sorted, printed, looked through by axe-core."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crawler.reporting import write_report
from tests.exportruns import RUN
from tests.reportruns import full_run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PHONE, DESK = 390, 1280
ROWS = "return [...document.querySelectorAll('table.hosts tbody tr')].map(row => row.cells[arguments[0]].dataset.v)"
SORTED = "return [...document.querySelectorAll('table.hosts thead th')].map(cell => cell.getAttribute('aria-sort'))"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(full_run(tmp_path_factory.mktemp("report")).path, RUN)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium without a net."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver")
    options = Options()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield browser
    browser.quit()


def opened(browser: Any, report: Path, width: int = DESK, colours: str = "light", script: bool = True) -> Any:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": colours}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get(report.as_uri())
    return browser


def numbers(browser: Any, column: int) -> list[float]:
    return [float(value) for value in browser.execute_script(ROWS, column) if value is not None]


def test_it_opens_without_a_net_and_without_complaints(browser: Any, report: Path) -> None:
    """Nothing is asked for, nothing is refused by its own policy, no attack in it ran."""
    from selenium.common.exceptions import NoAlertPresentException

    opened(browser, report)
    assert browser.get_log("browser") == []
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.accept()
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.querySelectorAll('img, iframe, script[src]').length") == 0
    assert browser.execute_script("return getComputedStyle(document.querySelector('dl.figures')).display") == "grid"
    plots = browser.find_elements("css selector", "svg.plot")
    assert sum(plot.is_displayed() for plot in plots) == 3


def test_hosts_are_sorted_by_a_click(browser: Any, report: Path) -> None:
    """The largest first, then the smallest; what is not known stays behind; names from the first letter on."""
    opened(browser, report)
    heads = browser.find_elements("css selector", "table.hosts thead button")
    assert numbers(browser, 1) == sorted(numbers(browser, 1), reverse=True)
    heads[8].click()
    assert numbers(browser, 8) == sorted(numbers(browser, 8), reverse=True)
    heads[8].click()
    assert numbers(browser, 8) == sorted(numbers(browser, 8))
    assert browser.execute_script(SORTED) == [None] * 8 + ["ascending"]
    heads[4].click()
    rates = browser.execute_script(ROWS, 4)
    assert None in rates
    assert set(rates[rates.index(None) :]) == {None}
    heads[0].click()
    names = browser.execute_script(ROWS, 0)
    assert names == sorted(names)


def test_hosts_are_sorted_by_keys(browser: Any, report: Path) -> None:
    """The heads are buttons in the order of reading: Tab comes to them, Enter and Space press them."""
    from selenium.webdriver.common.keys import Keys

    opened(browser, report)
    heads = browser.find_elements("css selector", "table.hosts thead button")
    browser.execute_script("arguments[0].focus()", heads[1])
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Failed"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert numbers(browser, 2) == sorted(numbers(browser, 2), reverse=True)
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert numbers(browser, 2) == sorted(numbers(browser, 2))
    assert browser.switch_to.active_element.text == "Failed"


def test_the_first_tab_leads_past_the_head(browser: Any, report: Path) -> None:
    """The skip link is seen when it is reached, and leads to the results."""
    from selenium.webdriver.common.keys import Keys

    opened(browser, report)
    browser.find_element("css selector", "body").send_keys(Keys.TAB)
    link = browser.switch_to.active_element
    assert link.text == "Skip to the results"
    assert link.rect["x"] >= 0
    link.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "results"


def test_colours_can_be_turned(browser: Any, report: Path) -> None:
    """They are those of the system until a press of the button."""
    back = "return getComputedStyle(document.body).backgroundColor"
    opened(browser, report, colours="dark")
    dark = browser.execute_script(back)
    browser.find_element("css selector", "button.theme").click()
    light = browser.execute_script(back)
    assert light == "rgb(255, 255, 255)" != dark
    opened(browser, report)
    assert browser.execute_script(back) == light


@pytest.mark.parametrize("width", [320, PHONE, 700, 768, DESK])
def test_no_width_makes_the_page_scroll_sideways(browser: Any, report: Path, width: int) -> None:
    """What is wider scrolls in its own place."""
    opened(browser, report, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width


def test_without_script_all_is_there(browser: Any, report: Path) -> None:
    """Hosts come by their number of inputs; there is no button that does nothing."""
    opened(browser, report, script=False)
    assert browser.find_elements("css selector", "table.hosts thead button") == []
    assert not browser.find_element("css selector", "button.theme").is_displayed()
    rows = [row.text for row in browser.find_elements("css selector", "table.hosts tbody tr")]
    assert rows[0].startswith("news0.example")
    assert browser.find_element("css selector", "#failures").is_displayed()


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, report: Path, colours: str, width: int) -> None:
    """Contrast, names, order of headings, keyboard: also with all lists opened."""
    opened(browser, report, width, colours)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    browser.execute_script(_axe().read_text(encoding="utf-8"))
    run = "axe.run(document, {resultTypes: ['violations']}).then(arguments[0])"
    found = browser.execute_async_script(run)["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found] == []


def test_it_prints(browser: Any, report: Path) -> None:
    """To a PDF of some pages, light on dark systems too, with all lists opened and no controls."""
    opened(browser, report, colours="dark")
    made = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    pdf = base64.b64decode(made["data"])
    assert pdf.startswith(b"%PDF")
    assert 5 <= pdf.count(b"/Type /Page\n") <= 30
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert not browser.find_element("css selector", "nav").is_displayed()
    assert not browser.find_element("css selector", "button.theme").is_displayed()
    assert browser.execute_script("return getComputedStyle(document.body).color") == "rgb(27, 33, 39)"


def _axe() -> Path:
    """Where axe-core is: CRAWLER_NODE_MODULES."""
    given = os.environ.get("CRAWLER_NODE_MODULES")
    if not given or given == "none":
        pytest.skip("CRAWLER_NODE_MODULES does not say where axe-core is")
    path = Path(given) / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip(f"there is no axe-core in CRAWLER_NODE_MODULES={given}")
    return path
