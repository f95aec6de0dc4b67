"""The real supervisor over tiny workers (supervised.py): real forks, sockets and signals, asked by connecting."""

from __future__ import annotations

import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.conftest import refused, replace

PROGRAM = Path(__file__).with_name("supervised.py")
PATIENCE = 60.0


def free_port(lowest: int = 0) -> int:
    """A port nobody has now; with `lowest`, the first free one from there."""
    for port in range(lowest, lowest + 400) if lowest else [0]:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise AssertionError("no free port")


class Server:
    """A running supervisor, its settings, its log and its notifications."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory = directory
        self.port = free_port()
        self.settings = {
            "workers": 2,
            "hostname": "one.test",
            "listen": f"127.0.0.1:{self.port}",
            "spool_dir": str(directory / "spool"),
            "drain_time": 5,
            "admin": {"listen": ""},
            "log": {"format": "json", "level": "debug"},
            **settings,
        }
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(directory / f"notify-{self.port}"))
        self.notices.settimeout(PATIENCE)
        Path(self.notices.getsockname()).chmod(0o777)
        self.file = directory / f"settings-{self.port}.json"
        self.write()
        self.log: list[dict[str, object]] = []
        self.partial = b""
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.file)],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "NOTIFY_SOCKET": self.notices.getsockname()},
            stdout=subprocess.PIPE,
        )
        self.pid = self.process.pid

    def write(self, **settings: object) -> None:
        self.settings.update(settings)
        self.file.write_text(json.dumps(self.settings))

    def reload(self, **settings: object) -> None:
        self.write(**settings)
        os.kill(self.pid, signal.SIGHUP)

    def notice(self, expected: str) -> str:
        """Wait until systemd would hear this."""
        while True:
            heard = self.notices.recv(4096).decode()
            if expected in heard.split("\n"):
                return heard

    def event(self, name: str, **fields: object) -> dict[str, object]:
        """Wait for a line of the log with this event and fields that was not given before."""
        while True:
            for line in self.log:
                if line["event"] == name and fields.items() <= line.items():
                    self.log.remove(line)
                    return line
            self.read_log(f"no {name} {fields}")

    def read_log(self, missing: str) -> None:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"{missing} in {self.log}"
        octets = os.read(self.process.stdout.fileno(), 65536)
        assert octets, f"the log ended, {missing} in {self.log}"
        *lines, self.partial = (self.partial + octets).split(b"\n")
        self.log += [json.loads(line) for line in lines]

    def ask(self, command: str = "who", host: str = "127.0.0.1", port: int = 0) -> dict[str, object]:
        with socket.create_connection((host, port or self.port), PATIENCE) as connection:
            connection.sendall(f"{command}\n".encode())
            return json.loads(connection.makefile().read() or "{}")

    def census(self, **expected: object) -> dict[int, dict[str, object]]:
        """Ask until 30 answers in a row bring nobody new; every answer must have the expected fields."""
        found: dict[int, dict[str, object]] = {}
        strangers = 0
        while strangers < 30:
            answer = self.ask()
            assert expected.items() <= answer.items(), (expected, answer)
            strangers = strangers + 1 if answer["pid"] in found else 0
            found[answer["pid"]] = answer
        return found

    def hold(self) -> tuple[socket.socket, int]:
        """A session that lasts until it is closed here, and the worker that has it."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.sendall(b"hold\n")
        return connection, json.loads(connection.recv(4096))["pid"]

    def processes(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        os.kill(self.pid, number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.notices.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that an unprivileged account can read."""
    made = Path(tempfile.mkdtemp(prefix="mailmoat-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextmanager
def serving(directory: Path, **settings: object) -> Iterator[Server]:
    server = Server(directory, **settings)
    try:
        server.notice("READY=1")
        yield server
    finally:
        server.close()


def wait_for_end(*pids: int) -> None:
    """Until none of them lives; they may be anybody's children."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                assert select.select([descriptor], [], [], PATIENCE)[0], f"{pid} lives on"
            finally:
                os.close(descriptor)


# --- start and end ---


def test_every_slot_serves(directory: Path) -> None:
    with serving(directory) as server:
        found = server.census(parent=server.pid, generation=0, restarts=0, ready=2, wanted=2, listeners=1)
        assert sorted(answer["slot"] for answer in found.values()) == [0, 1]
        assert len({answer["random"] for answer in found.values()}) == 2
        assert (directory / "spool").stat().st_mode & 0o777 == 0o700
        assert server.end() == 0
        wait_for_end(*found)


def test_a_worker_has_only_its_own_sockets(directory: Path) -> None:
    with serving(directory, workers=3) as server:
        server.census(sockets=2)  # its listener and the connection it answers on


def test_every_address_is_served_with_what_is_said_of_it(directory: Path) -> None:
    ports = free_port(), free_port()
    listen = f"127.0.0.1:{ports[0]}, proxy://[::1]:{ports[1]}"
    with serving(directory, listen=listen, listen_proxy_networks="::1") as server:
        assert server.ask(port=ports[0])["address"] == f"127.0.0.1:{ports[0]}"
        assert server.ask(host="::1", port=ports[1])["address"] == f"proxy://[::1]:{ports[1]}"


def test_the_admin_process_has_its_socket(directory: Path) -> None:
    port = free_port()
    with serving(directory, admin={"listen": f"127.0.0.1:{port}"}) as server:
        server.event("process-ready", process="admin")
        first = server.ask(port=port)["pid"]
        os.kill(first, signal.SIGKILL)
        second = server.ask(port=port)
        assert second["admin"]
        assert second["pid"] != first
        assert server.end() == 0
        wait_for_end(second["pid"])


def test_a_taken_address_refuses_the_start(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Server(directory, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert "Address already in use" in server.event("start-refused")["detail"]
        assert server.process.wait(PATIENCE) == 1
        server.close()


def test_sigterm_lets_sessions_end_and_serves_nobody_new(directory: Path) -> None:
    with serving(directory) as server:
        connection, worker = server.hold()
        os.kill(server.pid, signal.SIGTERM)
        assert server.notice("STOPPING=1")
        server.event("process-ended")
        while not refused(server.port):
            pass
        assert worker in server.processes()
        connection.close()
        assert server.process.wait(PATIENCE) == 0


def test_who_does_not_end_is_killed(directory: Path) -> None:
    with serving(directory, hostname="stubborn.test", drain_time=0.2) as server:
        workers = server.processes()
        assert server.end() == 0
        server.event("process-killed", detail="did not end in time")
        wait_for_end(*workers)


def test_sigint_once_more_ends_the_drain(directory: Path) -> None:
    with serving(directory, drain_time=3600) as server:
        connection, _ = server.hold()
        os.kill(server.pid, signal.SIGINT)
        server.event("stopping")
        assert server.end(signal.SIGINT) == 0
        connection.close()


# --- crashes ---


def test_a_crashed_worker_is_replaced_and_its_queue_served(directory: Path) -> None:
    with serving(directory, workers=1) as server:
        first = server.ask()["pid"]
        with (
            socket.create_connection(("127.0.0.1", server.port)) as crash,
            socket.create_connection(("127.0.0.1", server.port)) as queued,
        ):
            crash.sendall(b"crash\n")
            queued.settimeout(PATIENCE)
            queued.sendall(b"who\n")
            answer = json.loads(queued.recv(4096))
        assert answer["pid"] != first
        assert answer["restarts"] == 1
        assert answer["slot"] == 0
        assert server.event("process-ended")["status"] == "killed by SIGKILL"


def test_one_crash_leaves_the_others_alone_and_no_zombie(directory: Path) -> None:
    with serving(directory, workers=3) as server:
        before = server.census()
        gone = min(before)
        os.kill(gone, signal.SIGKILL)
        server.event("process-restart")
        while server.event("process-ready")["pid"] in before:
            pass
        assert set(before) - set(server.census(ready=3)) == {gone}
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in server.processes()]
        assert len(states) == 3
        assert "Z" not in states


def test_a_server_whose_workers_cannot_work_gives_up(directory: Path) -> None:
    server = Server(directory, hostname="dies.test")
    assert server.process.wait(PATIENCE) == 1
    assert "RuntimeError: cannot work" in server.event("gave-up")["detail"]
    failures = [line["failures"] for line in server.log if line["event"] == "process-restart"]
    assert max(failures) == 3
    server.close()


def test_a_crash_loop_slows_down_but_never_gives_up(directory: Path) -> None:
    with serving(directory, workers=1) as server:
        for failures in range(1, 4):
            server.ask("crash")
            assert server.event("process-restart", failures=failures)["wait"] == (0.0, 0.5, 1.0)[failures - 1]
        assert server.ask()["restarts"] == 3  # it waits in the socket's queue


@pytest.mark.parametrize("dying", ["supervisor", "all"])
def test_kill_9_of_the_supervisor_ends_the_workers(directory: Path, dying: str) -> None:
    with serving(directory) as server:
        workers = server.processes()
        for pid in workers if dying == "all" else ():
            os.kill(pid, signal.SIGSTOP)
        server.process.kill()
        server.process.wait(PATIENCE)
        for pid in workers if dying == "all" else ():
            os.kill(pid, signal.SIGKILL)
        wait_for_end(*workers)
        assert refused(server.port)


def test_a_new_supervisor_binds_beside_those_that_drain(directory: Path) -> None:
    with serving(directory) as old:
        connection, worker = old.hold()
        old.process.kill()
        old.process.wait(PATIENCE)
        with serving(directory, listen=old.settings["listen"]) as new:
            answers = [new.ask(port=old.port) for _ in range(20)]
            assert {answer["parent"] for answer in answers} == {new.pid}
            os.kill(worker, 0)
            connection.close()
            wait_for_end(worker)


# --- reload ---


def test_reload_refuses_no_connection(directory: Path) -> None:
    with serving(directory) as server:
        before = server.census()
        session, drained = server.hold()
        answers: list[dict[str, object]] = []
        over = threading.Event()

        def load() -> None:
            while not over.is_set():
                answers.append(server.ask())

        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        server.reload(hostname="two.test")
        assert "MONOTONIC_USEC=" in server.notice("RELOADING=1")
        server.notice("READY=1")
        for pid in before:
            if pid != drained:
                server.event("process-ended", pid=pid)
        over.set()
        for client in clients:
            client.join()
        assert all(answers)
        assert {answer["hostname"] for answer in answers} <= {"one.test", "two.test"}
        after = server.census(hostname="two.test", generation=1, restarts=0, ready=2)
        assert not set(after) & set(before)
        assert {answer["slot"] for answer in after.values()} == {2, 3}
        assert drained in server.processes()
        session.close()
        server.event("process-ended", pid=drained)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mistake": "tarpit.time = 999: too long"}, "tarpit.time = 999: too long"),
        ({"workers": "many"}, "ValidationError"),
        ({"hostname": "dies.test"}, "RuntimeError: cannot work"),
        ({"hostname": "odd-ones-die.test"}, "RuntimeError: cannot work"),
        ({"hostname": "dies.test", "workers": 4}, "RuntimeError: cannot work"),
        ({"hostname": "hangs.test"}, "killed by SIGKILL"),
        ({"user": "nobody", "listen": "192.0.2.1:25"}, "Cannot assign requested address"),
        ({"recipients": {"file": "/does/not/exist"}}, "the recipient file is not usable"),
        ({"sender_filter": {"blocked_file": "/does/not/exist"}}, "the file of blocked senders is not usable"),
    ],
)
def test_a_bad_reload_changes_nothing_and_says_why(directory: Path, change: dict[str, object], reason: str) -> None:
    with serving(directory) as server:
        before = server.census()
        good = dict(server.settings)
        server.reload(**change)
        assert reason in server.event("reload-refused")["detail"]
        server.notice("READY=1")
        assert set(server.census(hostname="one.test", generation=0)) == set(before)
        server.settings = good
        server.reload(hostname="three.test")
        server.event("reloaded")
        for pid in before:
            server.event("process-ended", pid=pid)
        assert len(server.census(hostname="three.test")) == 2


def test_reload_moves_to_another_address(directory: Path) -> None:
    with serving(directory) as server:
        before, left = server.processes(), server.port
        server.port = free_port()
        server.reload(listen=f"127.0.0.1:{server.port}")
        server.event("reloaded")
        server.census(generation=1)
        wait_for_end(*before)
        assert refused(left)


def test_reload_that_cannot_have_one_of_its_addresses_leaves_the_other_alone(directory: Path) -> None:
    with serving(directory) as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = free_port()
        server.reload(listen=f"127.0.0.1:{server.port}, 127.0.0.1:{other}, 127.0.0.1:{taken.getsockname()[1]}")
        server.event("reload-refused")
        assert refused(other)
        server.census(generation=0)


def test_more_workers_then_fewer(directory: Path) -> None:
    with serving(directory) as server:
        for workers in (4, 1, 3):
            before = server.processes()
            server.reload(workers=workers)
            server.event("reloaded")
            for pid in before:
                server.event("process-ended", pid=pid)
            found = server.census(wanted=workers, ready=workers)
            assert len(found) == workers
            assert sum(answer["listeners"] for answer in found.values()) == 4


def test_more_workers_than_there_is_room_for(directory: Path) -> None:
    with serving(directory) as server:
        server.reload(workers=500)
        most = server.event("workers-capped")["workers"]
        server.event("reloaded", workers=most)
        assert server.ask()["wanted"] == most


def test_reloads_wait_for_each_other(directory: Path) -> None:
    with serving(directory) as server:
        server.reload(hostname="two.test")
        server.event("reload-started")
        server.reload(hostname="three.test")
        server.event("reloaded", generation=1)
        server.event("reloaded", generation=2)
        while server.ask()["hostname"] != "three.test":
            pass


def test_what_cannot_change_is_kept(directory: Path) -> None:
    with serving(directory) as server:
        server.reload(spool_dir=str(directory / "other"))
        assert server.event("setting-kept")["key"] == "spool_dir"
        server.event("files-reread")
        server.reload(user=pwd.getpwuid(os.geteuid()).pw_name)
        assert server.event("setting-kept").get("value") is None


def test_sigterm_during_a_reload(directory: Path) -> None:
    with serving(directory) as server:
        server.reload(hostname="hangs.test")
        server.event("process-started", generation=1)
        pids = server.processes()
        assert server.end() == 0
        wait_for_end(*pids)


# --- root ---


@pytest.mark.usefixtures("root")
def test_root_is_dropped_after_binding(directory: Path) -> None:
    port = free_port(600)
    with serving(directory, user="nobody", listen=f"127.0.0.1:{port}") as server:
        server.port = port
        nobody = server.ask()["uid"]
        assert nobody != 0
        server.census(uid=nobody)
        assert 0 not in server.ask()["groups"]
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert f"Uid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}\n" in status
        assert "CapEff:\t0000000000000000\n" in status
        assert (directory / "spool").stat().st_uid == nobody
        before = server.processes()
        server.reload(workers=3)
        server.event("reloaded", workers=3)
        wait_for_end(*before)
        assert len(server.census()) == 3
        server.reload(listen=f"127.0.0.1:{port}, 127.0.0.1:{free_port(600)}")
        assert "needs a start as root" in server.event("reload-refused")["detail"]
        workers = server.processes()
        server.process.kill()
        server.process.wait(PATIENCE)
        wait_for_end(*workers)


def test_a_user_that_does_not_exist_refuses_the_start(directory: Path) -> None:
    server = Server(directory, user="no-such-account")
    if os.geteuid() == 0:
        assert "no-such-account" in server.event("start-refused")["detail"]
        assert server.process.wait(PATIENCE) == 1
    else:
        server.event("user-ignored")
    server.close()


def test_an_idle_supervisor_sleeps(directory: Path) -> None:
    source = directory / "recipients"
    replace(source, "someone@example.test\n")
    with serving(directory, recipients={"file": str(source)}) as server:
        server.census()
        before = switches(server.pid)
        replace(source, "someone@example.test\nother@example.test\n")
        server.event("directory-compiled", entries=2)  # about a second later
        assert switches(server.pid) - before < 30


def switches(pid: int) -> int:
    """How often it went to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


# --- recipients ---


def test_recipient_file_is_compiled_before_and_again_when_it_changes(directory: Path) -> None:
    source = directory / "recipients"
    replace(source, "someone@example.test\n")
    with serving(directory, recipients={"file": str(source)}) as server:
        compiled = server.event("directory-compiled")
        assert compiled["entries"] == 1
        assert compiled["time"] <= server.event("process-started")["time"]
        replace(source, "someone@example.test\nother@example.test\n")
        assert server.event("directory-compiled")["entries"] == 2
        replace(source, "who knows them\n")
        assert str(source) in server.event("directory-refused")["detail"]
        server.census()
        replace(source, "a@example.test\nb@example.test\nc@example.test\n")
        assert server.event("directory-compiled")["entries"] == 3
        assert server.end() == 0


def test_a_broken_recipient_file_refuses_the_start_unless_a_snapshot_is_there(directory: Path) -> None:
    source = directory / "recipients"
    replace(source, "who knows them\n")
    server = Server(directory, recipients={"file": str(source)})
    server.event("directory-refused")
    server.event("start-refused")
    assert server.process.wait(PATIENCE) == 1
    server.close()
    replace(source, "someone@example.test\n")
    with serving(directory, recipients={"file": str(source)}) as server:
        assert server.end() == 0
    replace(source, "who knows them\n")
    with serving(directory, recipients={"file": str(source)}) as server:
        server.event("directory-refused")
        server.census()
