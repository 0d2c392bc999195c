"""Refuses query parameters that a route does not have, as fields that a body does not have are refused. Used by `app`.

A misspelt `?states=` would else be an answer about everything.
"""

from __future__ import annotations

from fastapi import Request

from gateway.http.reading import not_known
from lookalike.errors import InvalidArgument


async def only_known_parameters(request: Request) -> None:
    """A dependency of every route of the API. Raises `InvalidArgument`, naming the first parameter that is not known."""
    paths = request.app.openapi()["paths"]  # made once, and the only place that knows those that models stand for
    operation = paths[request.scope["route"].path_format][request.method.lower()]
    known = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            allowed = ", ".join(sorted(known)) or "there are none here"
            problem = f"is not a parameter of this request ({allowed})"
            raise InvalidArgument(name[:80], not_known(name, {one: one for one in known}, problem))
