"""How settings are read: environment variables `LOOKALIKE_<NAME>`, once at start, and the files of secrets that they name.

What is wrong ends the process with code 2 and one line that names the setting, where its value comes from, what is allowed and
what it is, without what may be secret in it. Called by every service's `__main__`; the settings themselves are in `settings`.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from difflib import get_close_matches
from pathlib import Path
from stat import S_ISREG
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from lookalike.errors import InvalidArgument, LookalikeError

PREFIX = "LOOKALIKE_"
_SHOWN = 200
"""Characters of a wrong value that are shown."""
_SECRET_BYTES = 64 * 1024
"""More than any secret has, and less than what a device or a pipe would give for ever."""

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """Base of every service's settings: the prefix, and frozen once read."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)


def load_settings(cls: type[S]) -> S:
    """Read `cls` from the environment, or end the process with code 2 and one line for each setting that is wrong: its name,
    where its value comes from, what is allowed, and what it is. Files that hold secrets or authorities are looked at too."""
    try:
        settings = cls()
    except ValidationError as error:
        _refuse([_problem(cls, item["loc"], item["msg"], item["input"]) for item in error.errors()])
    except SettingsError as error:
        _refuse([str(error)])
    for name in type(settings).model_fields:
        if name.endswith("_file") and (path := getattr(settings, name)) is not None:
            (_check_authorities if name.endswith("_ca_file") else read_secret)(path, name.upper())
    return settings


def _problem(cls: type[BaseModel], location: tuple[int | str, ...], message: str, value: object) -> str:
    names = [part for part in location if isinstance(part, str) and part in cls.model_fields]
    if not names:
        return f"settings of {cls.__name__}: {message}"
    return _line(names[0], message, value)


def _line(field: str, message: str, value: object) -> str:
    name = f"{PREFIX}{field.upper()}"
    source = "from the environment" if os.environ.get(name) else "its default"
    return f"setting {name} ({source}): {message.removeprefix('Value error, ')} (is {_shown(value)})"


def _shown(value: object) -> str:
    """What was given, cut to a line, without what may be a password: that stands before an @ or behind a ?."""
    if isinstance(value, str):  # before it is quoted: a password may hold anything
        value = re.sub(r"(?s)(?P<scheme>[a-z0-9+.-]+://)?.*@", r"\g<scheme>...@", value)
        value = re.sub(r"(?s)\?.*", "?...", value)
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def refuse_setting(settings: ServiceSettings, error: LookalikeError) -> None:
    """End the process as `load_settings` does where `error` is about a setting, by its field: a mistake that only the code
    that used the setting could find. Else return."""
    if isinstance(error, InvalidArgument) and error.field in type(settings).model_fields:
        _refuse([_line(error.field, error.problem, getattr(settings, error.field))])


def unknown_settings(settings: ServiceSettings, service: str) -> dict[str, str]:
    """Variables that look like settings of `service` and are none, each with the one that is most like it, or ""."""
    own = f"{PREFIX}{service.upper()}_"
    known = {f"{PREFIX}{name.upper()}" for name in _fields(ServiceSettings)}
    ends = {name.removeprefix(own): name for name in known}

    def meant(name: str) -> str:
        return next((ends[end] for end in get_close_matches(name.removeprefix(own), ends, n=1, cutoff=0.7)), "")

    return {name: meant(name) for name in sorted(os.environ) if name.startswith(own) and name not in known}


def _fields(cls: type[BaseModel]) -> set[str]:
    """Of a class and of those that are made of it: where services share a file of variables, each meets the others' too."""
    return set(cls.model_fields).union(*(_fields(made) for made in cls.__subclasses__()))


def _refuse(lines: list[str]) -> NoReturn:
    sys.stderr.write("".join(f"lookalike: {' '.join(line.split())}\n" for line in lines))
    raise SystemExit(2)


def read_secret(path: Path | None, setting: str) -> str | None:
    """What the file holds that `setting` (without the prefix) names; None where it names none. Else as `load_settings`."""
    if path is None:
        return None
    name = f"{PREFIX}{setting}"
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) or status.st_size > _SECRET_BYTES:
            _refuse([f"setting {name} (from the environment): {path} is no file, or larger than {_SECRET_BYTES} bytes"])
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        _refuse([f"setting {name} (from the environment): the file {path} cannot be read: {why}"])
    if not secret:
        _refuse([f"setting {name} (from the environment): the file {path} is empty; it must hold the secret"])
    return secret


def _check_authorities(path: Path, setting: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        _refuse([f"setting {PREFIX}{setting} (from the environment): the file {path} cannot be used: {why}"])
