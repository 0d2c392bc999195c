"""What is read from the web, from a real HTTP server, and what the guard keeps from it."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import socket
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import BadImage, FailedPrecondition, InvalidArgument, LookalikeError
from lookalike.sources.addresses import is_public
from lookalike.sources.roots import Roots
from lookalike.sources.urls import Url, parse_url
from lookalike.sources.web import SOURCE_TIMEOUT, SOURCE_UNAVAILABLE, Web

_CLIMBING_PARTS = (
    ".",
    "..",
    "/",
    "\\",
    ";",
    "%2e",
    "%2f",
    "%5c",
    "%00",
    "%20",
    " ",
    "a",
    "\uff0e",
    "%c0%ae",
    "?",
    "%3b",
    "%u002e",
)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """An HTTP server on 127.0.0.1 that answers each path as a test sets it."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked[self.path] += 1
                site.answers.get(self.path, status(404))(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.answers["/a.png"] = status(200, b"picture")
    yield site
    site.close()


def read(site: Site, path: str, *roots: str, timeout_s: float = 30, max_bytes: int = 1000) -> bytes:
    guard = Roots(roots or (site.url,))
    url = guard.check(path if "://" in path else site.url + path)
    assert isinstance(url, Url)
    return Web(guard, timeout_s=timeout_s, backoff_s=0.001).read(url, max_bytes=max_bytes)


def refused(site: Site, path: str, *roots: str, **options: Any) -> LookalikeError:
    with pytest.raises(LookalikeError) as refused:
        read(site, path, *roots, **options)
    return refused.value


class TestReading:
    def test_a_picture_is_read_by_its_url(self, site: Site) -> None:
        site.answers["/with%20space%C3%A9.png?v=1"] = status(200, b"spaced")
        assert read(site, "/a.png") == b"picture"
        assert read(site, "/with spaceé.png?v=1#fragment") == b"spaced"

    def test_a_body_without_a_length_is_read_to_its_end(self, site: Site) -> None:
        def chunked(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            request.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

        site.answers["/chunked"] = chunked
        assert read(site, "/chunked") == b"abcde"

    def test_what_is_too_large_is_refused_by_its_length_and_while_it_streams(self, site: Site) -> None:
        sent: list[int] = []

        def endless(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.end_headers()
            try:
                for _ in range(10_000):
                    request.wfile.write(b"x" * 65_536)
                    sent.append(65_536)
            except OSError:
                request.close_connection = True

        site.answers |= {"/endless": endless, "/large": status(200, b"", Content_Length="1001")}
        for path in ("/large", "/endless"):
            error = refused(site, path)
            assert isinstance(error, BadImage)
            assert error.reason == "IMAGE_TOO_LARGE"
        assert sum(sent) < 100_000_000, "it was not read to its end"

    @pytest.mark.parametrize(
        ("code", "reason", "says"),
        [
            (404, "SOURCE_NOT_FOUND", "answered 404"),
            (410, "SOURCE_NOT_FOUND", "answered 410"),
            (401, "SOURCE_FORBIDDEN", "needs credentials"),
            (403, "SOURCE_FORBIDDEN", "needs credentials"),
            (400, "SOURCE_UNREADABLE", "answered 400"),
            (204, "SOURCE_UNREADABLE", "answered 204"),
        ],
    )
    def test_an_answer_that_is_final_is_not_asked_for_again(self, site: Site, code: int, reason: str, says: str) -> None:
        site.answers["/x"] = status(code)
        error = refused(site, "/x")
        assert error.reason == reason
        assert says in error.message
        assert site.asked["/x"] == 1

    @pytest.mark.parametrize("code", [429, 500, 503])
    def test_what_passes_is_asked_for_again_and_then_fails_by_name(self, site: Site, code: int) -> None:
        def better(request: BaseHTTPRequestHandler) -> None:
            (status(code) if site.asked["/better"] < 3 else status(200, b"at last"))(request)

        site.answers |= {"/better": better, "/never": status(code)}
        assert read(site, "/better") == b"at last"
        error = refused(site, "/never")
        assert error.reason == SOURCE_UNAVAILABLE
        assert f"answered {code} (4 attempts)" in error.message
        assert site.asked["/never"] == 4

    def test_a_connection_that_breaks_is_tried_again(self, site: Site) -> None:
        def breaks(request: BaseHTTPRequestHandler) -> None:
            if site.asked["/breaks"] == 1:
                request.close_connection = True
            elif site.asked["/breaks"] == 2:
                status(200, b"hal", Content_Length="4")(request)
                request.close_connection = True
            else:
                status(200, b"half")(request)

        site.answers["/breaks"] = breaks
        assert read(site, "/breaks") == b"half"
        assert site.asked["/breaks"] == 3

    def test_a_host_that_does_not_listen_is_unavailable_and_one_that_does_not_exist_is_not_found(self, site: Site) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
            assert refused(site, closed + "x", closed).reason == SOURCE_UNAVAILABLE
        error = refused(site, "http://no-such-host.invalid/x", "http://no-such-host.invalid/")
        assert error.reason in ("SOURCE_NOT_FOUND", SOURCE_UNAVAILABLE), "the second where no DNS can be asked"

    def test_a_host_that_drips_runs_out_of_time(self, site: Site) -> None:
        done = threading.Event()

        def drips(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Length", "1000")
            request.end_headers()
            while not done.wait(0.02):
                request.wfile.write(b"x")

        site.answers |= {"/drips": drips, "/silent": lambda request: [done.wait(60), request.connection.close()][0] and None}
        for path in ("/drips", "/silent"):
            assert refused(site, path, timeout_s=0.2).reason == SOURCE_TIMEOUT, path
        done.set()


class TestGuard:
    def test_only_named_places_are_read(self, site: Site) -> None:
        site.answers["/pictures/a.png"] = status(200, b"inside")
        root = f"{site.url}/pictures"
        assert read(site, "/pictures/a.png", root) == b"inside"
        port = site.url.rpartition(":")[2]
        outside = [
            "/a.png", "/pictures2/a.png", "/pictures/../a.png", "/pictures/%2e%2e/a.png", "/pictures/%252e%252e/a.png",
            "/pictures/..%2fa.png", "/pictures/..%5ca.png", "/pictures/..;/a.png", "/pictures/..%00/a.png",
            "/pictures/%2e.;v=1/a.png",
            "/pictures/..%3b/a.png", "/pictures/..%3f/a.png", "/pictures/..%23/a.png", "/pictures/..%20/a.png",
            "/pictures/.../a.png",
            "/pictures/%c0%ae%c0%ae/a.png", "/pictures/..%c0%af..%c0%afa.png", "/pictures/%e0%80%ae%e0%80%ae/a.png",
            "/pictures/%u002e%u002e/a.png", "/pictures/\uff0e\uff0e/a.png", "/pictures/%e2%80%a5/a.png",
            "/pictures/..\uff0fa.png",
            "/pictures/..%09/a.png", "/pictures/..%0d%0a/a.png", "/pictures/%20../a.png", "/pictures/./../a.png",
            f"/pictures/%{'25' * 40}2e%{'25' * 40}2e/a.png", "//pictures/a.png", "/Pictures/a.png",
            f"http://127.0.0.2:{port}/pictures/a.png",
            "http://127.0.0.1/pictures/a.png", f"https://127.0.0.1:{port}/pictures/a.png",
            f"http://127.0.0.1:{port}@example.org/pictures/a.png",
        ]  # fmt: skip
        for url in outside:
            assert refused(site, url, root).reason == "SOURCE_FORBIDDEN", url
        assert set(site.asked) == {"/pictures/a.png"}

    def test_every_public_host_may_be_allowed_and_no_private_address_is_among_them(self, site: Site) -> None:
        port = site.url.rpartition(":")[2]
        hosts = [
            "127.0.0.1", "localhost", "LOCALHOST.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "0.0.0.0", "[::]",
            "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\uff4cocalhost", "192.0.0.192",
        ]  # fmt: skip
        for host in hosts:
            error = refused(site, f"http://{host}:{port}/a.png", "http://")
            assert error.reason == "SOURCE_FORBIDDEN", host
            assert "not public" in error.message, host
        spelled = [
            "2130706433",
            "0x7f000001",
            "127.1",
            "0177.0.0.1",
            "127.0.0.0x1",
            "1.2.3.4.5",
            "[fe80::1%25eth0]",
            "[::1%lo]",
        ]
        for host in spelled:
            assert refused(site, f"http://{host}:{port}/a.png", "http://").reason == "SOURCE_FORBIDDEN", host
        for host in ("%6cocalhost", "a b", "a..b", "exa$mple"):
            assert isinstance(refused(site, f"http://{host}:{port}/a.png", "http://"), InvalidArgument), host
        assert not site.asked

    def test_a_redirect_passes_the_guard_again(self, site: Site) -> None:
        site.answers |= {
            "/in/moved": status(302, Location="/in/new"),
            "/in/new": status(200, b"moved"),
            "/in/out": status(302, Location="/a.png"),
            "/in/params": status(302, Location="/in/..;/a.png"),
            "/in/zero": status(302, Location="/in/..%00/a.png"),
            "/in/relative": status(302, Location="..;/a.png"),
            "/in/spelled": status(302, Location="http://0x7f.1/a.png"),
            "/in/file": status(302, Location="file:///etc/hostname"),
            "/in/private": status(302, Location="http://169.254.169.254/latest/meta-data/"),
            "/in/loop": status(302, Location="/in/loop"),
        }
        root = f"{site.url}/in/"
        assert read(site, "/in/moved", root) == b"moved"
        for path in ("/in/out", "/in/params", "/in/zero", "/in/relative", "/in/spelled", "/in/file", "/in/private"):
            assert refused(site, path, root, "https://").reason == "SOURCE_FORBIDDEN", path
        assert "not public" in refused(site, "/in/private", root, "http://").message
        assert "more than 5 times" in refused(site, "/in/loop", root).message
        assert site.asked["/a.png"] == 0

    def test_the_address_that_was_checked_is_the_one_that_is_asked(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that has a public address when it is looked up first, and a private one when it is looked up again."""
        lookups = []
        look_up = socket.getaddrinfo

        def rebinding(host: str, *rest: Any, **options: Any) -> Any:
            if host != "rebinding.test":
                return look_up(host, *rest, **options)
            lookups.append(host)
            return look_up("192.0.32.8" if len(lookups) == 1 else "127.0.0.1", *rest, **options)

        connected: list[Any] = []
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        monkeypatch.setattr(socket.socket, "connect", lambda _, address: connected.append(address[0]) or _refuse())
        refused(site, f"http://rebinding.test:{site.url.rpartition(':')[2]}/a.png", "http://", timeout_s=0.2)
        assert set(connected) <= {"192.0.32.8"}
        assert connected
        assert not site.asked

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
            "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
            "2002:7f00:1::", "2002:808:808::1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2001::1", "2001:2::1",
            "192.0.0.192", "192.0.0.8", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.7",
            "::7f00:1", "::808:808", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "fec0::1", "4000::1", "::ffff:192.0.0.192",
            "2606:4700:4700::1111%eth0", "8.8.8.8.", "010.8.8.8", "localhost", "",
        ],
    )  # fmt: skip
    def test_addresses_that_are_not_of_the_open_internet(self, address: str) -> None:
        assert not is_public(address)

    def test_addresses_of_the_open_internet(self) -> None:
        addresses = ("8.8.8.8", "1.1.1.1", "223.255.255.254", "2606:4700:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8")
        assert all(map(is_public, addresses))

    @given(st.ip_addresses(v=4))
    def test_what_is_public_is_public_in_no_disguise_but_the_mapped_one(self, address: ipaddress.IPv4Address) -> None:
        number = int(address)
        assert is_public(f"::ffff:{address}") == is_public(str(address))
        for disguise in (number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80, 0x20010000 << 96 | number ^ 0xFFFFFFFF):
            assert not is_public(str(ipaddress.IPv6Address(disguise)))

    @given(st.ip_addresses())
    def test_nothing_is_public_that_python_knows_to_be_special(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        assert address.is_global or getattr(address, "ipv4_mapped", None) or not is_public(str(address))

    @given(st.lists(st.sampled_from(_CLIMBING_PARTS), min_size=1, max_size=6), st.integers(0, 2))
    def test_no_path_that_passes_leaves_its_root_however_a_server_reads_it(self, parts: list[str], encoded: int) -> None:
        path = "".join(parts)
        for _ in range(encoded):
            path = quote(path, safe="/")
        try:
            url = Roots(["https://host/ok/"]).check(f"https://host/ok/{path}")
        except LookalikeError:
            return
        assert isinstance(url, Url)
        for served in _readings(url.path):
            assert posixpath.normpath(served).startswith("/ok"), (path, served)

    def test_usual_paths_pass(self) -> None:
        roots = Roots(["https://host/ok/", "s3://bucket/in/"])
        paths = [
            "a.jpg", "100%25.jpg", "a%20b.jpg", "img;w=100/a.jpg", "o/photos%2Fa.jpg", "%E9t%E9.jpg", "caf\u00e9.jpg",
            ".well-known/a",
            "..a.jpg", "a..b.jpg", "wait....jpg", "a//b.jpg", "a;jsessionid=1.jpg", "-.-", "@eaDir/x.jpg", "a,b+c.jpg",
            "%C3%A9.png",
        ]  # fmt: skip
        for path in paths:
            assert roots.check(f"https://host/ok/{path}"), path
            assert roots.check(f"s3://bucket/in/{path}"), path
        for key in ("../out.jpg", "..;/out.jpg", "%2e%2e/out.jpg", "a/..\\out.jpg"):
            with pytest.raises(FailedPrecondition):
                roots.check(f"s3://bucket/in/{key}")

    @pytest.mark.parametrize("root", ["https://host/a?x=1", "https://host/a#b", "https://host/a/../b", "https://0x7f.1/"])
    def test_a_root_that_would_not_keep_what_it_says_is_refused(self, root: str) -> None:
        with pytest.raises(InvalidArgument, match="LOOKALIKE_SOURCE_ROOTS"):
            Roots([root])

    @pytest.mark.parametrize(
        "url", ["http://[::1", "http://host:port/", "http://ho st/", "http://host/a\nb", "http://host/a\\b"]
    )
    def test_what_is_no_url_is_named(self, url: str) -> None:
        with pytest.raises(InvalidArgument):
            parse_url(url)

    def test_a_users_name_is_refused_and_never_shown(self) -> None:
        with pytest.raises(FailedPrecondition, match="holds a user's name") as refused:
            parse_url("https://me:secret@host/x.png")
        assert "secret" not in refused.value.message

    def test_a_root_that_is_no_place_is_named(self) -> None:
        with pytest.raises(InvalidArgument, match="neither a folder nor a URL"):
            Roots(["gs://bucket/"])


def _readings(path: str) -> Iterator[str]:
    """`path` as servers of several kinds serve it."""
    plain = path
    for _ in range(4):
        for text in (plain, plain.replace("\\", "/"), unicodedata.normalize("NFKC", plain), plain.split("\0")[0]):
            yield text
            yield re.sub(r";[^/]*", "", text)
            yield "/".join(segment.rstrip(". ") if segment.strip(". ") else segment.strip() for segment in text.split("/"))
        plain = unquote(plain)


def _refuse() -> None:
    raise ConnectionRefusedError
