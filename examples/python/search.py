"""Indexes pictures and finds those that look alike: `python search.py HOST:PORT PICTURE...`"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from lookalike.client import Client, SearchResult, UploadItem, UploadSource
from lookalike.errors import AlreadyExists, LookalikeError

COLLECTION = "example_python"
SERIAL = 2**53 + 1  # One more than a float can hold.


def index(client: Client, pictures: list[Path]) -> None:
    """Upload the pictures with metadata, and wait for the job that indexes them."""
    items = (
        UploadItem(
            id=path.name, uri=str(path), content=path.read_bytes(), metadata={"file": path.name, "serial": SERIAL + place}
        )
        for place, path in enumerate(pictures)
    )
    upload = client.upload(COLLECTION, items, timeout_s=60)
    created = client.create_ingest_job(COLLECTION, UploadSource(upload.id))
    for job in client.watch_job(created.id):
        counts = job.counts
        print(f"{job.state.name}: {counts.indexed} indexed, {counts.skipped} skipped, {counts.failed} failed")
    for failure in client.list_failures(created.id):
        print(f"{failure.id} failed: {failure.reason}: {failure.message}")


def search(client: Client, picture: Path) -> None:
    """Search by a file, in two spaces, and by an id. A strong search sees what the job wrote a moment ago."""
    by_file = client.search(
        COLLECTION,
        image=picture,
        spaces=["siamese", "histogram"],
        weights={"siamese": 2},
        top_k=3,
        filter=f"serial >= {SERIAL}",
        consistency="strong",
    )
    show(f"Like the file {picture.name}", by_file)
    by_id = client.search(COLLECTION, image_id=picture.name, consistency="strong", timeout_s=2)  # The deadline of this call.
    show(f"Like the stored image {picture.name}", by_id)


def show(title: str, found: SearchResult) -> None:
    """Print a table."""
    print(f"\n{title}\nrank  similarity  serial            id")
    for hit in found.neighbours:
        print(f"{hit.rank:4} {hit.similarity:11.4f}  {hit.image.metadata['serial']:<17} {hit.image.id}")


def search_for_nothing(client: Client) -> None:
    """Distinguish errors by their reason."""
    try:
        client.search(COLLECTION, image_id="no such image")
    except LookalikeError as error:
        if error.reason != "IMAGE_NOT_FOUND":
            raise
        print(f"\n{error.reason}: {error}")


def main() -> None:
    """Run the example."""
    if len(sys.argv) < 3:
        sys.exit("usage: search.py HOST:PORT PICTURE...")
    address, *paths = sys.argv[1:]
    pictures = [Path(path) for path in paths]
    with Client(address, timeout_s=10) as client:  # The deadline of every call that has none of its own.
        try:
            with suppress(AlreadyExists):
                client.create_collection(COLLECTION, description="Pictures of an example")
            index(client, pictures)
            search(client, pictures[0])
            search_for_nothing(client)
        except LookalikeError as error:
            sys.exit(f"{error.reason}: {error}")


if __name__ == "__main__":
    main()
