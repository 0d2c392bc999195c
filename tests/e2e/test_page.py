"""The web page in a real browser, on the whole system: what is searched with, and what is found."""

from __future__ import annotations

import io
import re
from typing import cast

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, Route, expect

from lookalike.fashion_mnist import CLASS_NAMES
from tests.contract.gateway_collections import fill, image_id, label, picture
from tests.servers.browser import COUNT, QUERY, hits
from tests.servers.stack import Stack

pytestmark = pytest.mark.browser


def test_a_chosen_picture_shows_its_histogram_and_its_five_nearest_in_each_space(page: Page) -> None:
    page.set_input_files("#file", QUERY)
    for space in ("histogram", "siamese"):
        expect(hits(page, space)).to_have_count(5)
        first = hits(page, space).first
        expect(first).to_contain_text(label(int(str(first.get_attribute("data-id")).rpartition("/")[2])))
        expect(first).to_contain_text("%")
    expect(page.get_by_role("img", name="Histogram of the picture: 256 grey levels")).to_be_visible()
    expect(page.locator(".histogram path")).to_have_attribute("d", _drawn())
    expect(page.get_by_role("status")).to_have_text("5 found by Histogram. 5 found by Siamese.")
    thumbnail = hits(page, "siamese").first.locator("img")
    expect(thumbnail).to_have_js_property("complete", value=True)
    assert thumbnail.evaluate("image => image.naturalWidth") == 28


TONES = {"name": "warm_tones", "histogram": {"bins": 16, "grid": 2, "color": True}}
MODELS = [{"name": name, "model": {"name": "fashion"}} for name in ("fashion", "again")]


@pytest.mark.parametrize(
    ("spaces", "titles", "abouts"),
    [
        (
            [*MODELS, TONES],
            ["Fashion", "Again", "Warm tones"],
            ["What the model fashion sees in the picture"] * 2 + ["Which colours, and how much of them, part by part"],
        ),
        (MODELS[:1], ["Fashion"], ["What is in the picture"]),
        ([TONES], ["Warm tones"], ["Which colours, and how much of them, part by part"]),
    ],
    ids=["three", "a model", "a histogram"],
)
def test_every_space_of_a_collection_is_a_column(
    page: Page, stack: Stack, spaces: list[dict[str, object]], titles: list[str], abouts: list[str]
) -> None:
    fill(stack.target, "page_of_spaces", 12, spaces)
    try:
        page.goto("about:blank")
        page.goto(f"{stack.http_url}/#collection=page_of_spaces")
        page.set_input_files("#file", QUERY)
        for space in spaces:
            expect(hits(page, str(space["name"]))).to_have_count(5)
        expect(page.locator(".column h2")).to_have_text(titles)
        assert [text.removesuffix(" · ") for text in page.locator(".column .about").all_text_contents()] == abouts
        expect(page.get_by_role("status")).to_have_text(" ".join(f"5 found by {title}." for title in titles))
        expect(page.locator(".query .histogram .cells > svg")).to_have_count(4 if TONES in spaces else 0)
        for width, columns in ((1440, len(spaces)), (390, min(len(spaces), 2))):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert len({round(box["x"]) for one in page.locator(".column").all() if (box := one.bounding_box())}) == columns
    finally:
        with stack.client() as client:
            client.delete_collection("page_of_spaces")


def test_a_click_on_a_hit_searches_from_it_and_back_returns(page: Page) -> None:
    page.set_input_files("#file", QUERY)
    first = hits(page, "siamese").first
    chosen = first.get_attribute("data-id")
    first.click()
    expect(page.locator(".query .caption")).to_contain_text(str(chosen))
    expect(page.locator(f'.column[data-space=siamese] [data-id="{chosen}"]')).to_have_count(0)
    expect(hits(page, "siamese")).to_have_count(5)
    second = hits(page, "histogram").first
    expect(second).to_be_visible()
    other = second.get_attribute("data-id")
    second.click()
    expect(page.locator(".query .caption")).to_contain_text(str(other))
    page.go_back()
    expect(page.locator(".query .caption")).to_contain_text(str(chosen))


def test_a_search_may_start_from_a_picture_of_the_collection_by_keyboard(page: Page) -> None:
    sample = page.locator(".sample").first
    expect(sample).to_contain_text(label(0))
    sample.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".query .caption")).to_contain_text(image_id(0))
    expect(hits(page, "histogram")).to_have_count(5)


def test_a_filter_narrows_the_hits_and_a_broken_one_says_where(page: Page) -> None:
    page.set_input_files("#file", QUERY)
    expect(hits(page, "siamese")).to_have_count(5)
    expect(page.locator("#filter")).to_have_attribute("placeholder", re.compile(f'label = "({"|".join(CLASS_NAMES)})"'))
    page.fill("#filter", 'label = "Bag"')
    expect(hits(page, "siamese").first).to_contain_text("Bag")
    expect(page.locator(".column[data-space=siamese] .name")).to_have_text(["Bag"] * hits(page, "siamese").count())
    page.fill("#filter", "label = ")
    expect(page.locator("#filter-note")).to_contain_text("Column 8")
    expect(page.locator("#filter")).to_have_attribute("aria-invalid", "true")
    page.fill("#filter", 'label = "Submarine"')
    expect(page.locator(".column[data-space=siamese] .nothing")).to_contain_text("No image fits the filter")


def test_a_file_that_is_no_picture_gets_a_plain_answer(page: Page) -> None:
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"milk, eggs"})
    expect(page.locator("#complaint")).to_have_text("This file is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture.")
    expect(page.locator(".histogram")).to_have_count(0)
    page.set_input_files("#file", {"name": "empty.png", "mimeType": "image/png", "buffer": b""})
    expect(page.locator("#complaint")).to_have_text("empty.png is empty. Choose another picture.")


def test_an_answer_that_breaks_off_is_a_plain_failure_that_one_may_try_again(page: Page) -> None:
    page.route("**/search", lambda route: route.fulfill(status=200, content_type="application/json", body='{"neighb'))
    page.set_input_files("#file", QUERY)
    expect(page.locator(".columns").get_by_role("alert")).to_contain_text("The server's answer broke off")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(hits(page, "siamese")).to_have_count(5)


def test_an_answer_given_up_while_it_arrives_is_not_taken_for_an_empty_one(page: Page) -> None:
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
    expect(page.locator(".columns").get_by_role("alert")).to_contain_text("given up")
    page.set_input_files("#file", cast("FilePayload", {**QUERY, "name": "second.png"}))
    expect(page.locator(".query .caption")).to_contain_text("second.png")
    expect(hits(page, "siamese")).to_have_count(5)
    expect(hits(page, "histogram")).to_have_count(5)


def test_a_picture_is_sent_once_for_all_spaces_and_not_again_for_another_filter(page: Page) -> None:
    sent = []
    page.on("request", lambda request: sent.append("multipart" in request.headers.get("content-type", "")))
    page.set_input_files("#file", QUERY)
    expect(hits(page, "siamese")).to_have_count(5)
    for filter_ in ('label = "Bag"', 'label = "Coat"'):
        page.fill("#filter", filter_)
        expect(hits(page, "siamese").first).to_contain_text(filter_[9:-1])
        expect(hits(page, "histogram").first).to_contain_text(filter_[9:-1])
    assert sum(sent) == 1


def test_of_two_searches_the_later_is_shown_whichever_ends_last(page: Page) -> None:
    held: list[Route] = []
    page.route("**/search", lambda route: held.append(route) if not held else route.continue_())
    page.set_input_files("#file", QUERY)
    expect(page.locator(".row[aria-disabled]")).to_have_count(10)
    page.set_input_files("#file", cast("FilePayload", {**QUERY, "name": "later.png", "buffer": picture(COUNT + 2)}))
    for space in ("siamese", "histogram"):
        expect(hits(page, space)).to_have_count(5)
    shown = page.locator(".columns").inner_text()
    held[0].abort()
    expect(page.locator(".query .caption")).to_contain_text("later.png")
    page.wait_for_load_state("networkidle")
    assert page.locator(".columns").inner_text() == shown


DROP = """([kind, files, types]) => {
    const data = new DataTransfer();
    for (const [name, type, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, { type }));
    for (const [type, text] of types) data.setData(type, text);
    const named = { bubbles: true, cancelable: true, [kind === "paste" ? "clipboardData" : "dataTransfer"]: data };
    const event = kind === "paste" ? new ClipboardEvent("paste", named) : new DragEvent("drop", named);
    document.activeElement.dispatchEvent(event);
    return event.defaultPrevented;
}"""


def give(page: Page, kind: str, *files: tuple[str, str, bytes], types: tuple[tuple[str, str], ...] = ()) -> bool:
    """Drop or paste what holds `files` (name, type, bytes) and texts by type; whether the page took it."""
    return bool(page.evaluate(DROP, [kind, [(name, mime, list(content)) for name, mime, content in files], types]))


PNG = picture(COUNT + 2)


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_may_be_dropped_or_pasted_and_of_several_things_the_first_picture_is_taken(page: Page, kind: str) -> None:
    assert give(page, kind, ("notes.txt", "text/plain", b"milk"), ("one.png", "image/png", PNG), ("two.png", "image/png", PNG))
    expect(page.locator(".query .caption")).to_contain_text("one.png")
    expect(page.locator(".query .caption")).to_contain_text("3 things came at once; one.png is searched with.")
    expect(hits(page, "siamese")).to_have_count(5)


def test_what_is_no_picture_is_refused_in_words_and_leaves_the_page_as_it_is(page: Page) -> None:
    folder = """() => document.body.dispatchEvent(Object.assign(new Event("drop", { bubbles: true }), { dataTransfer: {
        types: ["Files"], files: [], items: [{ kind: "file", webkitGetAsEntry: () => ({ isDirectory: true }) }] } }))"""
    page.evaluate(folder)
    expect(page.locator("#complaint")).to_contain_text("That is a folder. Drop one picture")
    assert give(page, "drop", types=(("text/uri-list", f"{page.url}cat.jpg"),)), "else the browser would follow the link"
    expect(page.locator("#complaint")).to_contain_text("That is a link, not a file.")
    assert not give(page, "paste", types=(("text/plain", "label"),))
    page.focus("#filter")
    assert not give(page, "paste", ("cells.png", "image/png", PNG), types=(("text/plain", "12"),)), "copied from a table"
    assert not give(page, "drop", types=(("text/plain", "label"),)), "text dragged into the filter"
    expect(page.locator(".query .caption")).to_have_count(0)


def test_a_picture_over_the_limit_is_scaled_down_and_what_cannot_be_is_refused_in_words(page: Page) -> None:
    width, height = 3000, 2400
    header = io.BytesIO()
    Image.new("RGB", (width, height)).save(header, "BMP")  # 21.6 MB, of zeros
    make = """([name, head, size]) => {
        const bytes = new Uint8Array(size);
        bytes.set(head);
        const data = new DataTransfer();
        data.items.add(new File([bytes], name, { type: "" }));
        document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: data }));
    }"""
    with page.expect_request(lambda request: "multipart" in request.headers.get("content-type", "")) as sent:
        page.evaluate(make, ["big.bmp", list(header.getvalue()[:54]), len(header.getvalue())])
    expect(page.locator(".query .caption")).to_contain_text("big.bmp is 21.6 MB, so a smaller copy of it is searched with.")
    expect(hits(page, "siamese")).to_have_count(5)
    assert int(sent.value.header_value("content-length") or "") < 1_000_000
    page.evaluate(make, ["film.mp4", [0], 30_000_000])
    expect(page.locator("#complaint")).to_have_text(
        "film.mp4 is 30.0 MB. Pictures may have up to 20 MB, and this browser cannot scale this one down."
    )
    expect(page.locator(".query .caption")).to_contain_text("big.bmp")


def test_a_picture_that_only_the_browser_reads_is_redrawn_and_one_that_nobody_reads_is_refused(page: Page) -> None:
    avif = io.BytesIO()
    Image.open(io.BytesIO(PNG)).convert("RGB").resize((64, 64)).save(avif, "AVIF")
    page.set_input_files("#file", {"name": "photo.avif", "mimeType": "image/avif", "buffer": avif.getvalue()})
    expect(hits(page, "siamese")).to_have_count(5)
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200)
    page.set_input_files("#file", {"name": "IMG_0001.HEIC", "mimeType": "image/heic", "buffer": heic})
    expect(page.locator("#complaint")).to_contain_text("This file is")
    expect(hits(page, "siamese")).to_have_count(0)


def test_the_api_page_shows_every_operation(page: Page, page_url: str) -> None:
    paths = page.request.get(f"{page_url}/openapi.json").json()["paths"]
    page.goto(f"{page_url}/docs")
    expect(page.locator(".opblock")).to_have_count(sum(len(operations) for operations in paths.values()))


def _drawn() -> re.Pattern[str]:
    """A path with as many steps as bins."""
    return re.compile(r"^M0 96(V[\d.]+H[\d.]+){256}V96Z$")
