"""The edge model as LiteRT.js runs it: on the page that people use, in headless Chromium."""

import base64
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from export.web_page import page_files
from export.web_server import PageServer
from serving.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_LOAD_SECONDS = 120
_DIGITS_A_CALL = 1000

_SCORE = """async (encoded) => {
  const { score } = await import("./classifier.js");
  const digits = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const scores = [];
  for (let at = 0; at < digits.length; at += 784) {
    scores.push(Array.from(await score(digits.subarray(at, at + 784))));
  }
  return scores;
}"""


@contextlib.contextmanager
def chromium() -> Iterator["Browser"]:
    """Starts the Chromium of this machine, headless; one at a time in a thread.

    Raises:
        InputError: it is not installed, nor what drives it.
    """
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise InputError("no Chromium here; install it (apt install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise InputError("playwright is not installed: pip install '.[dev]'") from error
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program) as browser,
    ):
        yield browser


def wait_until_loaded(page: "Page") -> None:
    """Waits until the page has loaded the model.

    Raises:
        InputError: it could not; the page says why.
    """
    page.wait_for_selector("html:not([data-state=loading])", timeout=1000 * _LOAD_SECONDS)
    if page.get_attribute("html", "data-state") == "failed":
        raise InputError(page.inner_text("#problem"))


class LiteRtJs:
    """Runs an edge model in a browser, for comparison with other engines.

    Attributes:
        name: of the engine.
    """

    name = "LiteRT.js"

    def __init__(self, edge_directory: Path, browser: "Browser") -> None:
        """Serves the page on a free port of loopback, and opens it.

        Args:
            edge_directory: a version of the edge model, as `digits run` pushes it.
            browser: as `chromium` starts it.

        Raises:
            InputError: the model or the JavaScript packages are missing, or the model does not
                load.
        """
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(PageServer(page_files(edge_directory)).running())
            self._page = stack.enter_context(browser.new_page())
            self._page.goto(server.url)
            wait_until_loaded(self._page)
            self._open = stack.pop_all()

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Classifies digits one by one.

        Args:
            images: uint8 [n, 28, 28], white on black, 0 to 255.

        Returns:
            uint8 [n, 10], the model's own output.
        """
        rows: list[list[int]] = []
        for start in range(0, len(images), _DIGITS_A_CALL):
            digits = images[start : start + _DIGITS_A_CALL].tobytes()
            rows += self._page.evaluate(_SCORE, base64.b64encode(digits).decode())
        return np.array(rows, np.uint8).reshape(len(images), 10)

    def close(self) -> None:
        """Closes the page and its server; the browser stays."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
