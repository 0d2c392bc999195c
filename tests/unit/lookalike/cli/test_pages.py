"""Every page of `--help`, at the widths of narrow and usual terminals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperGroup

from lookalike.cli import exits
from lookalike.cli.main import build_app, run_command
from lookalike.cli.pages import Commands

COMMAND = typer.main.get_command(build_app())


def pages() -> Iterator[tuple[list[str], list[str]]]:
    """The words of every command, and the options and arguments that its page must name."""

    def walked(command: object, words: list[str]) -> Iterator[tuple[list[str], list[str]]]:
        assert isinstance(command, TyperGroup | typer.core.TyperCommand)
        shown = [one for one in command.params if not getattr(one, "hidden", False)]
        yield words, [name for one in shown for name in (*one.opts, *one.secondary_opts) if name.startswith("-")]
        if isinstance(command, TyperGroup):
            for name, inner in command.commands.items():
                yield from walked(inner, [*words, name])

    yield from walked(COMMAND, [])


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_no_page_cuts_a_name_or_shows_a_type_of_python(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    seen = 0
    for words, names in pages():
        COMMAND([*words, "--help"], prog_name="lookalike", standalone_mode=False)
        page = capsys.readouterr().out
        assert all(len(line) <= min(columns, 100) for line in page.splitlines()), words
        assert not any(trace in page for trace in ("<", "…", "list[", "[bold]", "x>", "default: (")), page
        for name in names:
            assert name in page.replace(",", " ").split(), (words, name)
        seen += 1
    assert seen > 25, "every command of every service"


def test_a_flag_takes_nothing_and_an_option_a_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["jobs", "retry", "--help"]) == exits.OK
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Usage: lookalike jobs retry [OPTIONS] JOB" in lines
    assert "-w, --watch Follow the new job to its end." in lines
    assert any(line.startswith("--request-id TEXT Your id") for line in lines)


def test_ranges_and_defaults_are_shown_in_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run_command(["collections", "reembed", "--help"]) == exits.OK
    page = " ".join(capsys.readouterr().out.split())
    assert "[default: 24.0; 0.01 to 720]" in page
    assert "[default: the space's own]" in page
    app = Commands()
    limited = typer.Option(0, max=5, show_default="none (yet)")
    app.command()(lambda count=limited: None)
    with pytest.raises(SystemExit):
        app(["--help"])
    assert "[default: none (yet); at most 5]" in " ".join(capsys.readouterr().out.split())


def test_a_bound_that_nobody_meets_is_not_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run_command(["images", "list", "--help"]) == exits.OK
    assert "0 lists all. [default: 50]" in " ".join(capsys.readouterr().out.split())
    assert run_command(["jobs", "list", "--help"]) == exits.OK
    assert "List at most N. [default: 20; at least 1]" in " ".join(capsys.readouterr().out.split())


def test_the_usage_names_an_argument_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["images", "delete", "--help"]) == exits.OK
    assert "Usage: lookalike images delete [OPTIONS] COLLECTION [ID]...\n" in capsys.readouterr().out
