"""The embedder's share of the `lookalike` command. Called through the entry point `lookalike.commands`."""

from __future__ import annotations

import typer

from embedder.commands import models
from embedder.commands.convert import convert_command
from embedder.commands.evaluate import evaluate_command
from embedder.commands.train import train_command
from lookalike.cli.terminal import help_of


def register(app: typer.Typer) -> None:
    """Add the embedder's commands to `app`."""
    app.command("train", help=help_of(train_command))(train_command)
    app.command("evaluate", help=help_of(evaluate_command))(evaluate_command)
    app.add_typer(models.app, name="models")
    app.command("convert-weights")(convert_command)
