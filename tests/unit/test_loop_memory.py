"""What uvloop keeps for later use, in a worker."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import closing
from weakref import WeakValueDictionary

import pytest
import uvloop

from mailmoat.runtime import loop_memory


@pytest.fixture
def loop():
    with closing(uvloop.new_event_loop()) as loop:
        yield loop


@pytest.fixture
def transports(loop):
    """The loop's own table of them."""
    (table,) = (found for found in gc.get_referents(loop) if isinstance(found, WeakValueDictionary))
    return table


async def connect(port):
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
    return transport


def test_room_of_transports_that_have_left_is_given_back_and_those_there_stay(loop, transports):
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    stays = loop.run_until_complete(connect(port))
    number = stays.get_extra_info("socket").fileno()
    transports.data.update((-key, None) for key in range(2, 5_000))  # as many as a flood's, without their descriptors
    for key in range(2, 5_000):
        del transports.data[-key]
    assert transports[number] is stays
    among = sys.getsizeof(transports.data)
    loop_memory.fit(loop)
    assert sys.getsizeof(transports.data) < among / 10
    assert transports[number] is stays
    stays.close()
    server.close()
    loop.run_until_complete(server.wait_closed())


class Noting:
    """The loop, and where its handles are."""

    def __init__(self, loop):
        self._loop = loop
        self.places = set()

    def call_soon(self, callback):
        self.places.add(id(self._loop.call_soon(callback)))


def test_handles_of_a_flood_are_those_made_before_it(loop):
    noting = Noting(loop)
    loop_memory.make_handles(noting)
    noting.call_soon(loop.stop)
    loop.run_forever()
    flood = [loop.call_soon(list) for _ in range(200)]
    assert {id(handle) for handle in flood} <= noting.places
