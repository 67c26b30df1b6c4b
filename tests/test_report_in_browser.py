"""The report in the Chromium of this machine: on a desk, on a phone, in the dark, on paper."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.report.write import read, write_report
from tests.test_report import assert_shown, made, refused

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install '.[dev]'"
)

LOOKS = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True},
}
#: Of each picture: how large it is, and how much of it the page shows.
PICTURES = """() => [...document.querySelectorAll("[data-picture]")].map((picture) => ({
  name: picture.dataset.picture,
  width: picture.getBoundingClientRect().width,
  marks: picture.querySelectorAll("path, text, use").length,
  outside: [...picture.querySelectorAll("svg text")].filter((text) => {
    const [inner, outer] = [text, text.ownerSVGElement].map((e) => e.getBoundingClientRect());
    return inner.left < outer.left - 8 || inner.right > outer.right + 8;
  }).map((text) => text.textContent),
  images: [...picture.querySelectorAll("img")].map((image) => image.naturalWidth),
}))"""
NUMBERS = """() => [...document.querySelectorAll("data")].map((number) =>
  [number.dataset.fact, number.value, number.textContent])"""


@contextlib.contextmanager
def shown(browser, path: Path, **look: object) -> Iterator["playwright.Page"]:
    """Opens a page, and holds it to a silent console and to no request but for itself."""
    context = browser.new_context(**look)
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert not errors
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    context.close()


@pytest.fixture(scope="module")
def report(pipeline_run) -> Path:
    return min((pipeline_run.root / "report").iterdir()) / "report.html"


@pytest.mark.parametrize("look", LOOKS)
def test_every_picture_is_drawn_and_every_number_is_the_runs(browser, report, look):
    with shown(browser, report, **LOOKS[look]) as page:
        pictures = page.evaluate(PICTURES)
        assert len(pictures) == 12
        for picture in pictures:
            assert picture["width"] > 200, picture
            assert picture["marks"] > 10 or picture["images"], picture
            assert all(width == 28 for width in picture["images"])
            assert not picture["outside"], picture
        numbers = page.evaluate(NUMBERS)
        assert len(numbers) > 150
        assert_shown(read(report.parent), numbers)
        wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window, "the page scrolls sideways"


def test_the_dark_look_is_dark_in_the_charts_too(browser, report):
    colours = {}
    for look in ("desk", "dark"):
        with shown(browser, report, **LOOKS[look]) as page:
            colours[look] = page.evaluate(
                """() => [["body", "backgroundColor"], ["[data-picture=confusion] text", "fill"]]
                  .map(([where, what]) => getComputedStyle(document.querySelector(where))[what])"""
            )
    brightness = {
        look: [sum(map(int, c.strip("rgb()").split(","))) for c in found]
        for look, found in colours.items()
    }
    assert brightness["desk"][0] > 600 > 200 > brightness["desk"][1]
    assert brightness["dark"][0] < 200 < 600 < brightness["dark"][1]


def test_it_prints_on_a_few_sheets(browser, report):
    with shown(browser, report) as page:
        content = page.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    assert 2 <= content.count(b"/Type /Page\n") <= 7


@pytest.mark.parametrize("gate", [None, "data", "model"])
def test_a_refused_run_is_shown_as_well(browser, tmp_path, gate):
    values = refused(gate) if gate else made()
    path = write_report(values, tmp_path / "report")
    with shown(browser, path, **LOOKS["phone"]) as page:
        assert_shown(values, page.evaluate(NUMBERS))
        assert ("Refused" in page.inner_text("h1")) == bool(gate)
        assert all(picture["width"] > 200 for picture in page.evaluate(PICTURES))
        page.click("summary >> nth=0")
        assert page.is_visible("text=artifacts/Trainer/1")
