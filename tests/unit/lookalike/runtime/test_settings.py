"""A wrong setting stops the service with one line that names it; secrets come from files."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from lookalike.errors import InvalidArgument
from lookalike.runtime.environment import load_settings, refuse_setting, unknown_settings
from lookalike.runtime.redis_access import Sentinels
from lookalike.runtime.settings import (
    ArtifactSettings,
    EmbedderAddress,
    LogSettings,
    MilvusSettings,
    RedisSettings,
    TraceSettings,
    split_roots,
)
from tests.servers.tls import certificate


class All(LogSettings, TraceSettings, MilvusSettings, RedisSettings, ArtifactSettings, EmbedderAddress):
    """What a service reads."""


def test_a_wrong_value_ends_the_process_naming_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_LOG_LEVEL", "loud")
    with pytest.raises(SystemExit) as stopped:
        load_settings(LogSettings)
    assert stopped.value.code == 2
    assert "LOOKALIKE_LOG_LEVEL" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["nowhere", "host:", "host:99999"])
def test_an_address_needs_host_and_port(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_TARGET", target)
    with pytest.raises(SystemExit):
        load_settings(EmbedderAddress)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:6379", "http://host", "redis://", "redis://:secret@host:port/0", "redis://host:99999", "unix:///redis.sock"],
)
def test_a_redis_url_that_cannot_be_one_ends_the_process_in_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", url)
    with pytest.raises(SystemExit):
        load_settings(RedisSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert "LOOKALIKE_REDIS_URL" in line
    assert "must be redis://HOST:PORT/DB" in line
    assert "secret" not in line


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "rediss://user@redis.example", "redis://[::1]:6379/3"])
def test_redis_urls_pass(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", url)
    assert load_settings(RedisSettings).redis_url == url


def test_the_redis_password_comes_from_its_file_and_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", "redis://redis:6379/2")
    monkeypatch.setenv("LOOKALIKE_REDIS_PASSWORD_FILE", str(secret))
    assert load_settings(RedisSettings).redis_access == "redis://:p%40ss%2Fword@redis:6379/2"


def test_a_secret_that_cannot_be_read_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_REDIS_PASSWORD_FILE", str(tmp_path / "absent"))
    with pytest.raises(SystemExit):
        _ = load_settings(RedisSettings).redis_access
    assert "LOOKALIKE_REDIS_PASSWORD_FILE" in capsys.readouterr().err


def test_source_roots_are_split_like_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_SOURCE_ROOTS", "/a:/b c")
    assert load_settings(ArtifactSettings).source_roots == ("/a", "/b c")


@pytest.mark.parametrize(
    "roots",
    [
        ("/a", "s3://bucket/photos/", "/b"),
        ("https://images.example.com/", "http://127.0.0.1:8080/x", "http://[::1]:80/"),
        ("https://", "s3://", "/a"),
        ("https://host:8443", "s3://bucket"),
        ("file:///a", "8080"),
    ],
)
def test_source_roots_may_be_urls_with_ports(roots: tuple[str, ...]) -> None:
    assert split_roots(":".join(("", *roots, ""))) == roots


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SOURCE_ROOTS", "/a:pictures", "'pictures' is neither"),
        ("ARTIFACTS_URL", "artifacts", "must be an absolute path or a URL"),
        ("ARTIFACTS_URL", "   ", "must be an absolute path or a URL"),
        ("ARTIFACTS_URL", "s3://KEY:secret@bucket/x", "must not hold a password"),
        ("REDIS_URL", "redis://h:1/notadb", "must be redis://HOST:PORT/DB"),
        ("REDIS_URL", "redis:/user:secret@h:1/0", "must be redis://HOST:PORT/DB"),
        ("REDIS_URL", "user:secret@127.0.0.1:6379", "must be redis://HOST:PORT/DB"),
        ("REDIS_URL", "redis://h:abc/0?password=secret", "must be redis://HOST:PORT/DB"),
        ("REDIS_URL", "redis://:a secret 'p@a,secret@h:99999/0", "must be redis://HOST:PORT/DB"),
        ("MILVUS_URI", "http://root:it's secret@h", "must be http://HOST:PORT"),
        ("OTLP_ENDPOINT", "user:secret@collector:4317", "must be http://HOST:PORT"),
        ("OTLP_ENDPOINT", "http://user:secret@collector:4317", "without a password"),
        ("OTLP_ENDPOINT", "http://h:notaport", "must be http://HOST:PORT"),
        ("INDEXER_STALL_S", "inf", "finite number"),
        ("INDEXER_STALL_S", "1e300", "less than or equal to"),
        ("EMBEDDER_TARGET", "embedder:\u00b2", "must be HOST:PORT"),
        ("EMBEDDER_TARGET", "\u00e9.example:1", "must be HOST:PORT"),
        ("LOG_LEVEL", "x" * 5000, "'debug', 'info'"),
    ],
)
def test_a_value_that_cannot_be_is_reported_in_one_line_without_what_is_secret_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"LOOKALIKE_{name}", value)
    with pytest.raises(SystemExit) as ended:
        load_settings(All)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lookalike: setting LOOKALIKE_{name} (from the environment): ")
    assert said in line
    assert "secret" not in line
    assert len(line) < 500


def test_a_secret_is_read_from_a_file_and_from_nothing_that_never_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        monkeypatch.setenv("LOOKALIKE_REDIS_PASSWORD_FILE", str(path))
        with pytest.raises(SystemExit):
            load_settings(RedisSettings)
        assert f"{path} is not a file" in capsys.readouterr().err


def test_a_mistyped_setting_is_reported_with_the_one_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_REDIS_PASWORD_FILE", "/x")
    monkeypatch.setenv("LOOKALIKE_REDIS_COLOUR", "red")
    monkeypatch.setenv("LOOKALIKE_GATEWAY_THREADS", "4")
    assert unknown_settings(load_settings(RedisSettings), "redis") == {
        "LOOKALIKE_REDIS_COLOUR": "",
        "LOOKALIKE_REDIS_PASWORD_FILE": "LOOKALIKE_REDIS_PASSWORD_FILE",
    }


def test_what_another_service_is_given_is_no_typing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_TARGET", "embedder:50052")  # all three get it from one file on Kubernetes
    assert unknown_settings(load_settings(LogSettings), "embedder") == {}


def test_what_only_its_user_sees_of_a_setting_is_reported_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_ARTIFACTS_URL", "bogus://x")
    settings = load_settings(ArtifactSettings)
    with pytest.raises(SystemExit) as ended:
        refuse_setting(settings, InvalidArgument("artifacts_url", "cannot be used: no such protocol"))
    assert ended.value.code == 2
    said = "setting LOOKALIKE_ARTIFACTS_URL (from the environment): cannot be used: no such protocol (is 'bogus://x')"
    assert capsys.readouterr().err == f"lookalike: {said}\n"
    refuse_setting(settings, InvalidArgument("limit", "is no setting"))


@pytest.mark.parametrize(
    "uri",
    ["milvus.db", "./milvus.db", "milvus:19530", "tcp://host:19530", "http://", "http://host:99999", "http://u:secret@host:1"],
)
def test_a_milvus_uri_that_is_none_ends_the_process_in_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setenv("LOOKALIKE_MILVUS_URI", uri)
    with pytest.raises(SystemExit):
        load_settings(MilvusSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lookalike: setting LOOKALIKE_MILVUS_URI (from the environment): ")
    assert "must be http://HOST:PORT" in line
    assert "secret" not in line


@pytest.mark.parametrize("uri", ["http://milvus:19530", "https://in03-1.example.com:443", "http://[::1]:19530/a_database"])
def test_milvus_uris_pass(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("LOOKALIKE_MILVUS_URI", uri)
    assert load_settings(MilvusSettings).milvus_uri == uri


def test_redis_by_tls_is_believed_from_the_named_authorities_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = certificate(tmp_path).authority
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", "rediss://redis:6379/2")
    assert load_settings(RedisSettings).redis_access == "rediss://redis:6379/2?ssl_cert_reqs=required"
    monkeypatch.setenv("LOOKALIKE_REDIS_CA_FILE", str(authority))
    query = dict(parse_qsl(urlsplit(str(load_settings(RedisSettings).redis_access)).query))
    assert query == {"ssl_cert_reqs": "required", "ssl_ca_certs": str(authority)}


@pytest.mark.parametrize(
    ("content", "url", "said"),
    [
        (None, "https://milvus:19530", "cannot be used: No such file or directory"),
        ("not PEM", "https://milvus:19530", "holds no certificate in PEM"),
        ("not PEM", "http://milvus:19530", "is of use only where LOOKALIKE_MILVUS_URI begins with https://"),
    ],
)
def test_authorities_that_are_none_end_the_process_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    url: str,
    said: str,
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("LOOKALIKE_MILVUS_URI", url)
    monkeypatch.setenv("LOOKALIKE_MILVUS_CA_FILE", str(path))
    with pytest.raises(SystemExit):
        load_settings(MilvusSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lookalike: setting LOOKALIKE_MILVUS_CA_FILE (from the environment): ")
    assert said in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://s1:26379,s2:26379", "it lacks SERVICE"),
        ("redis+sentinel://s1:26379,s2:26379/0", "it lacks SERVICE"),
        ("redis+sentinel://s1:26379/my service/0", "SERVICE has letters, digits"),
        ("redis+sentinel://s1:26379/mymaster/main", "DB is the number"),
        ("redis+sentinel://u:secret@s1:26379,,s2/mymaster/0", "'' is not HOST:PORT"),
        ("redis+sentinel://:secret@s1:99999/mymaster/0", "'s1:99999' is not HOST:PORT"),
        ("redis+sentinel://s1:26379,:secret@s2:26379/mymaster/0", "stands once, before all hosts"),
        ("redis+sentinel://:secret@s1:26379/mymaster/0?x=y", "with nothing behind it"),
        ("redis+sentinel://:secret/@s1:26379/mymaster/0", "must be redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"),
        ("sentinel://s1:26379;sentinel://s2:26379/0", "behind Sentinels redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"),
    ],
)
def test_a_url_of_sentinels_that_is_none_ends_the_process_in_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", url)
    with pytest.raises(SystemExit):
        load_settings(RedisSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lookalike: setting LOOKALIKE_REDIS_URL (from the environment): ")
    assert said in line
    assert "secret" not in line


def test_sentinels_and_what_they_watch_are_read_from_one_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("p@ss/word\n")
    (tmp_path / "sentinels").write_text("other\n")
    authority = certificate(tmp_path).authority
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", "rediss+sentinel://me@s1:26380,s2,[::1]:26381/mymaster/2")
    monkeypatch.setenv("LOOKALIKE_REDIS_PASSWORD_FILE", str(tmp_path / "redis"))
    monkeypatch.setenv("LOOKALIKE_REDIS_SENTINEL_PASSWORD_FILE", str(tmp_path / "sentinels"))
    monkeypatch.setenv("LOOKALIKE_REDIS_CA_FILE", str(authority))
    access = load_settings(RedisSettings).redis_access
    addresses = (("s1", 26380), ("s2", 26379), ("::1", 26381))
    assert access == Sentinels(addresses, "mymaster", 2, "me", "p@ss/word", "other", tls=True, ca_file=authority)
    assert not any(secret in repr(access) for secret in ("p@ss", "other"))


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("redis://redis:6379/0", "LOOKALIKE_REDIS_SENTINEL_PASSWORD_FILE"),
        ("redis+sentinel://s1:26379/mymaster/0", "LOOKALIKE_REDIS_CA_FILE"),
    ],
)
def test_a_file_that_the_url_has_no_use_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, setting: str
) -> None:
    monkeypatch.setenv("LOOKALIKE_REDIS_URL", url)
    monkeypatch.setenv(setting, str(tmp_path / "file"))
    with pytest.raises(SystemExit):
        load_settings(RedisSettings)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lookalike: setting {setting} (from the environment): ")
    assert "is of use only where LOOKALIKE_REDIS_URL begins with " in line
