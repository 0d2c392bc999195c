"""Which names the gateway answers to and from whose pages it takes requests: DNS rebinding and foreign pages get nothing."""

from __future__ import annotations

import pytest
from starlette.types import Scope

from gateway.http_server.hosts import Hosts, of_absolute_target
from lookalike.errors import FailedPrecondition
from tests.unit.gateway.http_app import SEARCH, ask, build

OURS = Hosts.of(["Lookalike.example.com", "inner.example:8443"])


def request(method: str = "GET", *headers: tuple[str, str], target: str = "/", came_to: str = "192.168.7.9") -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": target,
        "raw_path": target.encode(),
        "server": (came_to, 8080),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


def refusal(hosts: Hosts, scope: Scope) -> str:
    """The reason, or "" where the request is taken."""
    try:
        hosts.check(scope)
    except FailedPrecondition as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST.:1", "127.0.0.1:8080", "127.9.8.7", "[::1]:8080", "[0:0:0:0:0:0:0:1]",
     "[::ffff:127.0.0.1]:8080", "192.168.7.9:8080", "192.168.7.9", "lookalike.example.com", "LOOKALIKE.example.com.:443",
     "inner.example:8443"],
)  # fmt: skip
def test_loopback_names_the_address_that_was_called_and_names_of_the_setting_are_answered(host: str) -> None:
    assert refusal(OURS, request("POST", ("host", host))) == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize(
    "host",
    ["evil.example:8080", "evil.example", "10.0.0.5:8080", "0.0.0.0:8080", "localhost.evil.example", "127.0.0.1.evil.example",
     "evillocalhost", "inner.example", "inner.example:80", "[::2]:8080", "[fe80::1%25eth0]", "user@localhost", "localhost:x",
     "localhost:99999", "localhost, evil.example", "local host", "[localhost]", "127.1", "0x7f000001", "", ".", "..", "[]",
     "lookalike.example.com..", "l\u00f6calhost"],
)  # fmt: skip
def test_other_names_are_refused_whatever_is_asked(host: str, method: str) -> None:
    assert refusal(OURS, request(method, ("host", host), ("sec-fetch-site", "same-origin"))) == "HOST_UNKNOWN"


def test_two_hosts_are_refused_and_none_is_no_browser() -> None:
    assert refusal(OURS, request("GET", ("host", "localhost"), ("host", "localhost"))) == "HOST_UNKNOWN"
    assert refusal(OURS, request("POST")) == ""


def test_what_a_caller_says_of_a_host_before_a_proxy_is_not_believed() -> None:
    said = [("x-forwarded-host", "localhost"), ("forwarded", "host=localhost"), ("x-original-host", "localhost")]
    assert refusal(OURS, request("GET", ("host", "evil.example"), *said)) == "HOST_UNKNOWN"
    assert refusal(OURS, request("GET", ("host", "localhost"), ("x-forwarded-host", "evil.example"))) == ""


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:8080", "http://localhost:8080"), ("LOCALHOST:8080", "http://localhost.:8080"),
     ("lookalike.example.com", "https://lookalike.example.com"), ("lookalike.example.com:80", "http://lookalike.example.com"),
     ("[::1]:8080", "http://[::1]:8080"), ("192.168.7.9:8080", "http://192.168.7.9:8080"),
     ("localhost:8080", "https://lookalike.example.com"), ("localhost:8080", "https://inner.example:8443")],
)  # fmt: skip
def test_pages_of_the_gateway_itself_are_served(host: str, origin: str) -> None:
    assert refusal(OURS, request("POST", ("host", host), ("origin", origin))) == ""


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://localhost", "http://localhost:3000", "https://localhost:8080.evil.example",
     "http://127.0.0.1:8080", "http://localhost:8080/", "http://localhost:8080 http://evil.example", "ftp://localhost:8080",
     "http://evil.example@localhost:8080", "localhost:8080", "http://lookalike.example.com:8080", "chrome-extension://abc"],
)  # fmt: skip
def test_pages_of_other_sites_are_refused_without_a_word_from_sec_fetch_site(origin: str, method: str) -> None:
    assert refusal(OURS, request(method, ("host", "localhost:8080"), ("origin", origin))) == "CROSS_SITE"


def test_one_good_origin_does_not_cover_for_a_bad_one() -> None:
    origins = [("origin", "http://localhost:8080"), ("origin", "http://evil.example")]
    assert refusal(OURS, request("POST", ("host", "localhost:8080"), *origins)) == "CROSS_SITE"


def test_every_name_may_be_answered_but_foreign_pages_never_are() -> None:
    anyone = Hosts.of(["*"])
    assert refusal(anyone, request("GET", ("host", "evil.example"))) == ""
    assert refusal(anyone, request("POST", ("host", "a.example"), ("origin", "http://b.example"))) == "CROSS_SITE"


@pytest.mark.parametrize(
    ("target", "host", "path", "reason"),
    [("http://localhost:8080/v1/x", "localhost:8080", "/v1/x", ""), ("HTTP://LOCALHOST", "localhost", "/", ""),
     ("http://evil.example/v1/x", "localhost", "/v1/x", "HOST_UNKNOWN"),
     ("http://localhost/v1/x", "evil.example", "/v1/x", "HOST_UNKNOWN"),
     ("/http://evil.example/", "localhost", "/http://evil.example/", "")],
)  # fmt: skip
def test_a_target_with_a_host_of_its_own_must_be_ours_too(target: str, host: str, path: str, reason: str) -> None:
    scope = of_absolute_target(request("GET", ("host", host), target=target))
    assert scope["path"] == path
    assert refusal(OURS, scope) == reason


def test_a_refusal_names_the_setting_that_would_allow_it() -> None:
    response = ask("GET", "/v1/collections", headers={"host": "pictures.example:8080"})
    error = response.json()["error"]
    assert (response.status_code, error["reason"], error["metadata"]) == (421, "HOST_UNKNOWN", {"host": "pictures.example"})
    assert "LOOKALIKE_GATEWAY_HOSTS" in error["message"]
    assert "--host pictures.example" in error["message"]


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/page/app.js", "/metrics", "/healthz", "/openapi.json", "/v1/collections", "/no"]
)
def test_a_rebound_name_reads_nothing(path: str) -> None:
    assert ask("GET", path, headers={"host": "evil.example"}).json()["error"]["reason"] == "HOST_UNKNOWN"


def test_a_foreign_page_cannot_post_a_form_where_browsers_say_nothing_of_the_site() -> None:
    foreign = {"origin": "http://evil.example"}
    assert ask("POST", SEARCH, build(), files={"image": b"x"}, headers=foreign).json()["error"]["reason"] == "CROSS_SITE"


@pytest.mark.parametrize("entry", ["http://a.example", "a.example/", "a b", "a:b", "", "*.example"])
def test_an_entry_that_is_no_name_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="must be names"):
        Hosts.of([entry])
