from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

import psutil
import pytest

from embedder.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from indexer.settings import IndexerSettings
from lookalike import errors
from lookalike.local import ports, probes
from lookalike.local.folder import DataFolder, Recorded, started_at, still_running
from lookalike.local.parts import LocalConfig, Part, choose_ports, local_parts
from lookalike.local.ports import HeldPorts
from lookalike.local.supervisor import Event, Supervisor
from lookalike.local.system import LocalSystem
from lookalike.runtime.environment import PREFIX, ServiceSettings

_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's PR_SET_PDEATHSIG")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    folder.lock("this test")
    yield folder
    folder.unlock()


def until(happened: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline_s, f"waited {within_s} s in vain until {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def held() -> Iterator[HeldPorts]:
    held = HeldPorts()
    yield held
    held.close()


def script(name: str, folder: DataFolder, code: str, **kwargs: object) -> Part:
    """A part that runs `code`, and is ready when it has made the file `NAME.ready`."""
    ready = folder.path / f"{name}.ready"
    program = f"import pathlib, signal, sys, time\nready = pathlib.Path({str(ready)!r})\n{code}"
    return Part(name, (sys.executable, "-c", program), f"address of {name}", ready.exists, **kwargs)  # type: ignore[arg-type]


SERVE = "ready.touch()\ntime.sleep(600)"


@contextmanager
def supervised(folder: DataFolder, *parts: Part) -> Iterator[tuple[Supervisor, list[Event]]]:
    events: list[Event] = []
    supervisor = Supervisor(folder, parts, events.append)
    try:
        yield supervisor, events
    finally:
        supervisor.stop()


# The data folder


def test_a_second_holder_learns_who_has_the_folder(folder: DataFolder) -> None:
    folder.describe("lookalike, process 42, page http://127.0.0.1:8080")
    with pytest.raises(errors.FailedPrecondition, match=r"in use by lookalike, process 42, page") as caught:
        DataFolder(folder.path).lock("another")
    assert caught.value.reason == "DATA_FOLDER_LOCKED"
    folder.unlock()
    again = DataFolder(folder.path)
    again.lock("another")
    again.unlock()


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.FailedPrecondition, match="cannot be used"):
        DataFolder(tmp_path / "file" / "data").lock("this test")


def test_an_orphan_is_ended_and_a_stranger_with_its_number_is_not(folder: DataFolder) -> None:
    with subprocess.Popen(["sleep", "600"]) as orphan, subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            folder.record(
                [
                    Recorded("embedder", orphan.pid, started_at(orphan.pid)),
                    Recorded("gateway", stranger.pid, started_at(stranger.pid) - 3600),
                ]
            )
            assert [found.name for found in folder.reap_orphans()] == ["embedder"]
            assert not psutil.pid_exists(orphan.pid)
            assert stranger.poll() is None
            assert folder.recorded() == []
        finally:
            stranger.kill()


def test_an_orphan_that_ignores_the_request_is_killed(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.local.folder._TERMINATE_S", 0.3)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        folder.record([Recorded("indexer", orphan.pid, started_at(orphan.pid))])
        folder.reap_orphans()
        assert not psutil.pid_exists(orphan.pid)


@pytest.mark.parametrize("content", ["", "not json", '{"pid": 1}', '[{"name": "x"}]'])
def test_a_record_that_cannot_be_read_names_nobody(folder: DataFolder, content: str) -> None:
    (folder.path / "processes.json").write_text(content)
    assert folder.recorded() == []


def test_a_long_log_is_put_aside_and_its_writer_goes_on(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.local.folder.LOG_BOUND_BYTES", 1000)
    with folder.open_log("gateway") as log:
        log.write(b"old\n" * 500)
        log.flush()
        folder.bound_log("gateway")
        log.write(b"new\n")
    assert (folder.logs / "gateway.log").read_bytes() == b"new\n"
    assert (folder.logs / "gateway.log.1").stat().st_size == 2000


def unwritable(path: Path) -> None:
    """Makes every write to the file `path` fail, for root too: a folder stands in its place."""
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize(
    ("blocked", "use"),
    [
        ("processes.new", lambda folder: folder.record([])),
        ("logs/redis.log", lambda folder: folder.open_log("redis")),
        ("redis/file", lambda folder: folder.make("redis/file/data")),
    ],
    ids=["the record", "a log", "a part's folder"],
)
def test_what_cannot_be_written_is_reported_with_the_folder(
    folder: DataFolder, blocked: str, use: Callable[[DataFolder], object]
) -> None:
    if blocked == "redis/file":
        (folder.path / "redis").mkdir()
        (folder.path / blocked).touch()
    else:
        unwritable(folder.path / blocked)
    with pytest.raises(errors.FailedPrecondition, match=f"data folder {folder.path} cannot be used: .*{blocked}") as caught:
        use(folder)
    assert caught.value.reason == "DATA_FOLDER_UNUSABLE"
    assert folder.last_lines("redis") == []


@_LINUX
def test_a_full_disk_refuses_the_lock_and_leaves_it_to_others(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(errors.FailedPrecondition, match="cannot be used"):
        DataFolder(tmp_path).lock("this test")
    (tmp_path / "lock").unlink()
    again = DataFolder(tmp_path)
    again.lock("this test")
    again.path.joinpath("lock").unlink()
    again.unlock()


# The supervisor


def test_parts_start_in_order_of_their_needs_and_stop_in_the_reverse_one(folder: DataFolder) -> None:
    first = script("first", folder, SERVE)
    second = script("second", folder, "assert pathlib.Path(sys.argv[0] or '.'), 1\n" + SERVE, needs=("first",))
    with supervised(folder, first, second) as (supervisor, events):
        supervisor.start()
        assert [(event.name, event.state) for event in events] == [("first", "ready"), ("second", "ready")]
        assert set(supervisor.pids) == {"first", "second"}
        recorded = folder.recorded()
        assert {process.name: process.pid for process in recorded} == supervisor.pids
        assert all(still_running(process) for process in recorded)
        pids = supervisor.pids
    assert [event.name for event in events if event.state == "stopped"] == ["second", "first"]
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert folder.recorded() == []


def test_a_part_that_dies_is_started_again(folder: DataFolder) -> None:
    with supervised(folder, script("redis", folder, SERVE)) as (supervisor, events):
        supervisor.start()
        before = supervisor.pids["redis"]
        os.kill(before, signal.SIGKILL)
        until(lambda: supervisor.pids.get("redis", before) != before, "it runs again")
        until(lambda: [event.state for event in events] == ["ready", "died", "back"], "it is back")
        assert "SIGKILL" in events[1].detail
        assert [process.pid for process in folder.recorded()] == [supervisor.pids["redis"]]


def test_parts_go_on_where_logs_and_record_cannot_be_written(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.local.folder.LOG_BOUND_BYTES", 0)
    monkeypatch.setattr("lookalike.local.supervisor._BOUND_LOGS_EVERY_S", 0.0)
    unwritable(folder.path / "processes.new")
    with supervised(folder, script("redis", folder, "print('a line', flush=True)\n" + SERVE)) as (supervisor, events):
        supervisor.start()
        pid = supervisor.pids["redis"]
        unwritable(folder.logs / "redis.log.1")
        until(lambda: len(events) == 3, "the trouble with the log is reported")
        threading.Event().wait(0.5)
        assert [(event.name, event.state) for event in events] == [
            ("record", "trouble"), ("redis", "ready"), ("redis", "trouble"),
        ]  # fmt: skip
        supervisor.check()
        assert supervisor.pids == {"redis": pid}
    assert not psutil.pid_exists(pid)


def test_a_start_that_cannot_open_a_log_ends_with_the_reason(folder: DataFolder) -> None:
    unwritable(folder.logs / "embedder.log")
    parts = script("redis", folder, SERVE), script("embedder", folder, SERVE, needs=("redis",))
    with supervised(folder, *parts) as (supervisor, events):
        with pytest.raises(errors.FailedPrecondition, match=r"embedder\.log"):
            supervisor.start()
        assert [(event.name, event.state) for event in events] == [("redis", "ready"), ("redis", "stopped")]


def test_a_part_whose_log_cannot_be_opened_for_now_is_started_again_later(folder: DataFolder) -> None:
    with supervised(folder, script("redis", folder, SERVE)) as (supervisor, events):
        supervisor.start()
        unwritable(folder.logs / "redis.log")
        os.kill(supervisor.pids["redis"], signal.SIGKILL)
        until(lambda: "trouble" in [event.state for event in events], "the trouble is reported")
        (folder.logs / "redis.log").rmdir()
        until(lambda: "back" in [event.state for event in events], "it is back")


@pytest.mark.parametrize("state", ["ready", "stopped"])
def test_a_supervisor_that_breaks_leaves_no_part_and_nobody_waiting(folder: DataFolder, state: str) -> None:
    def report(event: Event) -> None:
        if event.state == state:
            raise OSError("no space left on device")

    others = set(psutil.Process().children())
    supervisor = Supervisor(folder, [script("redis", folder, SERVE), script("milvus", folder, SERVE)], report)
    if state == "ready":
        with pytest.raises(errors.Internal, match=r"supervisor has ended.*no space left"):
            supervisor.start()
    else:
        supervisor.start()
        supervisor.stop()
    with pytest.raises(errors.Internal, match="no space left"):
        supervisor.check()
    assert supervisor.pids == {}
    assert set(psutil.Process().children()) <= others


def test_a_part_that_ends_before_it_is_ready_stops_everything_and_shows_its_last_words(folder: DataFolder) -> None:
    good = script("redis", folder, SERVE)
    bad = script("embedder", folder, "print('no model here', flush=True)\nsys.exit(3)", needs=("redis",))
    with supervised(folder, good, bad) as (supervisor, events):
        with pytest.raises(errors.Unavailable, match=r"embedder .* exit code 3.*embedder\.log.*no model here"):
            supervisor.start()
        assert supervisor.pids == {}
        assert ("redis", "stopped") in [(event.name, event.state) for event in events]


def test_a_part_that_never_becomes_ready_is_not_waited_for_for_ever(folder: DataFolder) -> None:
    silent = script("embedder", folder, "time.sleep(600)", patience_s=0.7)
    with supervised(folder, silent) as (supervisor, _), pytest.raises(errors.Unavailable, match="did nothing for 1 s"):
        supervisor.start()
    busy = script("embedder", folder, "while True: pass", ready_within_s=1.0, patience_s=0.7)
    with supervised(folder, busy) as (supervisor, _), pytest.raises(errors.Unavailable, match="not ready within 1 s"):
        supervisor.start()


def test_a_part_is_waited_for_while_it_works_or_logs(folder: DataFolder) -> None:
    """For longer than its patience, by its own work or that of a part it waits for."""
    busy = "until = time.process_time() + 1.5\nwhile time.process_time() < until: pass\n"
    counting = "for n in range(8): print(n, flush=True); time.sleep(0.2)\n"
    waiting = "other = pathlib.Path(ready.parent / 'embedder.ready')\nwhile not other.exists(): time.sleep(0.05)\n"
    parts = (
        script("embedder", folder, busy + SERVE, patience_s=1.0),
        script("redis", folder, counting + SERVE, patience_s=1.0),
        script("indexer", folder, waiting + SERVE, patience_s=0.8, waits_for=("embedder",)),
    )
    with supervised(folder, *parts) as (supervisor, events):
        supervisor.start()
        assert {event.name for event in events if event.state == "ready"} == {"embedder", "redis", "indexer"}


def test_a_slow_start_is_reported_with_its_reason(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.local.supervisor._SLOW_S", 0.2)
    slow = script("embedder", folder, "time.sleep(1.2)\n" + SERVE, doing="loads TensorFlow")
    with supervised(folder, slow) as (supervisor, events):
        supervisor.start()
    reasons = [event.detail for event in events if event.state == "slow"]
    assert reasons[0].startswith("not ready after 1 s: it loads TensorFlow; it has had")
    assert len(reasons) < 5, "ever more seldom"


def test_the_answer_of_another_system_does_not_make_a_part_ready(folder: DataFolder) -> None:
    """Its probe is answered all the time; its own process finds the port taken, and the error says by what."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code = f"import socket\ntime.sleep(0.5)\nsocket.create_server(('127.0.0.1', {port}))\n{SERVE}"
        part = Part("embedder", (sys.executable, "-c", f"import time\n{code}"), "", lambda: True, ports=(port,))
        with supervised(folder, part) as (supervisor, events):
            with pytest.raises(errors.Unavailable, match=f"port {port} is taken by process {os.getpid()} .*in use"):
                supervisor.start()
            assert events == []


def test_a_part_is_ready_when_its_own_process_listens(folder: DataFolder, held: HeldPorts) -> None:
    port = held.free()
    code = f"import socket, time\nlistener = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(600)"
    part = Part("embedder", (sys.executable, "-c", code), "", lambda: True, ports=(port,))
    with supervised(folder, part) as (supervisor, events):
        supervisor.start()
        assert ports.listens(supervisor.pids["embedder"], port)
        assert [event.state for event in events] == ["ready"]


def test_a_part_that_does_not_stop_in_time_is_killed(folder: DataFolder) -> None:
    deaf = script("indexer", folder, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE, grace_s=0.3)
    with supervised(folder, deaf) as (supervisor, events):
        supervisor.start()
    assert [event.state for event in events] == ["ready", "killed"]


def test_ctrl_c_while_stopping_is_no_end_of_it(folder: DataFolder) -> None:
    deaf = script("indexer", folder, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE, grace_s=30.0)
    with supervised(folder, deaf) as (supervisor, events):
        supervisor.start()
        interrupt = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            supervisor.stop()
        supervisor.kill()
        supervisor.stop()
        assert [event.state for event in events] == ["ready", "stopped"]
        assert folder.recorded() == []


def test_stopping_while_parts_start_ends_the_start(folder: DataFolder) -> None:
    with supervised(folder, script("embedder", folder, "time.sleep(600)")) as (supervisor, _):
        starting: list[BaseException] = []

        def start() -> None:
            try:
                supervisor.start()
            except errors.Cancelled as error:
                starting.append(error)

        starter = threading.Thread(target=start)
        starter.start()
        until(lambda: supervisor.pids, "it has begun")
        supervisor.stop()
        starter.join(5)
        assert len(starting) == 1


def test_a_part_hears_sigint_even_where_this_process_was_started_to_ignore_it(folder: DataFolder) -> None:
    part = script("milvus", folder, SERVE, stop_signal=signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with supervised(folder, part) as (supervisor, events):
            supervisor.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [event.state for event in events] == ["ready", "stopped"]


@_LINUX
def test_parts_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from lookalike.local.folder import DataFolder
from lookalike.local.parts import Part
from lookalike.local.supervisor import Supervisor
folder = DataFolder(Path({str(tmp_path)!r}))
folder.lock("victim")
supervisor = Supervisor(folder, [Part("redis", ("sleep", "600"), "", lambda: True)], lambda event: None)
supervisor.start()
print(supervisor.pids["redis"], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        child = int(victim.stdout.readline())
        assert psutil.pid_exists(child)
        victim.kill()
        until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", "the child is gone")
    assert [process["pid"] for process in json.loads((tmp_path / "processes.json").read_text())] == [child]


# Ports, parts, probes


def test_a_port_in_use_is_refused_with_the_option_that_changes_it_and_who_has_it(held: HeldPorts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.FailedPrecondition, match=f"port {port} .*process {os.getpid()} .* --http-port") as caught:
            held.require(port, "--http-port")
        assert caught.value.reason == "PORT_TAKEN"
        assert held.prefer(port) != port


def test_a_port_is_held_from_its_choice_on(held: HeldPorts) -> None:
    """The port is for the part that is to listen alone: not for another system, nor for a program that binds it as it is."""
    port = held.free()
    other = HeldPorts()
    try:
        assert other.prefer(port) != port
        with pytest.raises(errors.FailedPrecondition, match="another lookalike that is starting"):
            other.require(port, "--grpc-port")
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        socket.create_server(("127.0.0.1", port)).close()
        held.close()
        assert other.prefer(port) == port
    finally:
        other.close()


def test_the_ports_of_two_systems_differ_before_anything_listens(held: HeldPorts) -> None:
    other = HeldPorts()
    try:
        first = choose_ports(LocalConfig(http_port=0, grpc_port=0), held)
        second = choose_ports(LocalConfig(http_port=0, grpc_port=0), other)
        assert not set(astuple(first)) & set(astuple(second))
    finally:
        other.close()


def test_a_killed_holder_holds_nothing(held: HeldPorts) -> None:
    code = "from lookalike.local.ports import HeldPorts\nprint(HeldPorts().free(), flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
    assert held.prefer(port) == port


def test_a_port_that_others_would_share_counts_as_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not ports.is_free(taken.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_number_that_is_no_port_is_refused(held: HeldPorts, port: int) -> None:
    with pytest.raises(errors.InvalidArgument, match="--grpc-port"):
        held.require(port, "--grpc-port")


def test_every_part_listens_on_the_loopback_only(folder: DataFolder, held: HeldPorts, tmp_path: Path) -> None:
    config = LocalConfig(data=folder.path, http_port=0, grpc_port=0, source_roots=(tmp_path,), usual_ports=False)
    chosen = choose_ports(config, held)
    parts = {part.name: part for part in local_parts(config, folder, chosen)}
    assert list(parts) == ["redis", "milvus", "embedder", "indexer", "gateway"]
    assert "127.0.0.1" in parts["redis"].argv
    assert "127.0.0.1" in parts["milvus"].argv
    everything = [value for part in parts.values() for value in (*part.argv, *part.environment.values())]
    assert not any("0.0.0.0" in value for value in everything)
    gateway = parts["gateway"].environment
    assert gateway["LOOKALIKE_GATEWAY_HTTP_ADDRESS"] == f"127.0.0.1:{chosen.http}"
    assert gateway["LOOKALIKE_SOURCE_ROOTS"] == str(tmp_path)


@pytest.mark.parametrize(
    ("part", "settings"), [("gateway", GatewaySettings), ("indexer", IndexerSettings), ("embedder", EmbedderSettings)]
)
def test_no_place_that_a_deployment_names_reaches_into_the_system_of_one_machine(
    folder: DataFolder, held: HeldPorts, part: str, settings: type[ServiceSettings]
) -> None:
    config = LocalConfig(data=folder.path, http_port=0, grpc_port=0, usual_ports=False)
    (environment,) = (one.environment for one in local_parts(config, folder, choose_ports(config, held)) if one.name == part)
    places = {
        f"{PREFIX}{name.upper()}" for name in settings.model_fields if name.endswith(("_file", "_address", "_url", "_uri"))
    }
    assert places <= environment.keys()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "{data}/models"), ("s3://bucket/models", "s3://bucket/models"), ("/srv/models", "/srv/models"),
        ("models", "{here}/models"),
    ],
)  # fmt: skip
def test_the_embedder_watches_the_registry_of_the_data_folder_or_the_one_named(
    folder: DataFolder, held: HeldPorts, given: str | None, expected: str
) -> None:
    config = LocalConfig(data=folder.path, registry=given, usual_ports=False, http_port=0, grpc_port=0)
    parts = {part.name: part for part in local_parts(config, folder, choose_ports(config, held))}
    registry = parts["embedder"].environment["LOOKALIKE_EMBEDDER_REGISTRY"]
    assert registry == expected.format(data=folder.path, here=Path.cwd())


def test_http_and_grpc_cannot_share_a_port(held: HeldPorts) -> None:
    with pytest.raises(errors.FailedPrecondition, match="cannot share"):
        choose_ports(LocalConfig(http_port=8080, grpc_port=8080), held)


def test_nothing_is_ready_where_nobody_listens(held: HeldPorts) -> None:
    port = held.free()
    assert not probes.redis_ready(port)
    assert not probes.milvus_ready(port)
    assert not probes.grpc_ready(port)
    assert not probes.http_ready(port, "/readyz")


def test_a_system_that_finds_its_port_taken_lets_the_folder_go(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        system = LocalSystem(LocalConfig(data=tmp_path / "data", http_port=taken.getsockname()[1], grpc_port=0))
        with pytest.raises(errors.FailedPrecondition, match="--http-port"):
            system.start()
    again = DataFolder(tmp_path / "data")
    again.lock("another")
    again.unlock()
