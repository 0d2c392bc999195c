"""HEAD for every path that GET has: the same answer without its body. A layer around the application, made by `app`."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """ASGI middleware. What would stream is ended after its head, as if its reader had gone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered = False

        async def without_body(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
            elif not answered:
                answered = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def or_gone() -> Message:
            return {"type": "http.disconnect"} if answered else await receive()

        asked = {**scope, "method": "GET"}
        await self._app(asked, or_gone, without_body)
        # What is known of the request afterwards, such as its route, is known to the layers around this one.
        scope.update({key: value for key, value in asked.items() if key != "method"})
