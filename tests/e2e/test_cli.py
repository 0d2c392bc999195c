"""The `lookalike` command against the whole system: pictures in, neighbours out, and what becomes of bad input."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.demo import dataset
from tests.servers.stack import Stack

COLLECTION = "cli_shoes"
COUNT = 120

Lookalike = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def lookalike(stack: Stack) -> Lookalike:
    """The command in this process: one of its own would import for most of its time."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        given = ["--address", stack.target, *arguments]
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = run_command(given)
        return subprocess.CompletedProcess(given, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="module")
def pictures() -> tuple[dataset.Pictures, dataset.Pictures]:
    gallery, queries = dataset.split()
    return dataset.Pictures(gallery.images[:COUNT], gallery.labels[:COUNT], gallery.numbers[:COUNT]), queries


@pytest.fixture(scope="module")
def filled(
    lookalike: Lookalike,
    stack: Stack,
    pictures: tuple[dataset.Pictures, dataset.Pictures],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A collection that holds `COUNT` pictures, ingested by a process; gives the manifest they came from."""
    manifest = dataset.write_files(pictures[0], tmp_path_factory.mktemp("pictures"))
    command = [sys.executable, "-m", "lookalike.cli.main", "--address", stack.target]
    command += ["ingest", str(manifest), "-C", COLLECTION, "--create", "--watch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == exits.OK, done.stdout + done.stderr
    assert f"{COUNT} items: {COUNT} indexed, 0 skipped, 0 failed" in done.stdout
    yield manifest
    assert lookalike("collections", "delete", COLLECTION, "--yes").returncode == exits.OK


def test_search_finds_what_looks_alike_in_every_space(
    lookalike: Lookalike, filled: Path, pictures: tuple[dataset.Pictures, dataset.Pictures], tmp_path: Path
) -> None:
    gallery, _ = pictures
    picture = tmp_path / "picture.png"
    picture.write_bytes(gallery.png(7))
    for spaces in (("-s", "histogram"), ("-s", "siamese"), ("-s", "histogram", "-s", "siamese"), ()):
        done = lookalike("search", str(picture), "-C", COLLECTION, *spaces, "--strong", "--json")
        assert done.returncode == exits.OK, done.stderr
        neighbours = json.loads(done.stdout)["neighbours"]
        assert len(neighbours) == 5
        nearest = neighbours[0]
        assert (nearest["image"]["id"], nearest["image"]["metadata"]) == (gallery.id(7), {"label": gallery.label(7)})
        assert nearest["similarity"] == pytest.approx(1.0, abs=1e-3)
        similarities = [hit["similarity"] for hit in neighbours]
        assert similarities == sorted(similarities, reverse=True)


def test_a_filter_holds_for_every_hit_and_a_stored_image_is_no_neighbour_of_its_own(
    lookalike: Lookalike, filled: Path, pictures: tuple[dataset.Pictures, dataset.Pictures]
) -> None:
    gallery, _ = pictures
    done = lookalike(
        "search", "--id", gallery.id(0), "-C", COLLECTION, "-k", "9", "-f", 'label = "Dress"', "--strong", "--json"
    )
    assert done.returncode == exits.OK, done.stderr
    images = [hit["image"] for hit in json.loads(done.stdout)["neighbours"]]
    assert images
    assert {image["metadata"]["label"] for image in images} == {"Dress"}
    assert gallery.id(0) not in {image["id"] for image in images}


def test_the_same_again_is_skipped_as_unchanged(lookalike: Lookalike, filled: Path) -> None:
    done = lookalike("ingest", str(filled), "-C", COLLECTION, "--watch")
    assert done.returncode == exits.OK, done.stdout + done.stderr
    assert f"{COUNT} items: 0 indexed, {COUNT} skipped, 0 failed" in done.stdout
    assert f"skipped, unchanged: {COUNT}" in done.stdout


def test_bad_pictures_fail_alone_and_are_listed(
    lookalike: Lookalike, stack: Stack, filled: Path, pictures: tuple[dataset.Pictures, dataset.Pictures], tmp_path: Path
) -> None:
    _, queries = pictures
    (tmp_path / "good.png").write_bytes(queries.png(0))
    (tmp_path / "truncated.png").write_bytes(queries.png(1)[:120])
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    (tmp_path / "empty.png").touch()
    done = lookalike("ingest", str(tmp_path), "-C", COLLECTION, "--watch")
    assert done.returncode == exits.ITEMS_FAILED
    assert "4 items: 1 indexed, 0 skipped, 3 failed" in done.stdout
    job = done.stdout.split()[1]
    failures = [json.loads(line) for line in lookalike("jobs", "failures", job, "--json").stdout.splitlines()]
    assert {Path(failure["uri"]).name for failure in failures} == {"truncated.png", "text.png", "empty.png"}
    assert all(failure["reason"] and failure["message"] for failure in failures)
    lookalike("images", "delete", COLLECTION, "--yes", *_ids_of_no_fixture(lookalike))


def test_in_place_reads_inside_the_roots_only(
    lookalike: Lookalike, stack: Stack, filled: Path, pictures: tuple[dataset.Pictures, dataset.Pictures]
) -> None:
    _, queries = pictures
    folder = stack.inside.sources / "in-place" / "coat"
    folder.mkdir(parents=True)
    (folder / "one.png").write_bytes(queries.png(3))
    done = lookalike("ingest", str(folder.parent), "-C", COLLECTION, "--in-place", "--labels-from-folders", "--watch")
    assert done.returncode == exits.OK, done.stdout + done.stderr
    assert "1 item: 1 indexed" in done.stdout
    shown = lookalike("images", "list", COLLECTION, "-f", 'label = "coat"', "--json")
    assert [json.loads(line)["uri"] for line in shown.stdout.splitlines()] == [(folder / "one.png").as_uri()]
    outside = lookalike("ingest", str(filled.parent), "-C", COLLECTION, "--in-place")
    assert outside.returncode == exits.WRONG_STATE, outside.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (("collections", "show", "no_such"), exits.NOT_FOUND, "no_such"),
        (("collections", "create", "Bad-Name"), exits.INVALID, "name"),
        (("collections", "create", COLLECTION), exits.WRONG_STATE, COLLECTION),
        (("images", "show", COLLECTION, "no-such"), exits.NOT_FOUND, "no-such"),
        (("search", "--id", "no-such", "-C", COLLECTION), exits.NOT_FOUND, "no-such"),
        (("search", __file__, "-C", COLLECTION), exits.INVALID, "image"),
        (("search", __file__, "-C", COLLECTION, "-k", "20000"), exits.INVALID, "top_k"),
        (("jobs", "show", "no-such"), exits.NOT_FOUND, "no-such"),
    ],
)
def test_an_error_of_the_system_is_one_line_with_the_field(
    stack: Stack, filled: Path, arguments: tuple[str, ...], code: int, names: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = run_command(["--address", stack.target, *arguments])
    printed = capfd.readouterr()
    assert (ended, printed.out, printed.err.count("\n")) == (code, "", 1), printed.err
    assert names in printed.err


def test_an_error_of_a_filter_says_what_to_write_and_points_at_the_place(
    stack: Stack, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["--address", stack.target, "images", "list", COLLECTION, "-f", "label = 'Coat'"]) == exits.INVALID
    printed = capsys.readouterr()
    assert printed.out == ""
    said, text, caret = printed.err.splitlines()
    assert 'text goes in double quotes; write "Coat"' in said
    assert (text, caret) == ("  label = 'Coat'", "          ^")


def _ids_of_no_fixture(lookalike: Lookalike) -> list[str]:
    listed = lookalike("images", "list", COLLECTION, "--limit", "0", "--json").stdout.splitlines()
    return [image["id"] for image in map(json.loads, listed) if not image["id"].startswith("fashion-")]
