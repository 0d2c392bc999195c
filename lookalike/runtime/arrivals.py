"""The number of calls that have arrived at a gRPC server and are unanswered, counted by gRPC (channelz). The embedder reads it.

A call arrives when gRPC has read its headers. The interpreter may reach the call much later, too late for a count in Python.
"""

from __future__ import annotations

from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import ChannelzServicer


class Arrivals:
    """Calls of the server that this process has made last; make this object right after the server."""

    def __init__(self) -> None:
        servers = ChannelzServicer.GetServers(channelz_pb2.GetServersRequest(start_server_id=_newest()), None).server
        self._server_id = servers[-1].ref.server_id

    def unanswered(self) -> int:
        """The number of calls under way, with streams and calls that wait for a handler. Takes some .3 ms."""
        request = channelz_pb2.GetServerRequest(server_id=self._server_id)
        data = ChannelzServicer.GetServer(request, None).server.data
        return int(data.calls_started - data.calls_succeeded - data.calls_failed)


def _newest() -> int:
    """Number of the newest page of servers; a page holds at most 100."""
    start = 0
    while True:
        page = ChannelzServicer.GetServers(channelz_pb2.GetServersRequest(start_server_id=start), None)
        if page.end or not page.server:
            return start
        start = page.server[-1].ref.server_id + 1
