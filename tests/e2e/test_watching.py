"""A browser's own `EventSource` on a job of the whole system."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from lookalike.client import UploadItem, UploadSource
from tests.contract.gateway_collections import picture
from tests.servers.stack import Stack

pytestmark = pytest.mark.browser

_WATCH = """
(path) => new Promise((resolve) => {
    const seen = [];
    const source = new EventSource(path);
    for (const name of ["job", "end", "problem"]) {
        source.addEventListener(name, (event) => seen.push([name, JSON.parse(event.data)]));
    }
    source.onerror = () => source.readyState === EventSource.CLOSED && resolve(seen);
})
"""
"""Nobody closes it: it must give up by itself."""


def test_an_event_source_sees_a_job_to_its_end_and_then_stops_by_itself(browser: Browser, stack: Stack) -> None:
    with stack.client() as client:
        client.create_collection("watching")
        items = [UploadItem(str(number), content=picture(number)) for number in range(40)]
        job = client.create_ingest_job("watching", UploadSource(client.upload("watching", items).id))
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith(":watch") else None)
    page.goto(stack.http_url)
    seen = page.evaluate(_WATCH, f"/v1/ingest-jobs/{job.id}:watch")
    assert [name for name, _ in seen][-2:] == ["job", "end"]
    assert seen[-2][1]["job"]["counts"]["indexed"] == "40"
    assert len(asked) == 2, "it connected again, and learnt that nothing more comes"
    page.close()
