"""What of a source is a picture, what is left out of it and why, and that nothing is left out in silence."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import InvalidArgument
from lookalike.items import IMAGE_FORMAT_UNKNOWN, SOURCE_EXCLUDED, SOURCE_HIDDEN, SOURCE_SYSTEM
from lookalike.listing import Choice, list_folder
from lookalike.listing.choosing import MAX_GLOBS, Chooser, check_globs
from lookalike.listing.folders import files_under
from lookalike.names import id_from_uri
from tests.unit.lookalike.tar_files import tar
from tests.unit.lookalike.test_archives import listed


def reasons(folder: Path, choice: Choice | None = None) -> dict[str, str]:
    """By path below `folder`."""
    items = list_folder(folder, labels_from_folders=False, choice=choice or Choice())
    return {os.fsdecode(item.uri).removeprefix(folder.as_uri() + "/"): item.problem_reason for item in items}


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


SYSTEM = [
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "deep/@eadir/x.jpg", "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg", "$Recycle.Bin/b.jpg",
    "lost+found/a.jpg", "__MACOSX/a.jpg", "System Volume Information/a.jpg", "a.jpg~", "b.JPG_original",
]  # fmt: skip
HIDDEN = [".Trashes/a.jpg", ".thumbnails/a.png", "._a.jpg", ".a.jpg", "b/.git/a.jpg", ".Trash-1000/files/a.jpg"]
USUAL = ["a.jpg", "recycle/a.jpg", "b/c.d/e.png", "eaDir.jpg", "@eaDir.jpg", "lost+found.png", "a~b.jpg"]


class TestWhatIsLeftOut:
    def test_what_systems_leave_is_left_out_and_counted_with_its_reason(self, tmp_path: Path) -> None:
        put(tmp_path, *SYSTEM, *HIDDEN, *USUAL, "@eaDir/notes.txt", "Thumbs.db", ".DS_Store")
        for found in (reasons(tmp_path), {name: Chooser().reason(name) for name in (*SYSTEM, *HIDDEN, *USUAL)}):
            by_reason = {reason: sum(1 for one in found.values() if one == reason) for reason in set(found.values())}
            assert by_reason == {SOURCE_SYSTEM: len(SYSTEM), SOURCE_HIDDEN: len(HIDDEN), "": len(USUAL)}
        assert set(reasons(tmp_path, Choice(include_hidden=True)).values()) == {""}

    def test_an_archive_is_chosen_from_as_a_folder_is(self) -> None:
        system, usual = ([name for name in names if "@" not in name] for names in (SYSTEM, USUAL))  # `tar` makes links of them.
        items = listed(tar(dict.fromkeys((*system, *HIDDEN, *usual), b"x")))
        expected = [SOURCE_SYSTEM] * len(system) + [SOURCE_HIDDEN] * len(HIDDEN) + [""] * len(usual)
        assert [item.problem_reason for item in items] == expected

    def test_a_folder_that_is_left_out_is_counted_as_far_as_that_takes_no_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lookalike.listing.folders._COUNTED", 10)
        put(tmp_path, "a.jpg", *(f"#snapshot/{day}/{number}.jpg" for day in range(5) for number in range(5)))
        found = list(reasons(tmp_path).values())
        assert 1 <= found.count(SOURCE_SYSTEM) <= 10
        assert found.count("") == 1

    def test_a_folder_that_is_left_out_and_cannot_be_read_is_no_problem(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(tmp_path, "a.jpg", "lost+found/b.jpg", "closed/c.jpg")
        scan = os.scandir

        def guarded(path: str) -> Iterator[os.DirEntry[str]]:
            if path.endswith(("lost+found", "closed")):
                raise PermissionError(13, "Permission denied")
            return scan(path)

        monkeypatch.setattr(os, "scandir", guarded)
        assert reasons(tmp_path) == {"a.jpg": "", "closed": "SOURCE_UNREADABLE"}

    def test_folders_may_be_as_deep_as_paths_are_long(self, tmp_path: Path) -> None:
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            for _ in range(1500):
                os.mkdir("d", dir_fd=here)
                inner = os.open("d", os.O_RDONLY, dir_fd=here)
                os.close(here)
                here = inner
            os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
            (found,) = files_under(tmp_path, lambda name: name == "a.jpg")
            assert found.path.count("/d") >= 1500
        finally:
            os.close(here)
            subprocess.run(
                ["rm", "-r", tmp_path / "d"], check=True
            )  # Python 3.11 cannot, and pytest would try at the end of later runs.


class TestGlobs:
    @pytest.mark.parametrize(
        ("glob", "excluded", "kept"),
        [
            ("*.gif", ["a.gif", "x/y/b.GIF"], ["a.gif.png", "gif"]),
            ("drafts", ["drafts/a.png", "x/Drafts/a.png", "drafts"], ["drafts2/a.png", "a drafts.png"]),
            ("drafts/", ["drafts/a.png", "x/drafts/y/a.png"], ["x/drafts"]),
            ("/a.png", ["a.png"], ["x/a.png"]),
            ("2019/raw", ["2019/raw/a.png", "2019/raw"], ["x/2019/raw/a.png", "2019/x/raw/a.png"]),
            ("2019/**/raw", ["2019/raw/a.png", "2019/a/b/raw/c.png"], ["2019/a/raws/a.png"]),
            ("**/raw/*.png", ["raw/a.png", "x/y/raw/a.png"], ["raw/x/a.png", "raw.png"]),
            ("x/**", ["x/a.png", "x/y/a.png"], ["y/x/a.png"]),
            ("IMG_[0-9]?.jpg", ["img_12.jpg", "x/IMG_9a.JPG"], ["IMG_1.jpg", "IMG_a2.jpg"]),
            ("*", ["a.png", "x/a.png"], []),
            ("a b*", ["a b.png", "a b/c.png"], ["ab.png"]),
            ("x/*", ["x/a.png", "x/y/b.png"], ["xa.png"]),
            ("[", ["["], ["a"]),
            ("caf\u00e9*", ["CAF\u00c9.png"], ["cafe.png"]),
            ("line\nbreak*", ["line\nbreak.png"], ["line.png"]),
        ],
    )
    def test_globs_say_what_is_excluded(self, glob: str, excluded: list[str], kept: list[str]) -> None:
        chooser = Chooser(Choice(check_globs("exclude", [glob])))
        assert {path: chooser.reason(path) for path in (*excluded, *kept)} == dict.fromkeys(excluded, SOURCE_EXCLUDED) | (
            dict.fromkeys(kept, "")
        )

    def test_folders_and_archives_are_excluded_alike(self, tmp_path: Path) -> None:
        names = ["a.png", "b.gif", "drafts/c.png", "x/drafts/d.png", "x/e.png"]
        put(tmp_path, *names)
        chooser = Chooser(Choice(("*.gif", "drafts/")))
        expected = dict(zip(names, ["", *[SOURCE_EXCLUDED] * 3, ""], strict=True))
        assert {name: chooser.reason(name) for name in names} == expected
        assert reasons(tmp_path, Choice(("*.gif", "drafts/"))) == expected

    @pytest.mark.parametrize(
        ("globs", "says"),
        [
            (["a"] * (MAX_GLOBS + 1), "exclude: has 65 globs; at most 64 are allowed"),
            (["a", ""], r"exclude\[1\]: is empty"),
            (["//"], r"exclude\[0\]: is empty"),
            (["x" * 257], r"exclude\[0\]: is 257 bytes long"),
            (["!keep"], r"exclude\[0\]: begins with '!'"),
            (["a/../b"], r"exclude\[0\]: holds '\.' or '\.\.'"),
            (["a\0"], r"exclude\[0\]: holds a zero byte"),
        ],
    )
    def test_globs_that_cannot_be_meant_are_refused_by_their_place(self, globs: list[str], says: str) -> None:
        with pytest.raises(InvalidArgument, match=says):
            check_globs("exclude", globs)

    def test_no_glob_takes_long(self) -> None:
        globs = ["*a" * 120 + "b", "**/" * 60 + "x", "*/" * 100 + "x", "**/a/" * 40 + "b", "[a-z]*" * 40]
        chooser = Chooser(Choice(check_globs("exclude", globs)))
        began_s = time.process_time()
        for path in ("a" * 255, "a/" * 2000 + "a", "/".join(["a" * 100] * 40)):
            chooser.reason(path)
        assert time.process_time() - began_s < 5, "it would be years"

    @given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=5))
    def test_every_glob_that_is_taken_can_be_matched(self, path: str, globs: list[str]) -> None:
        try:
            taken = check_globs("exclude", globs)
        except InvalidArgument:
            return
        assert Chooser(Choice(taken)).reason(path) in ("", SOURCE_HIDDEN, SOURCE_SYSTEM, SOURCE_EXCLUDED)


class TestKinds:
    def test_every_picture_is_listed_and_what_is_not_read_says_what_it_is(self, tmp_path: Path) -> None:
        read = [
            "a.jpg", "b.MPO", "c.apng", "d.pjpeg", "e.jpg_large", "f.jpe", "g.jfif", "h.png!thumb", "i.jpg:orig", "j.heic",
            "k.pjp",
            "l.jpg-small",
        ]  # fmt: skip
        not_read = {
            "a.dng": "is a RAW photograph (.dng)", "b.CR2": "is a RAW photograph (.cr2)", "c.nef": "is a RAW photograph",
            "d.arw": "is a RAW photograph", "e.psd": "is a Photoshop document", "f.svg": "is a vector drawing",
            "g.ico": "is an icon", "h.tga": "is a Targa", "i.exr": "is a picture of high dynamic range", "j.cr3": "is a RAW",
        }  # fmt: skip
        put(tmp_path, *read, *not_read, "a.xmp", "b.mov", "c.txt", "jpg", "d.jpg.xmp", "e.json")
        items = {Path(item.uri).name: item for item in list_folder(tmp_path, labels_from_folders=False)}
        good = {name for name, item in items.items() if not item.problem}
        assert good == {name.replace(":", "%3A").replace("!", "%21") for name in read}
        for name, says in not_read.items():
            assert items[name].problem.startswith(says)
            assert items[name].problem.endswith("a kind of picture that is not read")
            assert items[name].problem_reason == IMAGE_FORMAT_UNKNOWN
            assert items[name].id == id_from_uri(items[name].uri), "a mirror knows that the source has it"
        assert len(items) == len(read) + len(not_read)

    def test_an_archive_names_them_too(self) -> None:
        raw, odd = listed(tar({"a.dng": b"x", "b.jpg_large": b"x"}))
        assert raw.problem == "shard.tar: a.dng: is a RAW photograph (.dng), a kind of picture that is not read"
        assert not odd.problem


def test_names_that_look_alike_are_of_different_pictures(tmp_path: Path) -> None:
    names = ["caf\u00e9.png", "cafe\u0301.png", "IMG.png", "img.png", "a.png", "a .png", "two\nlines.png", "x" * 240 + ".png"]
    put(tmp_path, *names)
    for items in (list(list_folder(tmp_path, labels_from_folders=False)), listed(tar(dict.fromkeys(names, b"x")))):
        assert len({item.id for item in items}) == len({item.uri for item in items}) == len(names)
        assert not any(item.problem for item in items)
