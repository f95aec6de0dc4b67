"""A worker process: receives on its own listening sockets, keeps what it accepts in its own partition, and delivers it.

Runs in a fresh child, with everything it needs in a `WorkerContext`. It shares no state with other workers but the metrics in shared memory.
Every second it publishes its gauges, looks for a new directory snapshot, and adopts a partition whose owner is gone; every minute it looks for new
certificates. SIGHUP makes it read its files at once. SIGTERM or the end of the lifeline makes it drain: it accepts no more, transactions and delayed replies are completed, idle clients get 421, and after `drain_time` all clients do.

Before it accepts connections, it asks the next hop for its offers, for `PROBE_TIME` at most, so that even the first client is not offered more.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import uvloop

from mailmoat import clock, maillog
from mailmoat.auth import composition as accounts
from mailmoat.control.commands import Context, commands_of
from mailmoat.control.queue import QueueControl
from mailmoat.control.server import Control
from mailmoat.delivery.allowance import WorkerConnections
from mailmoat.delivery.late_refusals import with_late_refusals
from mailmoat.delivery.marks import Marks
from mailmoat.delivery.mx_routing import MxRouting
from mailmoat.delivery.offers import remove_others
from mailmoat.delivery.opening import Opener
from mailmoat.delivery.probe import Prober
from mailmoat.delivery.queue import Queue
from mailmoat.delivery.reporting import Reporter
from mailmoat.delivery.route import route_table
from mailmoat.delivery.route_offers import RouteOffers
from mailmoat.delivery.router import RoutingRouter
from mailmoat.delivery.unresolved import with_unresolved
from mailmoat.directory import configured, gauges
from mailmoat.events import Event
from mailmoat.limits.local import LocalLimiter
from mailmoat.lists.watch import Watch
from mailmoat.metrics import LOG_LINES_LOST, WORKERS_READY, Metrics
from mailmoat.policy.pipeline import Pipeline
from mailmoat.policy.registry import agents
from mailmoat.policy.services import Services
from mailmoat.receive import descriptors
from mailmoat.receive.acceptors import Acceptors
from mailmoat.receive.guessers import Guessers
from mailmoat.receive.handshakes import Handshakes
from mailmoat.receive.held import HeldSessions
from mailmoat.receive.receiver import Receiver
from mailmoat.receive.stress import Stress
from mailmoat.reputation.upkeep import Upkeep
from mailmoat.resolver.resolver import DnsResolver
from mailmoat.runtime import allocator, faults, loop_memory
from mailmoat.runtime.heap import Heap
from mailmoat.runtime.spool import SpoolStore
from mailmoat.runtime.timers import Timers
from mailmoat.settings.mx_lint import uses_mx
from mailmoat.tls.material import open_material
from mailmoat.worker_files import WorkerFiles

if TYPE_CHECKING:
    from mailmoat._native import TlsServer
    from mailmoat.delivery.offers import Offers
    from mailmoat.delivery.route import RouteTable
    from mailmoat.delivery.router import Router
    from mailmoat.supervisor.context import WorkerContext

TICK: Final = 1.0
"""Seconds between two looks at what changes slowly."""
DRAIN_TICK: Final = 0.1
PROBE_TIME: Final = 2.0
"""Seconds a worker waits for the offers of the next hop before it accepts connections."""


def run(context: WorkerContext) -> None:
    """Serve until a signal ends the worker, then drain."""
    allocator.use_c_library()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    maillog.bind_loop(loop)
    maillog.count_lost(partial(Metrics(context.shared, context.slot).add, LOG_LINES_LOST))
    loop.set_exception_handler(faults.loop_failed)
    loop_memory.make_handles(loop)
    # Cyclic garbage is rare here; looking for it among tens of thousands of sessions on each allocation burst is not free.
    gc.set_threshold(50_000, 20, 100)
    try:
        loop.run_until_complete(Worker(loop, context).serve())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        maillog.close()
        loop.close()


class Worker:
    """The parts of one worker, from start to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: WorkerContext) -> None:
        settings = context.settings
        loop.add_signal_handler(signal.SIGHUP, self._reread)  # before any file is read, so that no change is missed
        self._loop, self._context, self._settings = loop, context, settings
        self._metrics = metrics = Metrics(context.shared, context.slot)
        self._timers = timers = Timers(loop, faults.deadline_failed)
        self._store = store = SpoolStore(loop, settings.spool_dir, metrics)
        self._directory = configured.worker_directory(settings, loop, metrics)
        self._tls = open_material(settings, context.certificates, context.ticket_secret, metrics)
        self._resolver: DnsResolver | None = None
        self._backend = accounts.open_backend(settings)
        services = Services(settings, metrics, self._directory, self._make_resolver)
        self._services, self._names, self._lists = services, services.reverse_names, services.lists
        self._lists_watch = Watch(self._lists, timers, services.trust.forget)
        self._upkeep = Upkeep(settings, metrics)
        routes = route_table(settings)
        self._offers = RouteOffers(routes, self._offer)
        services.offers_of = self._offers.of
        pipeline = Pipeline(agents(services), timers, metrics, settings.policy.agent_time)
        self._held = HeldSessions(context.shared, context.slot, settings.tarpit.max_held, context.evict, metrics)
        self._mx = MxRouting(settings, services.resolver, metrics) if uses_mx(settings) else None
        router = self._make_router(routes)
        self._reporter = reporter = Reporter(loop, store, settings, metrics, services.sender_lookups)
        self._files = WorkerFiles(loop, self._tls, self._backend, services, reporter)
        self._queue = Queue(
            loop, settings, spool=store, timers=timers, metrics=metrics, router=router, reporter=reporter
        )
        self._prober = Prober(loop, router, self._queue.outages)
        remove_others(settings.spool_dir, (each.learned for each in router.destinations if each.learned))
        store.on_stored = self._queue.stored
        self._most = descriptors.most_connections(settings, asks_dns=self._resolver is not None)
        self._receiver = self._make_receiver(services, pipeline)
        queue = QueueControl(loop, self._queue, store, timers)
        self._control = Control(loop, commands_of(Context(services.rates, metrics, queue)), timers)
        self._heap = Heap((services.trust.forget, self._receiver.fit, timers.fit, partial(loop_memory.fit, loop)))
        self._acceptors = Acceptors(self._receiver, context.listeners, self._most, self._heap.opened)
        self._adopting: asyncio.Future[None] | None = None
        self._ending = asyncio.Event()

    def _make_router(self, routes: RouteTable) -> Router:
        tags = self._settings.bounce_tags
        marks = Marks(self._services.tagger, frozenset(tags.unsigned_domains)) if tags.mode != "off" else None
        opener = Opener(
            self._loop,
            self._settings,
            timers=self._timers,
            metrics=self._metrics,
            connections=WorkerConnections(descriptors.most_outgoing(self._settings)),
            offered=self._offers.learn,
            mx=self._mx,
            marks=marks,
        )
        router = with_unresolved(RoutingRouter(routes, opener.open), opener.open, self._settings, self._directory)
        return with_late_refusals(router, self._settings, self._directory)

    def _make_receiver(self, services: Services, pipeline: Pipeline) -> Receiver:
        settings, metrics = self._settings, self._metrics
        stress = Stress(self._most, settings.limits, metrics)
        guessers = Guessers(services.has_guessed, metrics)
        return Receiver(
            loop=self._loop,
            settings=settings,
            pipeline=pipeline,
            store=self._store,
            timers=self._timers,
            held=self._held,
            stress=stress,
            handshakes=Handshakes(settings, metrics, services.trust, self._tls_server, guessers),
            guessers=guessers,
            limiter=LocalLimiter(settings.limits, metrics, services.rates, stress.make_room),
            rates=services.rates,
            tables=services.tables,
            precedences=services.precedences,
            trust=services.trust,
            authenticator=self._backend,
            reputation=services.reputation,
            names=self._names,
            metrics=metrics,
        )

    async def serve(self) -> None:
        """Accept until a signal ends the worker; then drain and release everything."""
        loop = self._loop
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        loop.add_reader(self._context.lifeline, self._orphaned)
        loop.add_reader(self._context.evict[self._context.slot], self._held.requested)
        self._publish()
        self._offers.publish()
        await self._prober.start(PROBE_TIME)
        if self._backend is not None:
            await self._backend.start()
        await self._acceptors.start()
        self._metrics.set(WORKERS_READY, 1)
        await self._control.follow(self._store.directories)
        self._context.ready()
        self._adopting = loop.create_task(self._adopt())
        self._timers.after(0, self)
        self._lists_watch.due()
        await self._ending.wait()
        await self._drain()
        self._store.close()
        self._timers.close()

    def due(self) -> None:
        """Work once a second."""
        if self._ending.is_set():
            return
        self._timers.in_step(TICK, self)
        if self._directory is not None:
            self._directory.refresh()
        self._files.tick()
        self._prober.tick()
        self._queue.tick()
        self._services.tick()
        if self._mx is not None:
            self._mx.tick()
        self._reporter.tick()
        self._publish()
        self._receiver.precedences.pressure.tick(TICK)
        self._heap.tick(self._receiver.config, len(self._receiver.connections))
        maillog.tell_lost()
        self._store.drop_empty()
        self._control.tick(self._store.directories)
        self._upkeep.tick(self._loop)
        self._receiver.stress.tick(self._receiver.connections)
        if self._adopting is None and self._store.adoptable:
            self._adopting = self._loop.create_task(self._adopt())
        self._acceptors.tick()

    def _offer(self, offers: Offers) -> None:
        self._receiver.offer(
            message_size=offers.room(self._settings.limits.message_size),
            eight_bit=offers.eight_bit,
            smtputf8=offers.smtputf8,
            binary=offers.binary,
        )

    def _reread(self) -> None:
        self._loop.create_task(self._files.reread())

    def _tls_server(self) -> TlsServer | None:
        return None if self._tls is None else self._tls.server

    def _make_resolver(self) -> DnsResolver:
        self._resolver = DnsResolver(self._settings.dns, self._metrics, descriptors.most_queries())
        return self._resolver

    async def _adopt(self) -> None:
        """Take over what is left of dead or replaced workers, one partition at a time."""
        try:
            while not self._ending.is_set():
                found = await self._loop.run_in_executor(None, self._store.adopt)
                if found is None:
                    return
                maillog.event(Event.PARTITION_ADOPTED, partition=found.tag, messages=found.count)
                self._store.keep(found)
                await self._queue.adopt(found, at_once=self._context.new_next_hop)
        finally:
            self._adopting = None

    def _publish(self) -> None:
        self._store.publish()
        gauges.publish(self._directory, self._metrics)
        self._lists.publish(self._metrics)
        accounts.publish(self._backend, self._metrics)

    def _orphaned(self) -> None:
        self._loop.remove_reader(self._context.lifeline)
        self._ending.set()

    async def _drain(self) -> None:
        """Let what runs come to its end, for `drain_time` at most."""
        self._metrics.set(WORKERS_READY, 0)
        self._receiver.precedences.pressure.end()
        self._acceptors.close()
        deadline = clock.monotonic() + self._settings.drain_time
        maillog.event(Event.DRAINING, slot=self._context.slot, connections=len(self._receiver.connections))
        self._queue.close()
        if self._adopting is not None:
            await self._adopting
        while self._receiver.connections or not self._queue.at_rest:
            late = clock.monotonic() >= deadline
            for connection in list(self._receiver.connections):
                connection.drain(at_once=late)
            if late:
                self._queue.abort()
                if clock.monotonic() >= deadline + 1:
                    break
            await self._timers.wait(DRAIN_TICK)
        await self._release()

    async def _release(self) -> None:
        """Let go of those who were asked about clients: accounts, names, lists, name servers."""
        self._control.close()
        self._reporter.close()
        if self._backend is not None:
            self._backend.close()
        if self._mx is not None:
            await self._mx.close()
        await self._services.close()
        if self._resolver is not None:
            await self._resolver.close()
