"""The acceptor on a real loop: how many turns of the loop those who wait in the kernel's queue cost."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import uvloop

from mailmoat.receive.acceptor import A_TURN, CALM, FEW, Acceptor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAITING = 5 * A_TURN


class Taken:
    """Who was accepted: the turn of the loop each came in."""

    def __init__(self, wanted: int) -> None:
        self.turns: list[int] = []
        self.all_there = asyncio.Event()
        self._wanted = wanted
        self._turn = 0

    def protocol(self) -> asyncio.Protocol:
        self.turns.append(self._turn)
        if len(self.turns) == self._wanted:
            self.all_there.set()
        return asyncio.Protocol()

    def count(self) -> None:
        self._turn += 1
        if not self.all_there.is_set():
            asyncio.get_running_loop().call_soon(self.count)


def run(scenario: Callable[[Taken, Acceptor], Awaitable[None]], clients: int) -> list[int]:
    """The turns in which these clients were accepted, who have connected before `scenario` runs."""

    async def accept(listener: socket.socket) -> list[int]:
        taken = Taken(clients)
        acceptor = Acceptor(asyncio.get_running_loop(), listener, taken.protocol)
        await scenario(taken, acceptor)
        acceptor.pause()
        return taken.turns

    with socket.create_server(("127.0.0.1", 0), backlog=2 * clients) as listener, ExitStack() as connected:
        for _ in range(clients):
            connected.enter_context(socket.create_connection(listener.getsockname()))
        listener.setblocking(False)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(accept(listener))


def test_where_many_wait_many_are_accepted_in_a_turn():
    """A turn is long while many are busy: with one each a new client waits as many turns as there are others before it."""

    async def accept(taken: Taken, acceptor: Acceptor) -> None:
        assert acceptor.look()
        await acceptor.start()
        taken.count()
        await taken.all_there.wait()

    turns = run(accept, WAITING)
    assert max(map(turns.count, turns)) == A_TURN, turns


def test_where_few_wait_few_are_accepted_in_a_turn():
    """Each socket from which there is nothing to accept costs every client a system call."""

    async def accept(taken: Taken, acceptor: Acceptor) -> None:
        await acceptor.start()
        assert not acceptor.look()
        taken.count()
        await taken.all_there.wait()

    turns = run(accept, A_TURN)
    assert max(map(turns.count, turns)) == FEW, turns


def test_when_the_rush_is_over_few_are_accepted_in_a_turn_again():
    async def accept(taken: Taken, acceptor: Acceptor) -> None:
        assert acceptor.look()
        await acceptor.start()
        await taken.all_there.wait()
        assert sockets(acceptor) == A_TURN
        for _ in range(CALM - 1):
            assert not acceptor.look()
        assert sockets(acceptor) == A_TURN
        acceptor.look()
        assert sockets(acceptor) == FEW

    run(accept, WAITING)


def sockets(acceptor: Acceptor) -> int:
    """How many sockets of the loop it listens on."""
    return len(acceptor._servers)


def test_nobody_is_accepted_in_a_pause():
    async def pause(taken: Taken, acceptor: Acceptor) -> None:
        await acceptor.start()
        acceptor.pause()
        await asyncio.sleep(0.1)
        assert not taken.turns
        await acceptor.start()
        await taken.all_there.wait()

    assert len(run(pause, 3)) == 3
