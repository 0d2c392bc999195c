"""The commands against a gateway that answers from memory: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from google.protobuf.duration_pb2 import Duration

from lookalike import errors
from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.metadata import same_metadata
from lookalike.v1 import collection_service_pb2, ingest_service_pb2
from lookalike.wire.values import metadata_from
from tests.unit.lookalike.cli.command import Lookalike, lookalike
from tests.unit.lookalike.fake_gateway import SPACES, FakeGateway, a_job, an_image, gateway

__all__ = ["gateway", "lookalike"]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "shoe.png"
    path.write_bytes(b"\x89PNG picture")
    return path


# Errors


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.InvalidArgument("top_k", "is 0"), exits.INVALID),
        (errors.BadFilter("column 3: expected a value"), exits.INVALID),
        (errors.BadImage("is truncated"), exits.INVALID),
        (errors.NotFound("collection", "shoes"), exits.NOT_FOUND),
        (errors.FailedPrecondition("the job has ended"), exits.WRONG_STATE),
        (errors.AlreadyExists("collection", "shoes"), exits.WRONG_STATE),
        (errors.Overloaded("the queue is full"), exits.UNAVAILABLE),
        (errors.DeadlineExceeded("too slow"), exits.UNAVAILABLE),
    ],
)
def test_an_error_is_one_line_and_its_code(
    gateway: FakeGateway, lookalike: Lookalike, picture: Path, raised: errors.LookalikeError, code: int
) -> None:
    gateway.fail = [raised]
    said = lookalike("search", str(picture), "-C", "shoes")
    assert said.code == code
    assert said.out == ""
    assert said.err == f"lookalike: {raised.message}\n"


def test_a_call_that_a_stopping_gateway_has_not_begun_is_made_again_where_that_is_safe(
    gateway: FakeGateway, lookalike: Lookalike, picture: Path
) -> None:
    gateway.fail = [errors.Cancelled("the system is going down")]
    assert lookalike("search", str(picture), "-C", "shoes").code == exits.OK
    gateway.fail = [errors.Cancelled("the system is going down")]
    said = lookalike("collections", "create", "shoes")
    assert (said.code, said.err) == (exits.OTHER, "lookalike: the system is going down\n")


def test_nobody_there_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--address", "127.0.0.1:1", "collections", "list"]) == exits.UNAVAILABLE
    line = capsys.readouterr().err
    assert "127.0.0.1:1" in line
    assert "lookalike up" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("search",),
        ("search", "-C", "shoes"),
        ("search", "x.png", "--id", "y", "-C", "shoes"),
        ("search", "x.png", "-C", "shoes", "--weight", "much"),
        ("collections", "create", "shoes", "--space", "photo"),
        ("collections", "create", "shoes", "--space", "photo=smell"),
        ("collections", "create", "shoes", "--space", "Photo=model"),
        ("collections", "create", "shoes", "--space", "tones=histogram:bins=many"),
        ("collections", "create", "shoes", "--space", "tones=histogram:bins=16,hue"),
        ("collections", "create", "shoes", "--space", "tones=histogram:grid=9"),
        ("collections", "create", "shoes", "--space", "photo=model", "--model", "photo"),
        ("ingest", "folder", "-C", "shoes", "--space", "photo=model"),
        ("images", "list", "shoes", "--limit", "-1"),
        ("images", "delete", "shoes", "a"),
        ("images", "delete", "shoes", "--yes"),
        ("images", "delete", "shoes", "a", "--filter", "b = 1", "--yes"),
        ("images", "update", "shoes", "a"),
        ("images", "update", "shoes", "a", "label"),
        ("images", "update", "shoes", "a", "--json", "[1]"),
        ("collections", "create", "shoes", "--bins", "7"),
        ("ingest", "folder", "-C", "shoes", "--grid", "4"),
        ("ingest", "", "-C", "shoes"),
        ("ingest", "", "-C", "shoes", "--in-place"),
        ("collections", "export", "shoes", ""),
        ("collections", "import", ""),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(lookalike: Lookalike, arguments: tuple[str, ...]) -> None:
    said = lookalike(*arguments)
    assert (said.code, said.out, said.err.count("\n")) == (exits.INVALID, "", 1)
    assert said.err.startswith("lookalike: ")


def test_a_file_that_is_not_there_is_not_found(lookalike: Lookalike) -> None:
    said = lookalike("search", "no-such.png", "-C", "shoes")
    assert (said.code, said.err) == (exits.NOT_FOUND, "lookalike: file 'no-such.png' does not exist\n")


def test_a_defect_is_one_line_too(lookalike: Lookalike, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("lookalike.client.Client.list_collections", broken)
    said = lookalike("collections", "list")
    assert said.code == exits.OTHER
    assert said.err == "lookalike: a defect, please report it: ZeroDivisionError: oops (`lookalike --debug ...` shows where)\n"


def test_a_service_whose_commands_cannot_be_loaded_takes_none_of_the_others_away(
    lookalike: Lookalike, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name = "broken"

        def load(self) -> None:
            raise ImportError("no module named x")

    monkeypatch.setattr("lookalike.cli.main.entry_points", lambda group: [Broken()])
    said = lookalike("collections", "list", "--json")
    assert (said.code, said.out) == (exits.OK, "[]\n")
    assert "'broken' cannot be loaded" in said.err


# Search


def test_search_prints_rank_similarity_distance_and_metadata(gateway: FakeGateway, lookalike: Lookalike, picture: Path) -> None:
    gateway.images = [an_image("coat-1", label="[bold]Coat"), an_image("coat-2")]
    said = lookalike("search", str(picture), "-C", "shoes", "-k", "2")
    assert said.code == exits.OK
    assert "0.9000" in said.out
    assert "0.2000" in said.out
    assert "label=[bold]Coat" in said.out, "what people wrote is no markup"
    assert gateway.seen[-1].query.image == picture.read_bytes()


def test_search_says_how_long_it_took_where_asked(gateway: FakeGateway, lookalike: Lookalike, picture: Path) -> None:
    gateway.images = [an_image("coat-1")]
    said = lookalike("search", str(picture), "-C", "shoes", "--timing")
    assert said.err == "5.1 ms in the gateway: query vectors 2.0 ms, nearest 3.0 ms\n"
    assert "ms" not in lookalike("search", str(picture), "-C", "shoes").err


def test_search_as_json_prints_nothing_else(gateway: FakeGateway, lookalike: Lookalike, picture: Path) -> None:
    gateway.images = [an_image("coat-1", label="Coat")]
    said = lookalike(
        "search",
        str(picture),
        "-C",
        "shoes",
        "--space",
        "histogram",
        "--space",
        "siamese",
        "--weight",
        "histogram=0.5",
        "--json",
    )
    found = json.loads(said.out)
    assert said.err == ""
    hit = found["neighbours"][0]
    assert (hit["image"]["id"], hit["image"]["metadata"], hit["distance"]) == ("coat-1", {"label": "Coat"}, None)
    assert [share["space"] for share in hit["shares"]] == ["histogram", "siamese"]
    assert list(gateway.seen[-1].options.spaces) == ["histogram", "siamese"]
    assert gateway.seen[-1].options.weights == {"histogram": 0.5}
    assert found["timing"] == {"total": "0.0051s", "query_vectors": "0.002s", "nearest": "0.003s", "fuse": None}


def test_search_for_a_stored_image(gateway: FakeGateway, lookalike: Lookalike) -> None:
    said = lookalike("search", "--id", "coat-1", "-C", "shoes", "--filter", 'label = "Coat"')
    assert said.code == exits.OK
    assert "nothing found" in said.err
    assert (gateway.seen[-1].query.image_id, gateway.seen[-1].options.filter) == ("coat-1", 'label = "Coat"')


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Two good ones around a bad one and one that is not there."""
    for name, content in (("a.png", b"a"), ("b.png", b"bad"), ("d.png", b"d")):
        (tmp_path / name).write_bytes(content)
    return [str(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.png")]


def test_several_pictures_are_searched_in_one_call_and_shown_in_their_order(
    gateway: FakeGateway, lookalike: Lookalike, pictures: list[str]
) -> None:
    gateway.images = [an_image("coat-1", label="Coat")]
    said = lookalike("search", *pictures, "-C", "shoes", "-k", "2", "--ef", "90")
    assert [line for line in said.out.splitlines() if line in pictures] == [pictures[0], pictures[3]]
    assert said.out.count("label=Coat") == 2
    assert said.err.splitlines() == [
        f"lookalike: {pictures[1]}: image: is truncated",
        f"lookalike: {pictures[2]}: file {pictures[2]!r} does not exist",
    ]
    assert said.code == exits.INVALID, "the code of the first that failed"
    (request,) = gateway.seen
    assert [one.query.image for one in request.queries] == [b"a", b"bad", b"d"]
    assert (request.options.top_k, request.options.ef) == (2, 90)


def test_several_pictures_as_json_are_a_line_each(gateway: FakeGateway, lookalike: Lookalike, pictures: list[str]) -> None:
    gateway.images = [an_image("coat-1")]
    said = lookalike("search", *pictures, "-C", "shoes", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["image"] for line in lines] == pictures
    assert [line["result"]["neighbours"][0]["image"]["id"] for line in (lines[0], lines[3])] == ["coat-1"] * 2
    assert [line["error"]["reason"] for line in lines[1:3]] == ["IMAGE_UNREADABLE", "FILE_NOT_FOUND"]
    assert said.err == ""


def test_what_ends_a_search_for_several_is_one_line(gateway: FakeGateway, lookalike: Lookalike, pictures: list[str]) -> None:
    gateway.fail = [errors.NotFound("collection", "shoes")]
    said = lookalike("search", pictures[0], pictures[3], "-C", "shoes")
    assert (said.code, said.out, said.err) == (exits.NOT_FOUND, "", "lookalike: collection 'shoes' does not exist\n")


# Ingest


def test_ingest_uploads_a_folder_with_labels_and_follows_the_job(
    gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path
) -> None:
    for name in ("coat/1.png", "boot/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=2, indexed=2)]

    said = lookalike("ingest", str(tmp_path), "-C", "shoes", "--create", "--labels-from-folders", "--watch")

    assert said.code == exits.OK
    assert "job job-1 succeeded; 2 items: 2 indexed, 0 skipped, 0 failed in 10.0 s (0 images/s)" in said.out
    (items,) = [seen for seen in gateway.seen if isinstance(seen, list)]
    sent = [(request.item.content, request.item.metadata.fields["label"].string_value) for request in items]
    assert sent == [(b"boot/2.png", "boot"), (b"coat/1.png", "coat")]
    assert "shoes" in gateway.collections
    assert gateway.seen[-2].source.upload.upload_id == "upload-1"


def test_ingest_exits_otherwise_where_items_failed_and_shows_the_first(
    gateway: FakeGateway, lookalike: Lookalike, picture: Path
) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=9, indexed=1, skipped=1, failed=7)]
    gateway.failures = [
        ingest_service_pb2.ItemFailure(uri=f"file:///{n}.png", reason="IMAGE_UNREADABLE", message="is truncated", position=n)
        for n in range(7)
    ]
    said = lookalike("ingest", str(picture), "-C", "shoes", "--watch")
    assert said.code == exits.ITEMS_FAILED
    assert "skipped, duplicate: 1" in said.out
    assert said.out.count("is truncated (IMAGE_UNREADABLE)") == 5
    assert "... and 2 more: `lookalike jobs failures job-1`" in said.out


def test_ingest_without_watching_prints_the_job_and_returns(lookalike: Lookalike, picture: Path) -> None:
    said = lookalike("ingest", str(picture), "-C", "shoes")
    assert (said.code, said.out) == (exits.OK, "job-1\n")


def test_what_cannot_be_read_here_is_sent_as_a_problem(gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(b"good")
    (tmp_path / "empty.png").touch()
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "uri,id,label\ngood.png,a,Coat\nmissing.png,b,Coat\nempty.png,c,Coat\nhttps://example.org/x.png,d,Coat\n"
    )
    lookalike("ingest", str(manifest), "-C", "shoes")
    (items,) = [seen for seen in gateway.seen if isinstance(seen, list)]
    sent = {request.item.id: (request.item.content, request.item.problem, request.item.uri) for request in items}
    assert sent["a"][:2] == (b"good", "")
    assert sent["b"][0] == b""
    assert "No such file" in sent["b"][1] or "does not exist" in sent["b"][1]
    assert sent["c"][:2] == (b"", "is empty")
    assert sent["d"] == (b"", "", "https://example.org/x.png")


def test_in_place_uploads_nothing_and_names_the_absolute_path(
    gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    lookalike("ingest", "pictures", "-C", "shoes", "--in-place", "--labels-from-folders")
    (request,) = gateway.seen
    assert request.source.folder.uri == str(tmp_path / "pictures")
    assert request.source.folder.labels_from_folders
    lookalike("ingest", "/elsewhere/list.jsonl", "-C", "shoes", "--in-place")
    assert gateway.seen[-1].source.manifest.uri == "/elsewhere/list.jsonl"


@pytest.mark.parametrize(
    ("make", "code"),
    [(lambda path: None, exits.NOT_FOUND), (lambda path: path.mkdir(), exits.INVALID)],
    ids=["nothing there", "an empty folder"],
)
def test_a_source_with_nothing_in_it_is_refused(
    gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path, make: Callable[[Path], None], code: int
) -> None:
    make(tmp_path / "source")
    assert lookalike("ingest", str(tmp_path / "source"), "-C", "shoes").code == code
    assert gateway.seen == []


def test_create_refuses_a_collection_that_was_made_otherwise(gateway: FakeGateway, lookalike: Lookalike, picture: Path) -> None:
    lookalike("collections", "create", "shoes")
    assert lookalike("ingest", str(picture), "-C", "shoes", "--create").code == exits.OK
    said = lookalike("ingest", str(picture), "-C", "shoes", "--create", "--bins", "16")
    assert said.code == exits.WRONG_STATE
    assert "the spaces histogram (256 grey bins), siamese (model photo)" in said.err


# Collections and images


def test_collections_are_made_shown_listed_and_removed(gateway: FakeGateway, lookalike: Lookalike) -> None:
    said = lookalike(
        "collections", "create", "shoes", "--bins", "16", "--grid", "4", "--color", "--description", "all [of] them"
    )
    assert said.code == exits.OK
    assert "16 RGB bins, 4 x 4 cells" in said.out
    assert "all [of] them" in said.out
    assert lookalike("collections", "create", "shoes").code == exits.WRONG_STATE
    histogram, siamese = json.loads(lookalike("collections", "list", "--json").out)[0]["spaces"]
    assert (histogram["histogram"], siamese["model"]) == ({"bins": 16, "grid": 4, "color": True}, {"name": "photo"})
    assert lookalike("collections", "delete", "shoes").code == exits.INVALID, "nobody can be asked, so --yes is needed"
    assert "shoes" in gateway.collections
    assert lookalike("collections", "delete", "shoes", "--yes").code == exits.OK
    assert gateway.collections == {}


def test_a_collection_has_the_spaces_that_the_command_line_names(
    gateway: FakeGateway, lookalike: Lookalike, picture: Path
) -> None:
    spaces = ("--space", "tones=histogram:bins=16,grid=2,color", "--space", "photo=model:photo", "--space", "mine=model:mine")
    said = lookalike("collections", "create", "shoes", *spaces)
    assert said.code == exits.OK
    rows = [line.split() for line in said.out.splitlines()]
    assert [row[:3] for row in rows if row and row[0] in ("photo", "mine")] == [
        ["photo", "model", "photo"],
        ["mine", "model", "mine"],
    ]
    assert "16 RGB bins, 2 x 2 cells" in said.out
    assert "tones (16 RGB bins, 2 x 2 cells), photo (model photo), mine (model mine)" in lookalike("collections", "list").out
    again = ("ingest", str(picture), "-C", "shoes", "--create")
    assert lookalike(*again, *spaces[:4], "--space", "mine=model").code == exits.OK, "any model will do"
    assert lookalike(*again, *spaces[:4]).code == exits.WRONG_STATE
    assert lookalike(*again, *spaces[:4], "--space", "mine=model:photo").code == exits.WRONG_STATE


def test_images_are_listed_as_lines_of_json_up_to_the_limit(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.images = [an_image(f"{number:04d}") for number in range(1200)]
    assert len(lookalike("images", "list", "shoes", "--json").out.splitlines()) == 50
    every = lookalike("images", "list", "shoes", "--json", "--limit", "0").out.splitlines()
    assert [json.loads(line)["id"] for line in every] == [f"{number:04d}" for number in range(1200)]
    assert "--limit 0 lists all" in lookalike("images", "list", "shoes", "-n", "3").err
    assert lookalike("images", "count", "shoes", "--filter", "year = 2019").out == "1200\n"
    assert gateway.seen[-1].filter == "year = 2019"


def test_an_image_is_shown_with_its_thumbnail_and_deleted(gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path) -> None:
    gateway.images = [an_image("a", label="Coat")]
    said = lookalike("images", "show", "shoes", "a", "--thumbnail", str(tmp_path / "a.jpg"))
    assert "label=Coat" in said.out
    assert (tmp_path / "a.jpg").read_bytes().startswith(b"\xff\xd8")
    assert lookalike("images", "delete", "shoes", "a", "b", "--yes").err == "deleted 1 image; 1 not found\n"


def test_a_dry_run_of_a_delete_says_how_many_and_names_some(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.images = [an_image(f"{number:03d}") for number in range(25)]
    said = lookalike("images", "delete", "shoes", "--filter", "x = 1", "--dry-run")
    assert said.err == "would delete 25 images, among them:\n"
    assert said.out.split() == [f"{number:03d}" for number in range(10)]
    said = lookalike("images", "delete", "shoes", "003", "nobody", "--dry-run")
    assert (said.out, said.err) == ("003\n", "would delete 1 image\n")
    assert len(gateway.images) == 25


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_sees_what_a_filter_would_delete_before_it_does(
    gateway: FakeGateway, lookalike: Lookalike, monkeypatch: pytest.MonkeyPatch, *, answer: bool
) -> None:
    gateway.images = [an_image("a"), an_image("b")]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)

    def asked(question: str, **_: object) -> bool:
        assert question == "Delete all images of collection shoes that match x = 1?"
        assert len(gateway.images) == 2
        if not answer:
            raise typer.Abort
        return True

    monkeypatch.setattr("typer.confirm", asked)
    said = lookalike("images", "delete", "shoes", "--filter", "x = 1")
    assert said.out.split() == ["a", "b"]
    assert "would delete 2 images" in said.err
    assert ("deleted 2 images" in said.err, gateway.images == []) == (answer, answer)


# The process


def _spawn(*arguments: str, **kwargs: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lookalike.cli.main", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **kwargs)  # type: ignore[call-overload, no-any-return]


def test_help_needs_neither_grpc_nor_numpy() -> None:
    program = (
        "import sys\nfrom lookalike.cli.main import run_command\nassert run_command(['--help']) == 0\n"
        "heavy = {'grpc', 'numpy', 'tensorflow', 'PIL', 'psutil'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("up", "demo", "ingest", "search", "jobs", "collections", "images", "train", "Exit codes"):
        assert word in done.stdout


def test_output_that_nobody_reads_ends_the_command_without_a_word(gateway: FakeGateway) -> None:
    gateway.images = [an_image(f"{number:05d}", text="x" * 500) for number in range(2000)]
    with _spawn("--address", gateway.target, "images", "list", "shoes", "--json", "-n", "0", stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.readline()
        command.stdout.close()
        assert command.wait(20) == exits.BROKEN_PIPE
        assert command.stderr.read() == ""


def test_ctrl_c_while_watching_leaves_the_job_and_says_how_to_look_again(gateway: FakeGateway) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_RUNNING, submitted=9, indexed=1)]
    with _spawn("--address", gateway.target, "jobs", "watch", "job-1") as command:
        assert command.stderr is not None
        _wait_until_seen(gateway)
        command.send_signal(signal.SIGINT)
        assert command.wait(20) == exits.INTERRUPTED
        said = command.stderr.read()
    assert "`lookalike jobs watch job-1` follows it" in said
    assert "Traceback" not in said


def _wait_until_seen(gateway: FakeGateway) -> None:
    from tests.unit.lookalike.test_local import until

    until(lambda: gateway.seen, "the command has begun to watch")


# Deleting and updating


def test_a_collection_is_updated_in_what_is_given_and_shows_it(gateway: FakeGateway, lookalike: Lookalike) -> None:
    assert lookalike("collections", "create", "shoes", "--description", "old").code == exits.OK
    shown = lookalike(
        "collections", "update", "shoes", "-s", "histogram", "-s", "siamese", "--weight", "siamese=2", "--ef", "128"
    )
    assert "searches that say nothing else: spaces histogram and siamese; weights siamese 2; ef 128" in shown.out
    assert list(gateway.seen[-1].update_mask.paths) == ["defaults.spaces", "defaults.weights", "defaults.ef"]
    assert "old" in shown.out
    cleared = lookalike("collections", "update", "shoes", "--description", "", "-s", "", "--weight", "", "--json")
    found = json.loads(cleared.out)
    assert (found["description"], found["defaults"]) == ("", {"spaces": [], "weights": {}, "ef": 128})
    assert lookalike("collections", "update", "shoes", "--weight", "heavy").code == exits.INVALID


def test_images_are_deleted_by_filter_in_as_many_calls_as_it_takes(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.images = [an_image("a"), an_image("b")]
    gateway.fail = [errors.DeadlineExceeded("the request's deadline has passed")]
    said = lookalike("images", "delete", "shoes", "--filter", "x = 1", "--yes")
    assert (said.code, said.err) == (exits.OK, "still deleting\ndeleted 2 images\n")
    gateway.images = [an_image("a")]
    gateway.fail = [errors.DeadlineExceeded("late"), None, errors.DeadlineExceeded("late again"), None]
    said = lookalike("images", "delete", "shoes", "--filter", "x = 1", "--yes")
    assert (said.code, said.err) == (exits.UNAVAILABLE, "still deleting\nlookalike: late again\n")


def test_facts_of_an_image_are_json_or_text_and_merged(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.images = [an_image("a")]
    assert lookalike("images", "update", "shoes", "a", "label=Rain coat", "year=2019", "old=null", "sku=a=b").code == exits.OK
    (update,) = gateway.seen[-1].updates
    assert (update.id, update.merge) == ("a", True)
    assert metadata_from(update.metadata) == {"label": "Rain coat", "year": 2019, "old": None, "sku": "a=b"}
    facts = ("n=9007199254740993", "least=-9223372036854775808", "score=7.0", "text=NaN")
    assert lookalike("images", "update", "shoes", "a", *facts).code == exits.OK
    sent = metadata_from(gateway.seen[-1].updates[0].metadata)
    assert same_metadata(sent, {"n": 2**53 + 1, "least": -(2**63), "score": 7.0, "text": "NaN"})
    said = lookalike("images", "update", "shoes", "a", "n=[1, 9223372036854775808]")
    assert (said.code, "metadata.n[1]: 9223372036854775808 is out of range" in said.err) == (exits.INVALID, True)
    assert lookalike("images", "update", "shoes", "a", "--json", '{"x": [1]}', "--replace").code == exits.OK
    assert gateway.seen[-1].updates[0].merge is False
    assert not gateway.seen[-1].updates[0].HasField("expected_revision")
    assert lookalike("images", "update", "shoes", "a", "x=1", "--expected-revision", "5").code == exits.OK
    assert gateway.seen[-1].updates[0].expected_revision == 5
    assert lookalike("images", "delete", "shoes", "a", "--expected-revision", "5", "--dry-run").code == exits.OK
    assert gateway.seen[-1].expected_revision == 5
    said = lookalike("images", "update", "shoes", "nobody", "x=1")
    assert (said.code, "nobody" in said.err) == (exits.NOT_FOUND, True)


def test_a_job_is_undone(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED)]
    said = lookalike("jobs", "undo", "job-1", "--yes")
    assert (said.code, said.err) == (exits.OK, "deleted 4 images\n")
    again = lookalike("jobs", "undo", "job-1", "--yes").err
    assert re.fullmatch("deleted 0 images\njob job-1 was undone before, 2023-11-1[45] .{8}: 4 images deleted then\n", again)


def test_near_duplicates_of_an_ingest_reach_the_gateway(gateway: FakeGateway, lookalike: Lookalike, picture: Path) -> None:
    options = ("--near-duplicates", "link", "--near-threshold", "0.9")
    assert lookalike("ingest", str(picture), "-C", "shoes", *options).code == exits.OK
    assert gateway.seen[-1].near_duplicates.policy == ingest_service_pb2.NEAR_DUPLICATE_POLICY_LINK
    assert gateway.seen[-1].near_duplicates.threshold == pytest.approx(0.9)
    said = lookalike("ingest", str(picture), "-C", "shoes", "--near-duplicates", "drop")
    assert (said.code, "keep, skip and link" in said.err) == (exits.INVALID, True)


def test_a_dry_run_is_followed_and_shown(gateway: FakeGateway, lookalike: Lookalike, picture: Path) -> None:
    job = a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=5000, skipped=5000)
    job.skip_reasons["dry_run"] = 5000
    job.forecast.CopyFrom(
        ingest_service_pb2.IngestForecast(
            sampled=100, unchanged=3, sample_failed=2, broken=1, reasons={"IMAGE_EMPTY": 2, "ITEM_INVALID": 1}, failed=101,
            duration=Duration(seconds=75, nanos=200_000_000), memory_bytes=12_500_000, disk_bytes=25_100_000, deleted=7,
            passing_disk_bytes=37_600_000,
        )
    )  # fmt: skip
    gateway.jobs["job-1"] = [job]
    said = lookalike("ingest", str(picture), "-C", "shoes", "--mirror", "--dry-run")
    assert (said.code, gateway.seen[-2].mirror, gateway.seen[-2].dry_run) == (exits.OK, True, True)
    for line in (
        "skipped, dry_run: 5,000",
        "tried 100 items: 3 unchanged, 2 failed; 1 item broken in the source",
        "IMAGE_EMPTY: 2",
        "the job would take about 75 s, 12.5 MB of Milvus' memory and 25.1 MB of its disk, "
        "and 37.6 MB more for some days; about 101 items would fail",
        "7 images not in the source would be deleted",
    ):
        assert line in said.out, said.out
    assert json.loads(lookalike("jobs", "show", "job-1", "--json").out)["forecast"]["deleted"] == 7


def test_a_complete_export_is_not_taken_for_a_new_one(gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path) -> None:
    gateway.collections["shoes"] = collection_service_pb2.Collection(name="shoes", spaces=SPACES)
    assert lookalike("collections", "export", "shoes", str(tmp_path / "backup")).code == exits.OK
    before = (tmp_path / "backup" / "collection.json").read_bytes()
    said = lookalike("collections", "export", "shoes", str(tmp_path / "backup"))
    assert said.code == exits.WRONG_STATE
    assert "nothing was written" in said.err
    assert (tmp_path / "backup" / "collection.json").read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(gateway: FakeGateway, lookalike: Lookalike, tmp_path: Path) -> None:
    gateway.collections["shoes"] = collection_service_pb2.Collection(name="shoes", spaces=SPACES)
    (tmp_path / "file").write_bytes(b"")
    said = lookalike("collections", "export", "shoes", str(tmp_path / "file"))
    assert said.code == exits.UNAVAILABLE
    assert said.err.startswith(f"lookalike: {tmp_path / 'file'} is unavailable: the folder 'file' cannot be made")


# What others wrote

STEERING = "\x1b[2J\x1b]0;owned\x07"
MARKUP = "[/] [bold]x"


@pytest.mark.parametrize(
    "arguments",
    [
        ("collections", "list"),
        ("collections", "show", "shoes"),
        ("images", "list", "shoes"),
        ("images", "show", "shoes", "a"),
        ("search", "--id", "a", "-C", "shoes"),
        ("jobs", "failures", "job-1"),
        ("jobs", "show", "job-1"),
    ],
)
def test_what_others_wrote_is_shown_and_steers_nothing(
    gateway: FakeGateway, lookalike: Lookalike, arguments: tuple[str, ...]
) -> None:
    text = STEERING + MARKUP
    gateway.collections["shoes"] = collection_service_pb2.Collection(name="shoes", description=f"{text}\nmore")
    gateway.images = [an_image("a", text=text)]
    gateway.failures = [ingest_service_pb2.ItemFailure(uri="file:///a.png", reason="CLIENT_PROBLEM", message=text)]
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=1, failed=1)]
    said = lookalike(*arguments)
    assert said.code == exits.OK, said.err
    assert "\\x1b[2J" in said.out
    assert MARKUP in said.out
    assert not any(character < " " and character not in "\n\t" for character in said.out)


def test_an_error_that_quotes_what_others_wrote_steers_nothing(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.fail = [errors.FailedPrecondition(STEERING)]
    assert "\x1b" not in lookalike("collections", "list").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("collections", "show", "\udcff"),
        ("images", "show", "shoes", "\udcff"),
        ("search", "--id", "\udcff", "-C", "shoes"),
        ("jobs", "show", "\udcff"),
        ("jobs", "list", "--search", "\udcff"),
    ],
)
def test_an_argument_that_is_not_utf8_is_named(lookalike: Lookalike, arguments: tuple[str, ...]) -> None:
    said = lookalike(*arguments)
    assert (said.code, said.out) == (exits.INVALID, "")
    assert said.err == "lookalike: the argument '\\udcff' is not UTF-8; only the name of a file may be anything else\n"
