"""All listening sockets of a worker on a real loop: an end or a pause in the turn in which accepting is to be resumed."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
import uvloop

from mailmoat import maillog
from mailmoat.receive.acceptors import Acceptors


@pytest.mark.parametrize("ends", [True, False])
def test_nothing_is_accepted_after_an_end_or_a_pause_of_the_same_turn(monkeypatch, ends):
    events = []
    monkeypatch.setattr(maillog, "event", lambda event, **_: events.append(str(event)))

    async def resume_and_stop(listener):
        loop = asyncio.get_running_loop()
        receiver = SimpleNamespace(loop=loop, connections=set(), metrics=SimpleNamespace(add=lambda _: None))
        acceptors = Acceptors(receiver, [(listener, None)], most=10, opened=lambda _: None)
        acceptors.tick()
        if ends:
            acceptors.close()
        else:
            acceptors._pause("too few descriptors")
        for _ in range(3):
            await asyncio.sleep(0)
        return acceptors._accepting

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        assert not runner.run(resume_and_stop(listener))
    assert events == ([] if ends else ["accept-paused"])
