"""The control socket: what it answers, and that nothing a client sends costs the worker anything."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest

from mailmoat.control import channel, client, server
from mailmoat.control.channel import ControlError
from mailmoat.control.commands import MOST_SHOWN, Context, commands_of
from mailmoat.limits.limiter import LimitClass
from mailmoat.limits.rates import LocalRates
from mailmoat.metrics import Metrics, share
from mailmoat.net.unix_socket import short_path
from mailmoat.runtime.timers import Timers
from mailmoat.settings.sections.limits import LimitsSettings

if TYPE_CHECKING:
    from mailmoat.control.queue import QueueControl

NO_QUEUE = cast("QueueControl", None)
"""What a worker does with messages has a test file of its own."""


@pytest.fixture
def context():
    metrics = Metrics(share(1), 0)
    return Context(LocalRates(LimitsSettings(message_rate="6/min"), metrics), metrics, NO_QUEUE)


@pytest.fixture
def spool(tmp_path, context):
    """A spool directory with a worker that listens in a thread, far below in the file system."""
    spool_dir = tmp_path / ("x" * 100)
    directory = spool_dir / "partitions" / "one"
    directory.mkdir(parents=True)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def serve():
        timers = Timers(loop, lambda error: None)
        control = server.Control(loop, commands_of(context), timers)
        await control.follow([directory])
        ready.set()
        await ending.wait()
        control.close()
        timers.close()

    ending = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait()
    yield spool_dir
    loop.call_soon_threadsafe(ending.set)
    thread.join()
    loop.close()


def say(spool_dir, octets):
    with short_path(spool_dir / "partitions" / "one" / channel.NAME) as path, socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        with suppress(BrokenPipeError):
            one.sendall(octets)
        answer = b""
        with suppress(ConnectionResetError):
            while part := one.recv(65536):
                answer += part
        return answer


def test_limits_are_shown_and_reset(spool, context):
    assert client.ask(spool, "limits.show", prefix=None)["limits"] == []
    context.rates.spend(LimitClass.MESSAGES, "192.0.2.1")
    context.metrics.shared.source_enter(0, bytes([192, 0, 2, 1]))
    shown = client.ask(spool, "limits.show", prefix="192.0.2.1/32")
    assert [(one["class"], one["prefix"], one["used"], one["burst"]) for one in shown["limits"]] == [
        ("messages", "192.0.2.1/32", 1, 6),
        ("messages", "192.0.2.0/24", 1, 18),
    ]
    assert shown["connections"] == [
        {"prefix": "192.0.2.0/24", "connections": 1},
        {"prefix": "192.0.2.1/32", "connections": 1},
    ]
    assert client.ask(spool, "limits.show", prefix="198.51.100.0/24")["limits"] == []
    assert client.ask(spool, "limits.reset", prefix="192.0.2.1/32") == {"cleared": 2}
    assert client.ask(spool, "limits.reset", prefix=None) == {"cleared": 0}


def test_a_long_list_is_cut_and_counted(spool, context):
    for number in range(1500):
        context.rates.spend(LimitClass.MESSAGES, f"10.{number // 250}.{number % 250}.1")
    shown = client.ask(spool, "limits.show", prefix=None)
    assert len(shown["limits"]) == MOST_SHOWN
    assert shown["limits_left_out"] == 2000


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", "not a JSON object"),
        (b"[]\n", "not a JSON object"),
        (b"\xff\n", "not a JSON object"),
        (b"[" * 20_000 + b"\n", "not a JSON object"),
        (b"x" * channel.MOST_REQUEST, "not a JSON object"),
        (b"{}\n", "no such command"),
        (b'{"command": []}\n', "no such command"),
        (b'{"command": "limits.show", "prefix": "x"}\n', "'x': not an address or a prefix"),
        (b'{"command": "limits.show", "prefix": {}}\n', "{}: "),
    ],
)
def test_what_is_wrong_is_an_error_in_the_answer(spool, line, error):
    assert error in json.loads(say(spool, line))["error"]
    assert client.ask(spool, "limits.show", prefix=None)["limits"] == []


def test_the_oldest_of_too_many_connections_gives_way(spool):
    mute = []
    with short_path(spool / "partitions" / "one" / channel.NAME) as path:
        for _ in range(server.MOST + 4):
            one = socket.socket(socket.AF_UNIX)
            one.connect(path)
            mute.append(one)
    assert client.ask(spool, "limits.show", prefix=None)["limits"] == []
    assert mute[0].recv(1) == b""
    for one in mute:
        one.close()


def test_it_is_for_the_account_alone_and_sockets_of_the_dead_are_passed_over(spool):
    path = spool / "partitions" / "one" / channel.NAME
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    dead = spool / "partitions" / "two"
    dead.mkdir()
    with short_path(dead / channel.NAME) as name, socket.socket(socket.AF_UNIX) as left:
        left.bind(name)
    os.utime(dead / channel.NAME, (2**31, 2**31), follow_symlinks=False)
    (spool / "partitions" / "three").mkdir()
    (spool / "partitions" / "file").touch()
    assert client.ask(spool, "limits.show", prefix=None)["limits"] == []


def test_without_a_server_the_command_says_so(tmp_path):
    with pytest.raises(ControlError, match="no server runs on"):
        client.ask(tmp_path, "limits.show")
    (tmp_path / "partitions").mkdir()
    with pytest.raises(ControlError, match="no server runs on"):
        client.ask(tmp_path, "limits.show")


def scenario(context, steps):
    """Runs what awaits on a loop of its own, with a control that listens nowhere yet."""

    async def run():
        loop = asyncio.get_running_loop()
        timers = Timers(loop, lambda error: None)
        control = server.Control(loop, commands_of(context), timers)
        try:
            await steps(control)
        finally:
            control.close()
            timers.close()

    asyncio.run(run())


def partition(spool_dir, tag):
    directory = spool_dir / "partitions" / tag
    directory.mkdir(parents=True)
    return directory


def test_it_listens_in_the_partitions_that_are_there(tmp_path, context):
    one, two, three = (partition(tmp_path, tag) for tag in ("one", "two", "three"))

    async def steps(control):
        def ask(tag):
            return asyncio.to_thread(client.ask_owner, tmp_path, tag, "limits.show", prefix=None)

        await control.follow([one, two])
        assert (await ask("one"))["limits"] == (await ask("two"))["limits"] == []
        assert await ask("three") is None
        control.tick([one, three])
        while not (three / channel.NAME).exists() or (two / channel.NAME).exists():  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(0)
        assert (await ask("three"))["limits"] == []
        assert await ask("two") is None
        shutil.rmtree(three)
        await control.follow([one])
        control.tick([one])
        assert (await ask("one"))["limits"] == []

    scenario(context, steps)
    assert not (one / channel.NAME).exists()


def test_where_it_cannot_listen_it_goes_on_without(tmp_path, context):
    one = partition(tmp_path, "one")

    async def steps(control):
        await control.follow([one, tmp_path / "partitions" / "gone"])
        found = await asyncio.to_thread(client.ask_owner, tmp_path, "one", "limits.show", prefix=None)
        assert found["limits"] == []

    scenario(context, steps)


def test_a_command_may_answer_later(tmp_path, context):
    one = partition(tmp_path, "one")
    ended = asyncio.Event()

    async def later(arguments):
        await ended.wait()
        if arguments["fails"]:
            raise ControlError("it failed in the end")
        return {"said": arguments["what"]}

    async def steps(control):
        control.commands = {**control.commands, "later": later}

        def ask(command, **arguments):
            return asyncio.ensure_future(asyncio.to_thread(client.ask_owner, tmp_path, "one", command, **arguments))

        await control.follow([one])
        waits = ask("later", what="so", fails=False), ask("later", what="no", fails=True)
        while len(control._running) < 2:  # noqa: ASYNC110 - nor is a request
            await asyncio.sleep(0)
        assert (await ask("limits.show", prefix=None))["limits"] == [], "others do not wait for it"
        ended.set()
        assert await waits[0] == {"said": "so"}
        with pytest.raises(ControlError, match="it failed in the end"):
            await waits[1]

    scenario(context, steps)
