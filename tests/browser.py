"""Headless Chromium on pages in files: what it complains of, what it asks the network for, and the page itself."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# A root user's Chromium has no sandbox; the rest keeps it from calling home
ARGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
ARGS += ("--disable-component-update", "--disable-sync")
PHONE = {"width": 360, "height": 740}


def program() -> str | None:
    """The Chromium of this machine."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def why_none() -> str | None:
    """Why no page can be opened here; None where one can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: pip install -e '.[test]'"
    return None if program() else "there is no Chromium: apt-get install chromium"


@dataclass
class Visit:
    """A page that is open."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """What its scripts threw and its console called an error or a warning, a refusal by the page's policy included."""
    requests: list[str] = field(default_factory=list)
    """What it asked for beyond its own file."""

    def assert_clean(self) -> None:
        """Nothing went wrong, and nothing was asked for."""
        assert self.errors == []
        assert self.requests == []

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window: above 0, a person has to scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@dataclass
class Chromium:
    """A browser that is running."""

    browser: Browser

    @contextmanager
    def open(self, path: Path, fragment: str = "", **options: Any) -> Iterator[Visit]:
        """Open a file in a fresh context without network; `options` are those of Playwright's `new_context`."""
        context = self.browser.new_context(offline=True, **options)
        visit = Visit(context.new_page())
        address = path.absolute().as_uri()
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.page.on(
            "console",
            lambda said: visit.errors.append(said.text) if said.type in ("error", "warning") else None,
        )
        visit.page.on(
            "request",
            lambda asked: None if asked.url.startswith(address) else visit.requests.append(asked.url),
        )
        try:
            visit.page.goto(f"{address}{'#' if fragment else ''}{fragment}", wait_until="load")
            yield visit
        finally:
            context.close()


@contextmanager
def started() -> Iterator[Chromium]:
    """A browser for as long as tests need it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(ARGS))
        try:
            yield Chromium(browser)
        finally:
            browser.close()
