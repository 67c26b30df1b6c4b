"""The web page, in the Chromium of this machine, as a finger, a mouse and a keyboard use it."""

import base64
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from export.edge_model import MODEL_FILE, EdgeModel
from export.web_engine import LiteRtJs, wait_until_loaded
from export.web_page import SOURCES, page_files
from export.web_server import PageServer
from serving.client import Client
from serving.errors import InputError
from serving.pictures import centre_digit, encode_png, to_grey
from serving.predict import latest_version
from tests.serving.servers import running
from tests.test_pictures import TURNED, VARIANTS, enlarge

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install '.[dev]'"
)

pytestmark = pytest.mark.skipif(
    not (SOURCES / "node_modules").exists(), reason="no LiteRT.js here: make web"
)

#: Strokes, in shares of the sheet.
SEVEN = [[(0.28, 0.25), (0.72, 0.25), (0.62, 0.45), (0.52, 0.65), (0.45, 0.85)]]
ONE = [[(0.5, 0.2), (0.5, 0.5), (0.5, 0.85)]]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ANSWERED = "html[data-state=answered]"
EMPTY = "html[data-state=empty]"

CENTRE_PICTURES = """async (pictures) => {
  const { decode } = await import("./pictures.js");
  const { centreDigit } = await import("./preprocess.js");
  const digits = [];
  for (const picture of pictures) {
    const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
    const { bitmap, grey } = await decode(new Blob([bytes]));
    digits.push(Array.from(centreDigit(grey, bitmap.width, bitmap.height)));
  }
  return digits;
}"""
CENTRE_GREYS = """async (pictures) => {
  const { centreDigit } = await import("./preprocess.js");
  return pictures.map(({ grey, width, height }) =>
    Array.from(centreDigit(Float32Array.from(grey), width, height)));
}"""


@pytest.fixture(scope="module")
def edge(pipeline_run) -> Path:
    return latest_version(pipeline_run.root / "edge")


@pytest.fixture(scope="module")
def model(edge) -> EdgeModel:
    return EdgeModel(edge / MODEL_FILE)


@pytest.fixture(scope="module")
def url(edge) -> Iterator[str]:
    with PageServer(page_files(edge)).running() as server:
        yield server.url


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What the console has to complain of: nothing, at the end of a test."""
    errors: list[str] = []
    yield errors
    assert not errors


@pytest.fixture
def open_page(browser, errors) -> Iterator[Callable[..., "playwright.Page"]]:
    """Opens a loaded page in a profile of its own."""
    contexts = []

    def open_page(url: str, **options: object) -> "playwright.Page":
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        wait_until_loaded(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def demo(pipeline_run) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """`digits demo` as a user types it."""
    processes = []

    def start(*arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pipeline.cli", "demo", "--root", pipeline_run.root]
        process = subprocess.Popen(
            [*map(str, command), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def places(page, stroke):
    box = page.locator("#pad").bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]


def draw(page, strokes) -> None:
    """With the mouse."""
    for stroke in strokes:
        first, *others = places(page, stroke)
        page.mouse.move(*first)
        page.mouse.down()
        for place in others:
            page.mouse.move(*place, steps=5)
        page.mouse.up()
    page.wait_for_selector(ANSWERED)


def touch(page, strokes) -> None:
    """With a finger."""
    session = page.context.new_cdp_session(page)
    for stroke in strokes:
        points = [[{"x": x, "y": y}] for x, y in places(page, stroke)]
        for kind, at in [("touchStart", points[0]), *(("touchMove", p) for p in points[1:])]:
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector(ANSWERED)


def seen(page) -> np.ndarray:
    """The 28x28 that the page shows as what the network sees."""
    rgba = page.eval_on_selector(
        "#seen", "seen => Array.from(seen.getContext('2d').getImageData(0, 0, 28, 28).data)"
    )
    return np.array(rgba, np.uint8).reshape(28, 28, 4)[..., 0]


def shares(page) -> list[str]:
    return page.locator("#bars .share").all_text_contents()


def percents(probabilities) -> list[str]:
    return [f"{100 * probability:.1f} %" for probability in probabilities]


def settle(page) -> None:
    """Waits until what a stroke has started is over."""
    page.wait_for_function("document.getElementById('spoken').textContent !== ''")


def in_page(page, pictures: list[bytes]) -> np.ndarray:
    encoded = [base64.b64encode(picture).decode() for picture in pictures]
    return np.array(page.evaluate(CENTRE_PICTURES, encoded)).reshape(-1, 28, 28)


def jpeg_photo(image: np.ndarray) -> bytes:
    """In colour, with the colours at half the resolution, as phones have it."""
    ink = enlarge(image)[..., None] * np.array([0.8, 0.7, 0.4])
    photo = Image.fromarray((np.array([228, 224, 210]) - ink).clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=85, subsampling=2)
    return buffer.getvalue()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_drawn_seven_is_seven(open_page, url, model, scheme):
    page = open_page(url, color_scheme=scheme)
    draw(page, SEVEN)
    settle(page)
    assert page.inner_text("#label") == "7"
    assert page.inner_text("#words") == "That is a seven."
    (probabilities,) = model.predict(seen(page)[None])
    assert shares(page) == percents(probabilities)
    assert page.inner_text("#spoken") == f"7, {percents(probabilities)[7]}"
    assert page.inner_text("#latency").endswith("s")


def test_the_network_sees_the_same_in_light_and_dark_on_any_screen(open_page, url):
    digits = []
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark", "device_scale_factor": 3}):
        page = open_page(url, **options)
        draw(page, SEVEN)
        settle(page)
        digits.append(seen(page))
    np.testing.assert_array_equal(*digits)


def test_dark_and_light_can_be_read(open_page, url):
    backgrounds = []
    for scheme in ("light", "dark"):
        page = open_page(url, color_scheme=scheme)
        draw(page, SEVEN)
        background = colour(page, "html > body", "backgroundColor")
        backgrounds.append(background)
        for selector in ("#words", "#detail", "dt", "#label", "#bars .top .share", "header p"):
            assert contrast(colour(page, selector, "color"), background) >= 4.5, selector
    assert backgrounds[0] > 0.8 > 0.05 > backgrounds[1]


def colour(page, selector: str, name: str) -> float:
    """The relative luminance of a colour, as WCAG defines it."""
    text = page.eval_on_selector(selector, f"element => getComputedStyle(element).{name}")
    rgb = np.array([int(part) for part in text.removeprefix("rgb(").rstrip(")").split(",")]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_a_finger_draws_on_a_phone(open_page, url):
    page = open_page(url, **PHONE)
    before = page.locator("#pad").bounding_box()
    touch(page, SEVEN)
    settle(page)
    assert page.inner_text("#label") == "7"
    assert page.locator("#pad").bounding_box() == before  # it did not scroll, nor move
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.getElementById('bars').getBoundingClientRect().bottom") <= 844


def test_the_keyboard_reaches_everything(open_page, url, tmp_path, sample):
    page = open_page(url)
    draw(page, SEVEN)
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        outlined = page.evaluate(
            "[document.activeElement, document.activeElement.previousElementSibling]"
            ".some((e) => e && getComputedStyle(e).outlineStyle === 'solid')"
        )
        assert outlined, reached
    assert reached == ["file", "undo", "clear", "measure"]
    page.keyboard.press("Escape")
    page.wait_for_selector(EMPTY)
    assert not seen(page).any()
    picture = tmp_path / "digit.png"
    picture.write_bytes(encode_png(enlarge(sample[0][0])))
    page.focus("#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(picture)
    page.wait_for_selector(ANSWERED)


def test_undo_takes_a_stroke_back(open_page, url):
    page = open_page(url)
    draw(page, ONE)
    settle(page)
    one = seen(page)
    draw(page, [[(0.2, 0.85), (0.8, 0.85)]])
    assert not np.array_equal(seen(page), one)
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(seen(page), one)
    page.keyboard.press("Control+z")
    page.wait_for_selector(EMPTY)
    assert page.locator("#undo").is_disabled() and page.locator("#clear").is_disabled()


def test_nothing_moves_for_who_asked_for_that(open_page, url):
    page = open_page(url, reduced_motion="reduce")
    durations = page.eval_on_selector_all(
        "*", "all => all.map((element) => getComputedStyle(element).transitionDuration)"
    )
    assert set(durations) == {"0s"}


def test_a_photo_is_dropped(open_page, url, model, sample):
    page = open_page(url)
    photo = jpeg_photo(sample[0][1234])
    transfer = page.evaluate_handle(
        """(photo) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(photo)], "photo.jpg"));
          return transfer;
        }""",
        list(photo),
    )
    page.dispatch_event(".sheet", "drop", {"dataTransfer": transfer})
    page.wait_for_selector(ANSWERED)
    settle(page)
    expected = centre_digit(to_grey(photo))
    assert np.abs(seen(page).astype(int) - expected).max() <= 1
    (probabilities,) = model.predict(seen(page)[None])
    assert shares(page) == percents(probabilities)
    draw(page, SEVEN)  # on a clean sheet
    settle(page)
    assert page.inner_text("#label") == "7"


def test_a_photo_that_was_taken_sideways_is_turned(open_page, url, sample):
    photos = [make(sample[0][1234]) for make in TURNED.values()]
    expected = np.stack([centre_digit(to_grey(photo)) for photo in photos])
    assert np.abs(in_page(open_page(url), photos) - expected).max() <= 1


def test_bad_files_are_refused_in_words(open_page, url):
    page = open_page(url)
    huge = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(huge, "PNG")
    for content, message in (
        (b"", "not a picture"),
        (b"hello", "not a picture"),
        (encode_png(np.eye(200, dtype=np.uint8) * 255)[:150], "not a picture"),
        (huge.getvalue(), "too large: 20000x20000 pixels"),
    ):
        page.set_input_files("#file", {"name": "a", "mimeType": "image/png", "buffer": content})
        page.wait_for_selector("#problem:visible")
        assert message in page.inner_text("#problem")
        page.keyboard.press("Escape")
        assert page.is_hidden("#problem")
    draw(page, ONE)


def test_a_blank_picture_has_no_digit(open_page, url):
    page = open_page(url)
    blank = encode_png(np.full((50, 60), 200, np.uint8))
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": blank})
    page.get_by_text("No digit found").wait_for()


def test_the_page_measures_its_speed(open_page, url):
    page = open_page(url)
    page.click("#measure")
    settle(page)
    number, unit = page.inner_text("#median").split()
    assert 0 < float(number) * {"µs": 1e-3, "ms": 1}[unit] < 1000


def test_it_works_without_a_network(open_page, demo):
    process = demo()
    url = process.stdout.readline().split()[0]
    page = open_page(url)
    page.wait_for_selector("html[data-offline]")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    wait_until_loaded(page)
    assert len(asked) > 10
    assert {urlsplit(address).netloc for address in asked} == {urlsplit(url).netloc}
    # The whole process: a thread of ours would go on serving the connections that are open.
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    page.reload()
    wait_until_loaded(page)
    draw(page, SEVEN)
    settle(page)
    assert page.inner_text("#label") == "7"


def test_it_can_be_installed(open_page, url):
    page = open_page(url)
    page.wait_for_selector("html[data-offline]")
    session = page.context.new_cdp_session(page)
    assert session.send("Page.getInstallabilityErrors")["installabilityErrors"] in (
        [],
        [{"errorId": "in-incognito", "errorArguments": []}],  # every profile of a test is one
    )
    manifest = session.send("Page.getAppManifest")
    assert not manifest["errors"]
    assert json.loads(manifest["data"])["display"] == "standalone"


def test_the_exported_folder_works_on_any_host(open_page, digits, pipeline_run, tmp_path):
    outcome = digits("demo", "--root", pipeline_run.root, "--export", tmp_path / "site")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    handler = partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        page = open_page(f"http://127.0.0.1:{host.server_port}/site/")
        draw(page, SEVEN)
        settle(page)
        assert page.inner_text("#label") == "7"
        page.wait_for_selector("html[data-offline]")
        host.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_model_server_answers_beside_it(open_page, errors, demo, pipeline_run, tmp_path):
    base = pipeline_run.root / "serving" / "digits"
    flags = ("--model_name=digits", f"--model_base_path={base}")
    with running(tmp_path, *flags) as server:
        address = f"grpc://{server.address.grpc}"
        process = demo("--server", address)
        page = open_page(process.stdout.readline().split()[0])
        draw(page, SEVEN)
        answer = page.locator("#server-words", has_text="ms")
        answer.wait_for()
        with Client(address) as client:
            (expected,) = client.classify(seen(page))
        label, share, _ = answer.inner_text().split(", ")
        assert page.inner_text("#server-name") == address
        assert (label, share) == (str(expected.label), percents([expected.probability])[0])
        assert server.stop() == 0
    # Without the server the page goes on, and says so.
    draw(page, [[(0.3, 0.5), (0.6, 0.5)]])
    page.locator("#server-words", has_text="UNAVAILABLE").wait_for()
    assert "502" in errors.pop()
    assert page.locator(ANSWERED).count() == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == ""


def test_litert_js_gives_the_bytes_of_litert(browser, edge, model, sample):
    digits = sample[0][::10]
    with LiteRtJs(edge, browser) as engine:
        scores = engine.scores(digits)
        assert engine.scores(digits[:0]).shape == (0, 10)
    expected = np.rint(model.predict(digits) / model.output.scale) + model.output.zero_point
    np.testing.assert_array_equal(scores, expected)


def test_an_engine_says_why_a_model_does_not_load(browser, edge, monkeypatch):
    files = page_files(edge)
    broken = type(files["digits.tflite"])("application/octet-stream", b"no model", '"x"')
    monkeypatch.setattr("export.web_engine.page_files", lambda _: files | {"digits.tflite": broken})
    with pytest.raises(InputError, match="The network could not be loaded: "):
        LiteRtJs(edge, browser)


def test_page_and_python_agree_within_one_grey_level(open_page, url, sample):
    page = open_page(url)
    for variant, make in {**VARIANTS, "photo": jpeg_photo}.items():
        pictures = [make(image) for image in sample[0][::250]]
        expected = np.stack([centre_digit(to_grey(picture)) for picture in pictures])
        assert np.abs(in_page(page, pictures) - expected).max() <= 1, variant


def test_pictures_of_any_shape_are_centred_alike(open_page, url):
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 256, shape) for shape in ((1, 1), (1, 90), (70, 1), (2, 3))]
    pictures += [random.integers(100, 116 + 2 * n, random.integers(4, 100, 2)) for n in range(40)]
    expected = np.stack([centre_digit(picture) for picture in pictures])
    given = [
        {"grey": picture.ravel().tolist(), "width": picture.shape[1], "height": picture.shape[0]}
        for picture in pictures
    ]
    digits = np.array(open_page(url).evaluate(CENTRE_GREYS, given)).reshape(-1, 28, 28)
    assert np.abs(digits - expected).max() <= 1
    assert expected.any()
