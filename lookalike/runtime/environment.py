"""Reading of settings: environment variables `LOOKALIKE_<NAME>`, once at start, and the files of secrets that they name.

A wrong setting ends the process with code 2 and one line that names the setting, its source, the allowed values and its value,
without parts that may be secret. Every service's `__main__` calls it; the settings themselves are in `settings`.
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
"""Bounds the characters of a wrong value that are shown."""
_SECRET_BYTES = 64 * 1024
"""Bounds a file with a secret: no secret is longer, and a device or a pipe may have no end."""

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """Base of every service's settings, with the prefix of the variables. Frozen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)


def load_settings(cls: type[S]) -> S:
    """Read `cls` from the environment, or end the process with code 2 and one line for each wrong setting: its name, the source
    of its value, the allowed values, and its value. Files with secrets or certificates are checked too."""
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
    """The given value, cut to a line, without a possible password, which stands before an @ or after a ?."""
    if isinstance(value, str):  # before it is quoted, since a password may hold any character
        value = re.sub(r"(?s)(?P<scheme>[a-z0-9+.-]+://)?.*@", r"\g<scheme>...@", value)
        value = re.sub(r"(?s)\?.*", "?...", value)
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def refuse_setting(settings: ServiceSettings, error: LookalikeError) -> None:
    """End the process as `load_settings` does where the field of `error` is a setting: a mistake that only the code that used
    the setting could find. Else return."""
    if isinstance(error, InvalidArgument) and error.field in type(settings).model_fields:
        _refuse([_line(error.field, error.problem, getattr(settings, error.field))])


def unknown_settings(settings: ServiceSettings, service: str) -> dict[str, str]:
    """Variables that look like settings of `service` but are not, each with the most similar setting, or ""."""
    own = f"{PREFIX}{service.upper()}_"
    known = {f"{PREFIX}{name.upper()}" for name in _fields(ServiceSettings)}
    ends = {name.removeprefix(own): name for name in known}

    def meant(name: str) -> str:
        return next((ends[end] for end in get_close_matches(name.removeprefix(own), ends, n=1, cutoff=0.7)), "")

    return {name: meant(name) for name in sorted(os.environ) if name.startswith(own) and name not in known}


def _fields(cls: type[BaseModel]) -> set[str]:
    """The settings of a class and of its subclasses: services that share a file of variables also read those of the others."""
    return set(cls.model_fields).union(*(_fields(made) for made in cls.__subclasses__()))


def _refuse(lines: list[str]) -> NoReturn:
    sys.stderr.write("".join(f"lookalike: {' '.join(line.split())}\n" for line in lines))
    raise SystemExit(2)


def read_secret(path: Path | None, setting: str) -> str | None:
    """The content of the file that `setting` (without the prefix) names; None without a file. Errors end the process as in
    `load_settings`."""
    if path is None:
        return None
    name = f"{PREFIX}{setting}"
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) or status.st_size > _SECRET_BYTES:
            _refuse([f"setting {name} (from the environment): {path} is not a file, or larger than {_SECRET_BYTES} bytes"])
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
