"""The web page in a real browser, on the whole system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.contract.gateway_collections import fill, image_id, label, picture

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
QUERY = {"name": "boot.png", "mimeType": "image/png", "buffer": picture(COUNT + 1)}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(stack) -> str:
    fill(stack.target, COLLECTION, COUNT)
    return stack.http_url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM} to drive the page with: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, url) -> Iterator[Page]:
    """The page with our collection chosen. It must neither break, nor load anything from elsewhere, nor be kept from it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
    page.on("request", lambda request: None if request.url.startswith(url) else problems.append(f"asked {request.url}"))
    page.goto(f"{url}/#collection={COLLECTION}")
    expect(page.locator("#collection")).to_have_value(COLLECTION)
    yield page
    context.close()
    assert problems == []


def hits(page: Page, space: str):
    return page.locator(f".column.{space} button.hit")


def test_a_chosen_picture_shows_its_histogram_and_its_five_nearest_in_each_space(page):
    page.set_input_files("#file", QUERY)
    for space in ("histogram", "siamese"):
        expect(hits(page, space)).to_have_count(5)
        first = hits(page, space).first
        expect(first).to_contain_text(label(int(first.get_attribute("data-id").rpartition("/")[2])))
        expect(first).to_contain_text("%")
    expect(page.get_by_role("img", name="Histogram of the picture: 256 grey levels")).to_be_visible()
    expect(page.locator(".histogram path")).to_have_attribute("d", _drawn())
    expect(page.get_by_role("status")).to_have_text("5 found by Histogram. 5 found by Siamese.")
    thumbnail = hits(page, "siamese").first.locator("img")
    expect(thumbnail).to_have_js_property("complete", value=True)
    assert thumbnail.evaluate("image => image.naturalWidth") == 28


def test_a_click_on_a_hit_searches_from_it_and_back_returns(page):
    page.set_input_files("#file", QUERY)
    first = hits(page, "siamese").first
    chosen = first.get_attribute("data-id")
    first.click()
    expect(page.locator(".query .caption")).to_contain_text(chosen)
    expect(page.locator(f'.column.siamese [data-id="{chosen}"]')).to_have_count(0)
    expect(hits(page, "siamese")).to_have_count(5)
    second = hits(page, "histogram").first
    expect(second).to_be_visible()
    other = second.get_attribute("data-id")
    second.click()
    expect(page.locator(".query .caption")).to_contain_text(other)
    page.go_back()
    expect(page.locator(".query .caption")).to_contain_text(chosen)


def test_one_may_start_from_a_picture_of_the_collection_by_keyboard(page):
    sample = page.locator(".sample").first
    expect(sample).to_contain_text(label(0))
    sample.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".query .caption")).to_contain_text(image_id(0))
    expect(hits(page, "histogram")).to_have_count(5)


def test_a_filter_narrows_the_hits_and_a_broken_one_says_where(page):
    page.set_input_files("#file", QUERY)
    expect(hits(page, "siamese")).to_have_count(5)
    page.fill("#filter", 'label = "Bag"')
    expect(hits(page, "siamese").first).to_contain_text("Bag")
    expect(page.locator(".column.siamese .name")).to_have_text(["Bag"] * hits(page, "siamese").count())
    page.fill("#filter", "label = ")
    expect(page.locator("#filter-note")).to_contain_text("Column 8")
    expect(page.locator("#filter")).to_have_attribute("aria-invalid", "true")
    page.fill("#filter", 'label = "Submarine"')
    expect(page.locator(".column.siamese .nothing")).to_contain_text("No image fits the filter")


def test_a_file_that_is_no_picture_gets_a_plain_answer(page):
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"milk, eggs"})
    expect(page.locator("#complaint")).to_have_text("This file is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture.")
    expect(page.locator(".histogram")).to_have_count(0)
    page.set_input_files("#file", {"name": "empty.png", "mimeType": "image/png", "buffer": b""})
    expect(page.locator("#complaint")).to_have_text("empty.png is empty. Choose another picture.")


def test_an_answer_that_breaks_off_is_a_plain_failure_that_one_may_try_again(page):
    page.route("**/search", lambda route: route.fulfill(status=200, content_type="application/json", body='{"neighb'))
    page.set_input_files("#file", QUERY)
    for space in ("histogram", "siamese"):
        expect(page.locator(f".column.{space}").get_by_role("alert")).to_contain_text("The server's answer broke off")
    page.unroute("**/search")
    page.locator(".column.siamese").get_by_role("button", name="Try again").click()
    expect(hits(page, "siamese")).to_have_count(5)


def test_an_answer_given_up_while_it_arrives_is_not_taken_for_an_empty_one(page):
    page.evaluate(
        """() => {
            const original = Response.prototype.text;
            Response.prototype.text = function () {
                if (!this.url.endsWith("/search")) return original.call(this);
                Response.prototype.text = original;
                return Promise.reject(new DOMException("given up", "AbortError"));
            };
        }"""
    )
    page.set_input_files("#file", QUERY)
    expect(page.locator(".column").get_by_role("alert")).to_contain_text("given up")
    page.set_input_files("#file", {**QUERY, "name": "second.png"})
    expect(page.locator(".query .caption")).to_contain_text("second.png")
    expect(hits(page, "siamese")).to_have_count(5)
    expect(hits(page, "histogram")).to_have_count(5)


def test_a_picture_may_be_dropped_on_the_page(page):
    data = page.evaluate_handle(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            return data;
        }""",
        list(picture(COUNT + 2)),
    )
    page.dispatch_event("main", "drop", {"dataTransfer": data})
    expect(page.locator(".query .caption")).to_contain_text("dropped.png")
    expect(hits(page, "siamese")).to_have_count(5)


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.set_input_files("#file", QUERY)
    expect(hits(page, "siamese")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_a_collection_the_page_says_how_to_make_one(page, url):
    page.route("**/v1/collections", lambda route: route.fulfill(json={"collections": []}))
    page.goto(f"{url}/")
    page.reload()
    expect(page.get_by_role("heading", name="No collection yet")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("lookalike ingest")


def test_while_something_is_missing_the_page_says_so_and_goes_on_by_itself(page):
    missing = {"code": 503, "message": "milvus is unavailable: it is starting", "field": None}
    page.route("**/v1/collections", lambda route: route.fulfill(status=503, json={"error": missing}))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("milvus is unavailable")
    page.unroute("**/v1/collections")
    expect(page.locator(".sample").first).to_be_visible(timeout=10_000)


def test_the_api_page_shows_every_operation(page, url):
    paths = page.request.get(f"{url}/openapi.json").json()["paths"]
    page.goto(f"{url}/docs")
    expect(page.locator(".opblock")).to_have_count(sum(len(operations) for operations in paths.values()))


def _drawn():
    """A path with as many steps as bins."""
    return re.compile(r"^M0 96(V[\d.]+H[\d.]+){256}V96Z$")
