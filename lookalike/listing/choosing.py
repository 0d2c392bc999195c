"""Which files of a folder, a prefix or an archive are left out, and why. Standard library only.

Files are left out that the caller excludes, that are hidden or in hidden folders, or that systems and programs leave behind:
thumbnails, recycle bins, previews, backups. Every picture that is left out is an item with a reason of `LEFT_OUT`, so that it
is counted.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lookalike.errors import InvalidArgument
from lookalike.items import SOURCE_EXCLUDED, SOURCE_HIDDEN, SOURCE_SYSTEM, Item, broken_item

MAX_GLOBS = 64
MAX_GLOB_BYTES = 256
_PROBLEMS = {
    SOURCE_HIDDEN: "is hidden, or lies in a hidden folder",
    SOURCE_SYSTEM: "was left there by a system or a program (thumbnails, a recycle bin, a backup)",
    SOURCE_EXCLUDED: "is excluded",
}
_SYSTEM_FOLDERS = frozenset(
    name.casefold()
    for name in (
        "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@tmp",  # Synology and QNAP
        "$RECYCLE.BIN", "RECYCLER", "RECYCLED", "System Volume Information", "FOUND.000",  # Windows
        "__MACOSX", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder",  # macOS
        "lost+found",  # Linux
    )
)  # fmt: skip
"""Names in upper or lower case. Names that begin with a dot, such as `.Trashes`, `.thumbnails` and `._a.jpg`, are hidden
anyway."""
_MOST_LEVELS = 128
"""Bounds the nested folders that are matched. Matching takes the square of this number at most."""
_BACKUPS = ("~", "_original")
"""Ends of the names of backup files of editors and exiftool."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice of a source's files. `exclude` are globs, see `Chooser`; with `include_hidden`, hidden files, and those that
    systems leave behind, are not left out."""

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False


EVERYTHING_SEEN = Choice()


def check_globs(field: str, globs: Sequence[str]) -> tuple[str, ...]:
    """`globs` if they can be used: at most 64 of at most 256 bytes. Raises `InvalidArgument` for `field` and its place."""
    if len(globs) > MAX_GLOBS:
        raise InvalidArgument(field, f"has {len(globs)} globs; at most {MAX_GLOBS} are allowed")
    for place, glob in enumerate(globs):
        _check_glob(f"{field}[{place}]", glob)
    return tuple(globs)


def _check_glob(field: str, glob: str) -> None:
    size_bytes = len(glob.encode("utf-8", "surrogatepass"))
    if not glob.strip("/"):
        raise InvalidArgument(field, "is empty; write a glob such as '*.gif' or 'drafts/'")
    if size_bytes > MAX_GLOB_BYTES:
        raise InvalidArgument(field, f"is {size_bytes} bytes long; at most {MAX_GLOB_BYTES} are allowed")
    if "\0" in glob:
        raise InvalidArgument(field, "holds a zero byte")
    if glob.startswith("!"):
        raise InvalidArgument(field, "begins with '!'; what is excluded cannot be taken in again (for a name write '[!]...')")
    if any(part in (".", "..") for part in glob.strip("/").split("/")):
        raise InvalidArgument(field, "holds '.' or '..'; a glob is matched against paths below the source")


class Chooser:
    """Decides by its path whether a file or folder is left out, and why. For one thread.

    A glob without a slash is matched against the name of every file and folder, a glob with a slash against the path below the
    source. A slash at its end means folders only; a slash at its beginning means that path only. `*`, `?` and `[...]` stay
    within a name, `**` stands for any number of folders. Case does not count. Everything in a matching folder is left out.
    """

    def __init__(self, choice: Choice = EVERYTHING_SEEN) -> None:
        self._seen = choice.include_hidden
        self._globs = tuple(map(_Glob.of, choice.exclude))
        self._of_folder = lru_cache(maxsize=4096)(self._look_at_folder)

    def reason(self, path: str) -> str:
        """The reason why the file `path`, below the source, is left out: a key of `LEFT_OUT`, or "". Its folders count too."""
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        if len(parts) > _MOST_LEVELS:
            parts = (*parts[: _MOST_LEVELS - 1], parts[-1])
        return (self._of_folder(parts[:-1]) or self.of_entry(parts, is_folder=False)) if parts else ""

    def of_entry(self, parts: tuple[str, ...], *, is_folder: bool) -> str:
        """As `reason`, for a file or folder in folders of which none is left out. `parts` is its path."""
        name = parts[-1]
        if not self._seen:
            if name.startswith(".") and name != "..":
                return SOURCE_HIDDEN
            if name.casefold() in _SYSTEM_FOLDERS if is_folder else name.endswith(_BACKUPS):
                return SOURCE_SYSTEM
        return SOURCE_EXCLUDED if self._globs and self._excludes(parts, is_folder) else ""

    def _look_at_folder(self, parts: tuple[str, ...]) -> str:
        found = (self.of_entry(parts[:level], is_folder=True) for level in range(1, len(parts) + 1))
        return next(filter(None, found), "")

    def _excludes(self, parts: tuple[str, ...], is_folder: bool) -> bool:
        folded = [part.casefold() for part in parts]
        return any(glob.matches(folded) for glob in self._globs if is_folder or not glob.folders_only)


_Part = Callable[[str], object] | None
"""A part of a glob: a matcher of a name; None stands for any number of folders."""


@dataclass(frozen=True, slots=True)
class _Glob:
    parts: tuple[_Part, ...]
    anchored: bool
    folders_only: bool

    @classmethod
    def of(cls, glob: str) -> _Glob:
        names = glob.casefold().strip("/").split("/")
        anchored = len(names) > 1 or glob.startswith("/")
        # What `fnmatch` makes has no way back into a star that is done with, so that no name takes long.
        parts = tuple(None if name == "**" else re.compile(fnmatch.translate(name)).match for name in names if name)
        return cls(parts, anchored, glob.endswith("/"))

    def matches(self, names: Sequence[str]) -> bool:
        if not self.anchored:
            (part,) = self.parts
            return part is None or bool(part(names[-1]))
        return _match(self.parts, names)


def _match(parts: Sequence[_Part], names: Sequence[str]) -> bool:
    """Whether the parts match. Backtracking to the last `**` is enough, so the time is the product of both lengths at most."""
    at = name = 0
    back: tuple[int, int] | None = None
    while name < len(names):
        part = parts[at] if at < len(parts) else _never
        if part is None:
            at, back = at + 1, (at + 1, name)
        elif part(names[name]):
            at, name = at + 1, name + 1
        elif back is not None:
            back = (back[0], back[1] + 1)
            at, name = back
        else:
            return False
    return all(part is None for part in parts[at:])


def _never(_: str) -> bool:
    return False


def left_out_item(position: int, uri: str, reason: str) -> Item:
    """The item of a file that is left out."""
    return broken_item(position, _PROBLEMS[reason], uri=uri, reason=reason)
