"""The page in a real browser: phone and desktop, light and dark, hostile texts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    _CHROMIUM is None, reason="no chromium here; scripts/install_browser.sh installs it"
)

SECTIONS = (
    *("frontier", "policies", "calibration", "stopping", "escalation", "importance", "latency"),
    *("decision", "examples", "settings"),
)
_QUIET = [
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_CHROMIUM, args=_QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def path(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def new_tab(browser: sync_api.Browser, width: int, scheme: str = "light") -> sync_api.Page:
    """Waits as long as it takes: a busy machine is no fault of the page."""
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    tab.set_default_timeout(0)
    return tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_whole_and_asks_for_nothing(
    browser: sync_api.Browser, path: Path, width: int, scheme: str
) -> None:
    tab = new_tab(browser, width, scheme)
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert said == []
    assert tab.title() == "Report on <b>&.parquet - adaptive-sd"
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for name in SECTIONS:
        assert tab.locator(f"#{name}").is_visible(), name
    hidden, shown = ("wide", "narrow") if width < 640 else ("narrow", "wide")
    assert tab.locator(f".plot.{shown}:visible").count() == 5
    assert tab.locator(f".plot.{hidden}:visible").count() == 0
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(245, 246, 248)" if scheme == "light" else "rgb(14, 19, 26)")
    tab.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_tables_fit_the_desktop_and_names_that_fit_a_phone_are_not_broken(
    browser: sync_api.Browser, path: Path, width: int
) -> None:
    tab = new_tab(browser, width)
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    clipped = tab.evaluate("""[...document.querySelectorAll('.scroll')].filter(e =>
        ['Policies', 'Answers'].includes(e.ariaLabel) && e.scrollWidth > e.clientWidth).length""")
    if width == 1280:
        assert clipped == 0
    broken = """[...document.querySelectorAll('.scroll tbody th bdi')].filter(name => {
        const line = name.cloneNode(true);
        line.style.cssText = 'position: absolute; white-space: nowrap; max-width: none';
        name.after(line);
        const whole = line.getBoundingClientRect();
        line.remove();
        const shown = name.getBoundingClientRect();
        return whole.width < 0.42 * 360 && shown.height > 1.5 * whole.height;
    }).map(name => name.textContent)"""
    assert tab.evaluate(broken) == []
    rows = tab.locator("table.policies tbody th")
    heights = rows.evaluate_all("rows => rows.map(row => row.offsetHeight)")
    assert width == 1280 or max(heights) < 1.5 * min(heights)
    tab.close()


def test_boxes_that_scroll_can_be_reached_by_keyboard(
    browser: sync_api.Browser, path: Path
) -> None:
    tab = new_tab(browser, 360)
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    unreachable = """[...document.querySelectorAll('*')].filter(e =>
        /auto|scroll/.test(getComputedStyle(e).overflowX + getComputedStyle(e).overflowY)
        && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)
        && e.tabIndex < 0 && e !== document.documentElement).length"""
    assert tab.evaluate(unreachable) == 0
    assert tab.locator(".scroll").first.evaluate("e => e.scrollWidth > e.clientWidth")
    tab.close()


def test_hostile_texts_are_shown_and_do_nothing(browser: sync_api.Browser, path: Path) -> None:
    tab = new_tab(browser, 1280)
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    texts = tab.locator(".example .text").all_inner_texts()
    assert any("<script>document.title = 'owned'</script>" in text for text in texts)
    assert any("{{ 7 * 7 }}" in text for text in texts)
    assert "owned" not in tab.title()
    turned = tab.locator(".text", has_text="right to left").first
    assert turned.evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    assert tab.locator("h1").count() == 1 and tab.locator("main").is_visible()
    tab.close()
