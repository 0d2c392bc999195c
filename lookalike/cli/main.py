"""The command `lookalike`: joins the groups of commands, adds those of installed services, and ends every error as one line
and an exit code."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from lookalike.cli import collections, demo, exits, images, ingest, jobs, search, sizing, tune, up
from lookalike.cli.connection import DEFAULT_ADDRESS, Options
from lookalike.cli.pages import Commands
from lookalike.cli.terminal import help_of, visible
from lookalike.errors import LookalikeError

_GROUP = "lookalike.commands"
_DEBUG = "--debug"


def build_app() -> typer.Typer:
    """The whole command, with the commands of every installed service."""
    app = Commands(
        name="lookalike",
        epilog=exits.epilog(),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(help=help_of(_global_options))(_global_options)
    app.command("up", help=help_of(up.up))(up.up)
    app.command("demo", help=help_of(demo.demo))(demo.demo)
    app.command("ingest", help=help_of(ingest.ingest))(ingest.ingest)
    app.command("search", help=help_of(search.search))(search.search)
    app.command("tune", help=help_of(tune.tune))(tune.tune)
    app.command("sizing", help=help_of(sizing.sizing))(sizing.sizing)
    app.add_typer(jobs.app, name="jobs")
    app.add_typer(collections.app, name="collections")
    app.add_typer(images.app, name="images")
    _add_service_commands(app)
    return app


def run() -> NoReturn:
    """The entry point: run the command line of this process and end it."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code. An error is a line on standard error; one in a filter shows its place."""
    try:
        code = build_app()(args=arguments, prog_name="lookalike", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else exits.OK
    except TyperException as error:
        return _show_usage_error(error)
    except LookalikeError as error:
        if error.reason == "TEXT_NOT_UNICODE" and (problem := _not_utf8(arguments)):
            _say(problem)
        else:
            _say(exits.one_line(error))
        if pointer := exits.pointer(error, arguments):
            typer.echo(pointer, err=True)
        return exits.exit_code(error)
    except (KeyboardInterrupt, Abort):
        _say("stopped")
        return exits.INTERRUPTED
    except BrokenPipeError:
        return _output_closed()
    except SystemExit as ended:
        # Typer's own answer to a broken pipe, which would look like any other failure.
        if isinstance(ended.__context__, BrokenPipeError):
            return _output_closed()
        raise
    except OSError as error:
        # A file that the command was asked to write: the disk is full, or the folder is another user's.
        if _DEBUG in arguments:
            raise
        at = f"{error.filename}: " if isinstance(error.filename, str) else ""
        _say(f"{at}{error.strerror or error}")
        return exits.OTHER
    except Exception as error:
        if _DEBUG in arguments:
            raise
        if isinstance(error, UnicodeEncodeError) and (problem := _not_utf8(arguments)):
            _say(problem)
            return exits.INVALID
        _say(f"a defect, please report it: {type(error).__name__}: {error} (`lookalike {_DEBUG} ...` shows where)")
        return exits.OTHER


def _global_options(
    context: typer.Context,
    address: Annotated[
        str, typer.Option(envvar="LOOKALIKE_ADDRESS", metavar="HOST:PORT", help="Address of the gateway's gRPC.")
    ] = DEFAULT_ADDRESS,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="Time limit of one call (uploads and watching may take longer)."),
    ] = 30.0,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of a defect.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=lambda asked: _show_version(asked), help="Show the version.")
    ] = False,
) -> None:
    """Image similarity search: give it a picture, get back the pictures that look like it.

    Start with `lookalike demo`, which tries everything on real pictures, or with `lookalike up`, which runs the whole system on
    this machine. Results go to standard output, everything else to standard error.
    """
    context.obj = Options(address=address, timeout_s=timeout)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"lookalike {version('lookalike')}")
        raise typer.Exit


def _add_service_commands(app: typer.Typer) -> None:
    for entry in entry_points(group=_GROUP):
        try:
            entry.load()(app)
        except Exception as error:  # noqa: BLE001 - one service's defect must not take the other commands away
            _say(f"the commands of {entry.name!r} cannot be loaded: {type(error).__name__}: {error}")


def _not_utf8(arguments: list[str]) -> str:
    """Names the first argument that is not UTF-8; "" where all are. Python decodes other bytes as lone surrogates."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            return f"the argument {argument!r} is not UTF-8; only the name of a file may be anything else"
    return ""


def _output_closed() -> int:
    # At exit Python would flush once more, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return exits.BROKEN_PIPE


def _show_usage_error(error: TyperException) -> int:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)
        return exits.INVALID
    path = context.command_path if context is not None else "lookalike"
    _say(f"{' '.join(message.split())} (see `{path} --help`)")
    return exits.INVALID


def _say(line: str) -> None:
    typer.echo(f"lookalike: {visible(line)}", err=True)


if __name__ == "__main__":
    run()
