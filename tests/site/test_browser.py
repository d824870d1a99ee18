"""The built site in a headless Chromium: no errors, search, narrow windows, light and dark."""

import pytest

from . import browser
from .conftest import ROOT

SITE = ROOT / "out" / "docs" / "html"

PAGES = (
    "index",
    "functional",
    "from_torch",
    "changelog",
    "api/index",
    "api/optimizers",
    "api/functional_optim.muon",
    "api/functional_optim.optim.Optimizer",
    "notebooks/first_training_loop",
)


@pytest.fixture(scope="module")
def address():
    if not (SITE / "index.html").exists():
        pytest.skip("out/docs/html has no site: run `make docs-site`")
    if browser.executable() is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    with browser.served(SITE) as url:
        yield url


@pytest.fixture(scope="module")
def page(address, tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_errors_and_asks_no_other_server(page, address, name):
    page.errors.clear()
    page.window(1280)
    page.open(f"{address}/{name}.html")
    assert page.evaluate("document.querySelector('h1').innerText.length") > 0
    assert page.errors == []


def test_the_search_finds_muon(page, address):
    page.errors.clear()
    page.window(1280)
    page.open(f"{address}/search.html?q=muon")
    script = "[...document.querySelectorAll('#search-results li a')].map(a => a.href).join(' ')"
    found = page.wait_for(script)
    assert "/api/functional_optim.muon.html" in found
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_window_is_readable(page, address, name, scheme):
    page.window(420, scheme=scheme)
    page.open(f"{address}/{name}.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    wide = """[...document.querySelectorAll('article p, article li, article h1, article h2')]
        .filter(e => e.offsetParent && !e.closest('table, pre, .formulas, .output'))
        .filter(e => e.getBoundingClientRect().right > 420 || e.scrollWidth > 420)
        .map(e => e.innerText.slice(0, 60)).join('; ')"""
    assert page.evaluate(wide) == ""
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 15


LUMINANCE = """(kind => {
    const element = document.querySelector('article p');
    let at = element;
    while (kind === 'backgroundColor' && getComputedStyle(at)[kind] === 'rgba(0, 0, 0, 0)')
        at = at.parentElement;
    const parts = getComputedStyle(at)[kind].match(/[0-9.]+/g).slice(0, 3).map(c => {
        const x = c / 255;
        return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
})"""
"""The relative luminance of WCAG 2."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(page, address, scheme):
    page.window(1280, scheme=scheme)
    page.open(f"{address}/functional.html")
    text = page.evaluate(f"{LUMINANCE}('color')")
    ground = page.evaluate(f"{LUMINANCE}('backgroundColor')")
    assert (ground < 0.1) == (scheme == "dark")
    low, high = sorted((text, ground))
    assert (high + 0.05) / (low + 0.05) > 7  # WCAG 2, level AAA


def test_a_click_chooses_the_scheme(page, address):
    page.window(1280, scheme="light")
    page.open(f"{address}/index.html")
    seen = set()
    for _ in range(3):
        page.evaluate("document.querySelector('.theme-toggle').click()")
        seen.add(page.evaluate("document.body.dataset.theme"))
    assert seen == {"auto", "light", "dark"}
