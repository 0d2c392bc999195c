"""The web page in a real browser: what the address says, what is there to look at, and how it is shown."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from lookalike.client import Client
from tests.contract.gateway_collections import image_id
from tests.servers.browser import COLLECTION, COUNT, QUERY, hits
from tests.servers.stack import Stack

pytestmark = pytest.mark.browser

COLLECTIONS = "**/v1/collections?*"
JOBS = "**/v1/ingest-jobs?*"


def collection(name: str = COLLECTION, count: int = COUNT) -> dict[str, object]:
    spaces = [
        {"name": "histogram", "fingerprint": "h", "metric": "METRIC_L2", "histogram": {"bins": 256, "grid": 1, "color": False}},
        {"name": "siamese", "fingerprint": "s", "metric": "METRIC_COSINE", "model": {"name": "fashion"}},
    ]
    return {"name": name, "image_count": str(count), "spaces": spaces}


def job(state: str, **more: object) -> dict[str, object]:
    counts = {"submitted": "9000", "indexed": "1234", "skipped": "0", "failed": "3"}
    said = {"id": "j1", "collection": "holiday", "source": {}, "counts": counts, "listed": "512", "dry_run": False, **more}
    return {"paused": False, "stalled": False, "state": f"INGEST_JOB_STATE_{state}", **said}


def answer(page: Page, pattern: str, body: object, status: int = 200) -> None:
    page.unroute(pattern)
    page.route(pattern, lambda route: route.fulfill(status=status, json=body))


# --- what the address says ---


def test_back_forward_and_a_reload_bring_an_uploaded_picture_again(page: Page) -> None:
    page.set_input_files("#file", QUERY)
    expect(page).to_have_title("boot.png · Lookalike")
    first = hits(page, "siamese").first
    chosen = first.get_attribute("data-id")
    first.click()
    expect(page.locator(".query .caption")).to_contain_text(str(chosen))
    page.go_back()
    expect(page.locator(".query .caption")).to_contain_text("boot.png")
    expect(hits(page, "siamese")).to_have_count(5)
    page.go_back()
    expect(page.locator(".sample").first).to_be_visible()
    page.go_forward()
    page.reload()
    expect(page.locator(".query .caption")).to_contain_text("boot.png")
    expect(hits(page, "siamese")).to_have_count(5)


def test_a_link_to_what_is_gone_says_so_and_shows_nothing_else_in_its_place(page: Page, page_url: str) -> None:
    page.goto(f"{page_url}/#collection={COLLECTION}&picture=0123456789abcdef")
    expect(page.locator("#complaint")).to_have_text("The picture of this link is not kept here any more. Choose it again.")
    page.goto(f"{page_url}/#collection={COLLECTION}&image=no-such")
    expect(page.locator("#complaint")).to_have_text(
        "This picture is no longer in the collection. It was deleted after the link was made."
    )
    page.goto(f"{page_url}/#collection=renamed&image={image_id(0)}")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no collection “renamed”")
    expect(page.locator(".hit, .sample")).to_have_count(0)
    page.get_by_role("button", name=COLLECTION, exact=True).click()
    expect(page.locator(".sample").first).to_be_visible()
    assert page.url.endswith(f"#collection={COLLECTION}")


def test_a_collection_that_is_deleted_while_it_is_looked_at_is_missed_by_the_next_search(
    page: Page, page_url: str, stack: Stack
) -> None:
    with Client(stack.target) as client:
        client.create_collection("soon_gone")
        page.goto(f"{page_url}/#collection=soon_gone")
        expect(page.get_by_role("heading", level=1)).to_have_text("soon_gone is empty")
        client.delete_collection("soon_gone")
    page.set_input_files("#file", QUERY)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no collection “soon_gone”")


# --- what is there to look at ---


def test_a_first_job_is_followed_until_its_pictures_are_there(page: Page, page_url: str) -> None:
    page.clock.install()
    answer(page, COLLECTIONS, {"collections": []})
    page.goto(f"{page_url}/")
    page.reload()
    expect(page.get_by_role("heading", name="No collection yet")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("lookalike ingest")
    answer(page, "**/images?*", {"images": []})
    answer(page, "**/v1/collections?*page_token=", {"collections": [], "next_page_token": "more"})
    answer(page, "**/v1/collections?*page_token=more", {"collections": [collection("holiday", 0)], "next_page_token": ""})
    for state, words in (
        ("PENDING", "An ingest job waits for its turn."),
        ("PLANNING", "Looking for pictures, 512 so far."),
        ("RUNNING", "Ingesting, 1,234 of 9,000 so far, 3 failed."),
    ):
        answer(page, JOBS, {"jobs": [job(state)]})
        page.clock.fast_forward(5_000)
        expect(page.locator(".progress")).to_contain_text(words)
    expect(page.get_by_role("heading", level=1)).to_have_text("holiday is being filled")
    assert page.url.endswith("#collection=holiday")
    image = {"id": "1", "uri": "file:///a/Rose.jpg", "metadata": {}, "sha256": "ab"}
    answer(page, "**/images?*", {"images": [image]})
    answer(page, COLLECTIONS, {"collections": [collection("holiday", 1)]})
    page.clock.fast_forward(2_500)
    expect(page.locator(".sample")).to_contain_text("Rose.jpg")
    expect(page.locator(".progress")).to_contain_text("Ingesting")
    answer(page, JOBS, {"jobs": [job("FAILED", error={"message": "the folder is not there"})]})
    page.clock.fast_forward(2_500)
    expect(page.locator(".progress")).to_have_text("The last ingest job failed: the folder is not there")
    answer(page, JOBS, {"jobs": [job("SUCCEEDED", undo={"deleted": "1200", "undo_time": "2026-11-30T12:00:00Z"})]})
    page.clock.fast_forward(60_000)
    expect(page.locator(".progress")).to_have_text("The last ingest job was undone: 1,200 of its pictures were deleted.")


def test_while_something_is_missing_the_page_says_so_and_goes_on_by_itself(page: Page) -> None:
    page.clock.install()
    missing = {"code": 503, "message": "milvus is unavailable: it is starting", "field": None}
    answer(page, COLLECTIONS, {"error": missing}, 503)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("milvus is unavailable")
    page.unroute(COLLECTIONS)
    answer(page, "**/images?*", {"error": missing}, 503)
    page.clock.fast_forward(3_000)
    expect(page.locator(".problem")).to_contain_text("milvus is unavailable", timeout=10_000)  # and not "is empty"
    page.unroute("**/images?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".sample").first).to_be_visible()


def test_on_a_slow_network_the_page_says_that_it_is_still_at_it(page: Page) -> None:
    page.clock.install()
    page.route("**/search", lambda _route: None)  # Never answered.
    page.set_input_files("#file", QUERY)
    expect(page.locator(".row[aria-disabled]")).to_have_count(10)
    page.clock.fast_forward(5_000)
    expect(page.locator(".column[data-space=siamese] header")).to_contain_text("Still searching")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".sample").first).to_be_visible()


# --- how it is shown ---

NUMBERS = """async () => {
    const [{ listImages }, { nameOf, shown }] = await Promise.all([import("/page/api.js"), import("/page/names.js")]);
    const [image] = await listImages("any", 1);
    return [nameOf(image), ...Object.values(image.metadata).map(shown)];
}"""


def test_whole_numbers_are_shown_with_all_their_digits(page: Page) -> None:
    metadata = {"title": 2**53 + 1, "deep": {"list": [2**63 - 1, -(2**63), 7, 0.5]}, "large": 1e300}
    answer(page, "**/images?*", {"images": [{"id": "1", "uri": "", "metadata": metadata, "sha256": "ab"}]})
    name, title, deep, large = page.evaluate(NUMBERS)
    assert (name, title, large) == ("9007199254740993", "9007199254740993", "1e+300")
    assert deep == '{"list":[9223372036854775807,-9223372036854775808,7,0.5]}'


NAMES = """async (images) => {
    const { nameOf, placeOf, shortened } = await import("/page/names.js");
    return images.map(({ metadata = {}, uri = "", id = "0f3a" }) => [nameOf({ metadata, uri, id }), placeOf(uri)]);
}"""


@pytest.mark.parametrize(
    ("image", "name", "place"),
    [
        ({"metadata": {"title": "Dawn", "label": "beach"}, "uri": "file:///p/IMG_1.jpg"}, "Dawn", "/p/IMG_1.jpg"),
        ({"metadata": {"label": "beach"}, "uri": "file:///p/my%20cat%20%231.jpg"}, "my cat #1.jpg", "/p/my cat #1.jpg"),
        ({"metadata": {"label": "beach"}}, "beach", ""),
        ({}, "0f3a", ""),
        ({"id": "\u200b"}, "Picture without a name", ""),
        (
            {"metadata": {"title": None, "name": {"en": "x"}, "caption": "  \n "}, "uri": "/data/100%.jpg"},
            "100%.jpg",
            "/data/100%.jpg",
        ),
        ({"metadata": {"title": 7}}, "7", ""),
        ({"uri": "s3://bucket/a/b.png"}, "b.png", "bucket/a/b.png"),
        ({"uri": "https://host/pic/7.jpg?size=2#x"}, "7.jpg", "host/pic/7.jpg"),
        ({"uri": "https://host/pic?id=7"}, "pic?id=7", "host/pic?id=7"),
        ({"uri": "https://host/"}, "0f3a", "host"),
        ({"uri": "tar://a/b%20c.jpg::file:///d/shard-1.tar"}, "b c.jpg", "shard-1.tar/a/b c.jpg"),
        ({"uri": "artifact://originals/ab/abcdef"}, "0f3a", ""),
        ({"uri": "file:///p/harmless%E2%80%AEgpj.exe"}, "harmlessgpj.exe", "/p/harmlessgpj.exe"),
        ({"metadata": {"title": "👨\u200d👩\u200d👧 می\u200cروم"}}, "👨\u200d👩\u200d👧 می\u200cروم", ""),
        ({"metadata": {"title": "x" * 9000}}, "x" * 400, ""),
    ],
    ids=map(str, range(16)),
)
def test_an_image_is_called_what_people_called_it(named: Page, image: dict[str, Any], name: str, place: str) -> None:
    assert named.evaluate(NAMES, [image]) == [[name, place]]


def test_a_long_name_is_shortened_in_the_middle_and_no_character_is_cut(named: Page) -> None:
    short = "async (text) => (await import('/page/names.js')).shortened(text, 36)"
    assert named.evaluate(short, "a" * 36) == "a" * 36
    assert named.evaluate(short, "a" * 30 + "b" * 30) == "a" * 20 + "…" + "b" * 15
    assert named.evaluate(short, "👨\u200d👩\u200d👧" * 30) == "👨\u200d👩\u200d👧" * 10 + "…" + "👨\u200d👩\u200d👧" * 7


@pytest.fixture(scope="module")
def named(browser: Browser, page_url: str) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(f"{page_url}/openapi.json")
    yield page
    page.close()


HOSTILE = [
    "IMG_20190714_183202_" + "a rather long name that somebody with patience gave to it " * 3 + "final.jpg",
    "x" * 250,
    "صورة من الشاطئ في الصيف الماضي وهي طويلة جدا حتى لا تتسع لها البطاقة.jpg",
    "🏖️👨\u200d👩\u200d👧" * 30,
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
]
OUTSIDE = """() => [...document.querySelectorAll("main *, header *")].filter((element) => {
    if (element.closest(".visually-hidden, .whole, svg")) return false;
    if (element.parentElement.closest(".facts, .folder, .name")) return false; // They cut off what does not fit.
    const box = element.getBoundingClientRect();
    const within = element.closest(".query, .column, .samples, .welcome, .sample") ?? document.documentElement;
    const card = within.getBoundingClientRect();
    return box.width > 0 && (box.right > card.right + 1 || box.left < card.left - 1 || box.right > innerWidth + 1);
}).map((element) => element.outerHTML.slice(0, 120))"""


def test_nothing_bursts_its_card_at_any_width_whatever_names_and_pictures_are_like(page: Page) -> None:
    def hostile(route: Route) -> None:
        if "json" not in route.request.headers.get("content-type", "json"):
            route.continue_()
            return
        body = route.fetch().json()
        images = [hit["image"] for hit in body["neighbours"]] if "neighbours" in body else body["images"]
        for number, image in enumerate(images):
            metadata = {"title": HOSTILE[number % 5], "label": "<b>" + "y" * 300, "list": [HOSTILE[0]]}
            image |= {"metadata": metadata, "uri": "file:///" + "z" * 300 + "/" + "w" * 200}
        route.fulfill(json=body)

    page.route("**/search", hostile)
    page.route("**/images?*", hostile)
    page.route(COLLECTIONS, lambda route: _renamed(route, "l" + "ong" * 20))
    page.reload()
    for shape in ((3000, 40), (40, 3000), None):
        if shape is not None:
            content = io.BytesIO()
            Image.new("RGB", shape, "red").save(content, "PNG")
            page.set_input_files("#file", cast("FilePayload", {**QUERY, "name": "n" * 200, "buffer": content.getvalue()}))
            expect(hits(page, "siamese")).to_have_count(5)
            expect(page.locator(".query .histogram")).to_be_visible()
        else:
            page.get_by_role("button", name="Clear").click()
            expect(page.locator(".sample")).to_have_count(24)
        for width in (320, 390, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(OUTSIDE) == [], (shape, width)
    assert page.locator("main b, main script, main img[src=x]").count() == 0


def _renamed(route: Route, name: str) -> None:
    body = route.fetch().json()
    body["collections"].append({**body["collections"][0], "name": name})
    route.fulfill(json=body)


def test_a_shortened_name_is_whole_for_screen_readers_and_while_it_has_the_focus(page: Page) -> None:
    long = HOSTILE[0].strip()
    page.route(
        "**/images?*",
        lambda route: route.fulfill(json={"images": [{"id": "1", "uri": "", "metadata": {"title": long}, "sha256": "ab"}]}),
    )
    page.reload()
    sample = page.get_by_role("button", name=f"Search from {long}")
    expect(sample.locator(".name")).to_contain_text("…")
    expect(sample.locator(".whole")).to_be_hidden()
    sample.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(sample.locator(".whole")).to_have_text(long)
    expect(sample.locator(".whole")).to_be_visible()


def test_the_focus_stays_where_it_was_and_never_falls_to_the_top(page: Page) -> None:
    page.locator(".sample").first.focus()
    page.keyboard.press("Enter")
    expect(hits(page, "histogram")).to_have_count(5)
    assert page.evaluate("document.activeElement.id") == "asked"
    third = hits(page, "siamese").nth(2)
    chosen = third.get_attribute("data-id")
    third.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".query .caption")).to_contain_text(str(chosen))
    expect(hits(page, "siamese")).to_have_count(5)
    assert hits(page, "siamese").nth(2).evaluate("element => element === document.activeElement")
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".sample").first).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "choose"


CONTRAST = """() => {
    const channel = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const parsed = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => { const [r, g, b] = parsed(colour).map(channel); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if ((parsed(colour)[3] ?? 1) === 1) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const poor = new Set();
    for (const element of document.querySelectorAll("body *")) {
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!text || !element.checkVisibility() || element.closest(".rank, .visually-hidden, option")) continue;
        const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) poor.add(`${element.className} ${ratio.toFixed(2)}`);
    }
    return [...poor];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_input_files("#file", QUERY)
    page.fill("#filter", "label = ")
    expect(page.locator("#filter-note")).to_contain_text("Column 8")
    assert page.evaluate(CONTRAST) == []
    page.fill("#filter", "")
    expect(hits(page, "siamese")).to_have_count(5)
    assert page.evaluate(CONTRAST) == []
