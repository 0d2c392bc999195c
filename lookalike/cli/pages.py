"""The pages of `--help`: an option's value is named by a word (`--top-k N`), a flag stands alone, and no text is cut at any
width.

Typer's own pages name Python's types (`<bool>`, `<list[Path]>`) in a table whose columns lose letters on a narrow terminal.
Every group of commands, also of a service, is made as `Commands`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from lookalike.cli.terminal import MOST_LISTED

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

F = TypeVar("F", bound=Callable[..., Any])

_WORDS = {
    "int": "N", "int range": "N", "float": "NUMBER", "float range": "NUMBER", "str": "TEXT", "path": "PATH", "Path": "PATH",
    "file": "FILE", "directory": "FOLDER",
}  # fmt: skip
"""The word for an option's value, by Typer's name of its type."""
_WIDEST = 100
"""Bounds the columns of a page on a wide terminal: longer lines are hard to read."""
_EXTRAS = re.compile(r"(?P<help>.*?) *\[(?P<extras>[^\[\]]*)\]", re.DOTALL)
_BETWEEN = re.compile(r"(\S+)<=x<=(\S+)")
_ENDLESS = re.compile(rf"(\S+)<=x<={MOST_LISTED}")


class CommandPage(TyperCommand):
    """A command with a page of this form."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_page(self, ctx, formatter)


class GroupPage(TyperGroup):
    """A group of commands with a page of this form."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_page(self, ctx, formatter)


class Commands(typer.Typer):
    """A group of commands, all with pages of this form. Takes the settings of `typer.Typer`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=GroupPage, rich_markup_mode=None, **settings)

    def command(self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any) -> Callable[[F], F]:
        return super().command(name, cls=cls or CommandPage, **settings)


def _write_page(command: TyperCommand | TyperGroup, context: Context, formatter: HelpFormatter) -> None:
    formatter.width = max(min(formatter.width, _WIDEST), 50)
    formatter.write_usage(context.command_path, " ".join(_usage(command, context)))
    command.format_help_text(context, formatter)
    parameters = [one for one in command.get_params(context) if isinstance(one, TyperArgument | TyperOption)]
    sections: dict[str, list[tuple[str, str]]] = {}
    for parameter in sorted(parameters, key=lambda one: isinstance(one, TyperOption)):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        if isinstance(parameter, TyperArgument):
            name, title = _argument_name(parameter), "Arguments"
        else:
            name, title = _option_name(parameter, context), parameter.rich_help_panel or "Options"
        sections.setdefault(title, []).append((name, _plain(record[1])))
    if isinstance(command, TyperGroup):
        sections["Commands"] = list(_commands(command, context))
    if command.epilog:
        title, *rows = command.epilog.splitlines()
        sections[title] = [(code, meaning) for code, _, meaning in (row.partition("\t") for row in rows)]
    for title, rows_of in sections.items():
        with formatter.section(typer.style(title, bold=True)):
            # A longer name stands on a line of its own, so that the text beside it keeps its width.
            formatter.write_dl(rows_of, col_max=max(14, formatter.width // 3))


def _usage(command: TyperCommand | TyperGroup, context: Context) -> Iterator[str]:
    yield "[OPTIONS]"
    for parameter in command.get_params(context):
        if isinstance(parameter, TyperArgument) and not parameter.hidden:
            name = _argument_name(parameter)
            yield (name if parameter.required else f"[{name}]") + ("..." if parameter.nargs != 1 else "")
    if isinstance(command, TyperGroup):
        yield command.subcommand_metavar


def _argument_name(argument: TyperArgument) -> str:
    return argument.metavar or argument.name.upper()


def _option_name(option: TyperOption, context: Context) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    if option.secondary_opts:
        names += f" / {', '.join(option.secondary_opts)}"
    if option.is_flag or option.count:
        return names
    if option.metavar:
        return f"{names} {option.metavar}"
    kind = option.display_type(context).strip("<>")
    kind = kind.removeprefix("list[").removesuffix("]") if kind.startswith("list[") else kind
    return f"{names} {_WORDS.get(kind, kind)}"


def _commands(group: TyperGroup, context: Context) -> Iterator[tuple[str, str]]:
    """Each command with the whole first paragraph of its help."""
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is not None and not found.hidden:
            first = inspect.cleandoc(found.help or "").split("\n\n")[0]
            yield name, " ".join(first.split())


def _plain(text: str) -> str:
    """A help text in which Typer's additions in brackets are words: `[at least 1]` for `[x>=1]`.

    Bounds that nobody meets are left out: at least 0, and at most `MOST_LISTED`.
    """
    found = _EXTRAS.fullmatch(text)
    if found is None:
        return text
    parts = [_ENDLESS.sub(r"x>=\1", part) for part in found["extras"].split("; ")]
    extras = "; ".join(part for part in parts if part not in ("x>=0", "x>=0.0"))
    if not extras:
        return found["help"]
    extras = _BETWEEN.sub(r"\1 to \2", extras)
    extras = extras.replace("default: (", "default: ").replace("x>=", "at least ").replace("x<=", "at most ")
    extras = extras.replace("x>", "above ").replace("x<", "below ")
    if "default: (" in found["extras"]:
        extras = extras.replace(")", "", 1) if extras.count("(") < extras.count(")") else extras
    return f"{found['help']} [{extras}]".strip()
