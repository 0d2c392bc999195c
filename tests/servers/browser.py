"""Debian's Chromium on the page of the running system, which has one collection of clothes to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect, sync_playwright

from tests.contract.gateway_collections import fill, picture
from tests.servers.stack import Stack

COLLECTION = "page"
COUNT = 60
CHROMIUM = Path("/usr/bin/chromium")
"""Debian's; Playwright's own would be a download."""
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUERY: FilePayload = {"name": "boot.png", "mimeType": "image/png", "buffer": picture(COUNT + 1)}


@pytest.fixture(scope="session")
def page_url(stack: Stack) -> str:
    """The system's HTTP address; it holds `COLLECTION`, the first `COUNT` pictures."""
    fill(stack.target, COLLECTION, COUNT)
    return stack.http_url


@pytest.fixture(scope="module")  # Playwright's event loop runs until it is closed, and no other test may have one meanwhile.
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM} to drive the page with: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, page_url: str) -> Iterator[Page]:
    """The page with our collection chosen. It must neither break, nor load anything from elsewhere, nor be kept from it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: None if request.url.startswith(page_url) else problems.append(f"asked {request.url}"))
    page.goto(f"{page_url}/#collection={COLLECTION}")
    expect(page.locator("#collection")).to_have_value(COLLECTION)
    yield page
    context.close()
    assert problems == []


def hits(page: Page, space: str) -> Locator:
    return page.locator(f".column[data-space={space}] button.hit")
