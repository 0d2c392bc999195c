"""What a module's docstring says of its callers is true: a newcomer follows it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("lookalike", "gateway", "indexer", "embedder")
FILES = {
    file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): file
    for package in PRODUCT
    for file in sorted((ROOT / package).rglob("*.py"))
    if "lookalike/v1" not in file.as_posix()
}
_SENTENCE = re.compile(r"(?:Called|Used) (?:\w+ )?by ([^.;:]*(?:\.\w[^.;:]*)*)")
_NAME = re.compile(r"`([a-z_][\w.]*)`")


def imported(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


TREES = {module: ast.parse(file.read_text()) for module, file in FILES.items()}
DEFINED = {module: {getattr(node, "name", "") for node in tree.body} for module, tree in TREES.items()}
IMPORTS = {module: set(imported(tree, module)) for module, tree in TREES.items()}


def callers_named(module: str) -> list[str]:
    doc = " ".join((ast.get_docstring(TREES[module]) or "").split())
    return [name for sentence in _SENTENCE.findall(doc) for name in _NAME.findall(sentence)]


def modules_called(name: str) -> list[str]:
    """Modules and packages that `name` may stand for: the end of a path, such as `search` or `finishing.mirror`."""
    return [module for module in FILES if f".{module}.".endswith(f".{name}.")]


def within(package: str) -> Iterator[str]:
    return (module for module in FILES if module == package or module.startswith(f"{package}."))


@pytest.mark.parametrize("module", [module for module in FILES if callers_named(module)])
def test_the_callers_that_a_docstring_names_import_the_module(module: str) -> None:
    for name in callers_named(module):
        if name in DEFINED[module]:
            continue  # a function of the module itself, that its callers use
        candidates = modules_called(name)
        assert candidates, f"{module}: there is no module `{name}`"
        users = {user for candidate in candidates for user in within(candidate)}
        package = module.rpartition(".")[0]
        assert any(
            needed == module or needed.startswith(f"{module}.") or (needed == package and module in IMPORTS[package])
            for user in users - set(within(module))
            for needed in IMPORTS[user]
        ), f"{module}: `{name}` does not import it"
