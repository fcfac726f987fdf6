"""A service under load, as its recorders tell of it, for the tests of what limits it."""

import asyncio
from datetime import timedelta
from time import perf_counter, time

from django.db import connection
from django.db.models import F

from cachelayer.layer import cache_layer
from cachelayer.tests.servers import until
from performance.analysis.bottlenecks.analyser import analyse
from performance.models import Aggregate, Cursor
from performance.observing import ProcessSampler
from performance.recorders import queue, requests
from performance.recorders.blocking import COLLECTION, OUTSIDE, BlockingFinder, Sighting
from performance.recorders.fetches import Fetches
from performance.recorders.garbage import Collections
from performance.recorders.lag import Beats, LagSampler
from performance.recorders.pools import PoolSampler, waits
from performance.recording.heartbeat import BEAT, Heartbeat
from performance.recording.observer import Observer
from performance.recording.process import buffer, governor
from performance.recording.stream import Stream
from performance.recording.watch import Watch
from performance.storage.digest import ROLLED, roll_up_minutes
from performance.storage.periods import MINUTE
from performance.tests.attempts import new_claim, succeeded
from performance.tests.pooled import NAME, ask, listed, pooled
from performance.tests.telling import STREAM, tell

WEB, WORKER = "web/1", "worker/1"


def process(instance=WEB):
    """A process that lives; what was recorded before is told as its own."""
    stream = Stream(cache_layer().remote, STREAM)
    role = "worker" if instance == WORKER else "web"
    ProcessSampler(Observer(instance, buffer, stream, [], governor), role, 0).sample()
    tell(instance)


def requested(number, milliseconds, **parts):
    """Requests that took so long each, of which so much went to these parts."""
    for _ in range(number):
        requests.record(Watch(method="GET", path="/", **parts), None, 200, milliseconds)


def pool_waited(milliseconds, number, **pool):
    """Callers that waited for a connection of a pool that was in use all the time meanwhile."""
    with pooled(**pool):
        ask()
        buffer.take("before")
        with listed():
            PoolSampler("web").sample()
    for _ in range(number):
        waits.waited(NAME, milliseconds / 1000)


def scraped(number, *, waited, ran, waited_for="workers", host="x.example"):
    """Attempts that were ready and ran for so many milliseconds."""
    fetches = Fetches()
    for _ in range(number):
        claim = new_claim(host, queued_ms=waited, queued_for=waited_for)
        outcome = succeeded(claim, first_byte=ran)
        queue.ended(claim, outcome)
        fetches.ended(claim, outcome)
    fetches.sample()


def late(milliseconds, beats, role="web", blamed=None):
    """Beats that came so late each, because of the garbage or of something outside Python."""
    heart, collections = Heartbeat(), Collections()
    finder = BlockingFinder(heart, collections, role, 0.1)
    beating = Beats(role, finder, heart)
    for _ in range(beats):
        heart.due = perf_counter() - milliseconds / 1000
        if blamed == COLLECTION:
            collections.seconds += milliseconds / 1000
        elif blamed == OUTSIDE:
            finder._sighting = Sighting(heart.due, heart.due, ([],))
        beating.beat()


def older(minutes):
    """What was told so far was told so much earlier."""
    Aggregate.objects.exclude(period=MINUTE.seconds).delete()
    Aggregate.objects.update(bucket=F("bucket") - timedelta(minutes=minutes))
    Cursor.objects.filter(name=ROLLED).delete()
    roll_up_minutes(before=MINUTE.bucket(time()))


def hold_up(role="web"):
    """Have a hub or loop do what lets nobody else run, until it was looked at twice."""

    async def main():
        sampler = LagSampler(role)
        sampler.start()
        try:
            await asyncio.sleep(2 * BEAT)
            until(lambda: len(sampler._finder._sighting.stacks) == 2, "it is looked at twice")
            await asyncio.sleep(2 * BEAT)
        finally:
            sampler.stop()

    asyncio.run(main())


def healthy():
    """A fleet of one web process and one worker with a good deal to do, and time to spare."""
    requested(200, 5.0, pool=0.3, database=1.5, cache=0.5, cpu=2.0, lag=0.05)
    late(0.2, 1000)
    process(WEB)
    scraped(200, waited=50.0, ran=400.0)
    process(WORKER)


def pool_is_small():
    """Requests wait for connections, and for nothing else."""
    pool_waited(60, 50)
    requested(50, 100.0, pool=60.0)
    process()


def broken(evidence):
    """A detector that has a fault, which PostgreSQL refuses."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


def found(name):
    """That bottleneck, if it is found now."""
    return next((one for one in analyse().found if one.name == name), None)


def names():
    """All that are found now, the worst first."""
    return [one.name for one in analyse().found]


def proof(bottleneck, label):
    """A figure of its evidence."""
    return next(one.value for one in bottleneck.evidence if one.label == label)
