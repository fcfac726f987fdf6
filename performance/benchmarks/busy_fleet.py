"""Seven days of a busy fleet, written straight into the console's tables.

Four web processes and six workers, 40 views, 300 queries, 500 hosts, 20 namespaces of the cache:
what the console must show quickly. Rates go up and down with the hour, spreads are lopsided as
those of real systems are, and who writes nothing in a bucket has no row there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import exp, log
from statistics import NormalDist
from time import time
from typing import TYPE_CHECKING, Any

import msgpack
from django.db import connection

from performance.benchmarks import busy_states
from performance.benchmarks.busy_names import (
    CODES,
    COUNTERS,
    ERRORS,
    HOSTS,
    NAMESPACES,
    OPERATIONS,
    PHASES,
    PLACES,
    POOLS,
    QUERIES,
    STATEMENTS,
    TABLES,
    VIEWS,
    WEB,
    WORKERS,
)
from performance.entry import LONGEST_KEY
from performance.histogram import place_of
from performance.recorders.requests import PARTS
from performance.storage.periods import BUCKETS, GRAINS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from performance.histogram import Histogram

# What a histogram is made of; a key is quicker and slower in turn.
SHARES = [(number + 0.5) / 60 for number in range(60)]
FACTORS = (0.8, 1.0, 1.15, 1.5)

# In the order in which a digest would have written them: what is read together lies together.
WRITE = """
INSERT INTO performance_aggregate
    (type, period, instance, bucket, key, count, sum, max, histogram, is_sampled)
SELECT %(type)s, period, instance, bucket, key, number, number * mean * factors[variant],
    CASE WHEN h1 = '\\x80'::bytea THEN 0 ELSE mean * factors[variant] * 6 END,
    CASE variant WHEN 1 THEN h1 WHEN 2 THEN h2 WHEN 3 THEN h3 ELSE h4 END, false
FROM unnest(%(keys)s::text[], %(rates)s::float8[], %(means)s::float8[], %(h1)s::bytea[],
    %(h2)s::bytea[], %(h3)s::bytea[], %(h4)s::bytea[]) AS told (key, rate, mean, h1, h2, h3, h4)
CROSS JOIN unnest(%(periods)s::int[], %(finely)s::bool[]) AS kept (period, by_instance)
CROSS JOIN unnest(%(instances)s::text[]) AS instance
CROSS JOIN generate_series(0, %(buckets)s - 1) AS back
CROSS JOIN LATERAL (
    SELECT to_timestamp((floor(%(now)s / period) - back) * period) AS bucket,
        1 + (abs(hashint8(floor(%(now)s / period)::bigint - back + hashtext(key))) %% 4)
) AS placed (bucket, variant)
CROSS JOIN LATERAL (
    SELECT rate * period * (1 + 0.6 * sin(extract(epoch FROM bucket) * pi() / 43200))
        * (0.9 + variant / 20.0) / CASE WHEN instance = '' THEN 1 ELSE %(shared_by)s END
) AS expected (expects)
CROSS JOIN LATERAL (SELECT %(factors)s::float8[], round(expects)) AS found (factors, number)
WHERE (instance = '' OR by_instance) AND number > 0
ORDER BY bucket, period, instance, key
"""


@dataclass(frozen=True, slots=True)
class Stream:
    """Entries of one type: each key so often a second in the whole fleet, as large on average.

    `spread` is that of a log-normal distribution, 0 for what has no percentiles; `by` are the
    processes that tell them.
    """

    type: str
    keys: Sequence[str]
    rate: float
    mean: float
    by: Sequence[str]
    spread: float = 0.0

    def means(self) -> list[float]:
        """Of each key: some are three times the others."""
        return [self.mean * (0.5 + number * 7 % 11 / 4) for number in range(len(self.keys))]

    def rates(self) -> list[float]:
        """Of each key: few are asked for often, many seldom; together so many a key."""
        weights = [1 / (number + 1) for number in range(len(self.keys))]
        return [self.rate * len(weights) * weight / sum(weights) for weight in weights]


def make(most_keys: int | None = None) -> int:
    """Write all of it as of now, or so many keys of each type; returns the number of rows."""
    now = time()
    for stream in streams():
        write(replace(stream, keys=stream.keys[:most_keys]), now)
    busy_states.write(datetime.fromtimestamp(now, UTC), most_keys)
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ANALYZE {table}")
        cursor.execute("SELECT count(*) FROM performance_aggregate")
        (rows,) = cursor.fetchone()
    return int(rows)


def clear() -> None:
    """Remove everything of the console's."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")


def write(stream: Stream, now: float) -> None:
    """Rows of one type: of the fleet in all windows, of processes in those that have them."""
    histograms = [
        [msgpack.packb(spread(mean * factor, stream.spread)) for mean in stream.means()]
        for factor in FACTORS
    ]
    values: dict[str, Any] = {
        "type": stream.type,
        "keys": [key[:LONGEST_KEY] for key in stream.keys],
        "rates": stream.rates(),
        "means": stream.means(),
        **{f"h{number}": column for number, column in enumerate(histograms, 1)},
        "periods": [period.seconds for period in GRAINS],
        "finely": [period.by_instance for period in GRAINS],
        "instances": ["", *stream.by],
        "shared_by": len(stream.by),
        "buckets": BUCKETS,
        "now": now,
        "factors": list(FACTORS),
    }
    with connection.cursor() as cursor:
        cursor.execute(WRITE, values)


def spread(mean: float, sigma: float) -> Histogram:
    """A histogram of values around a mean; none when nothing is known of their spread."""
    if not sigma or mean <= 0:
        return {}
    normal = NormalDist(log(mean) - sigma**2 / 2, sigma)
    found: Histogram = {}
    for share in SHARES:
        place = place_of(exp(normal.inv_cdf(share)))
        found[place] = found.get(place, 0.0) + 1.0
    return found


def streams() -> Iterator[Stream]:
    """Everything that the recorders of such a fleet tell."""
    yield from web_streams()
    yield from query_streams()
    yield from worker_streams()
    yield from cache_streams()
    yield from process_streams()


def web_streams() -> Iterator[Stream]:
    """Requests, and what goes wrong in them."""
    yield Stream("request", VIEWS, 5, 18, WEB, 0.8)
    yield Stream("request.all", [""], 200, 18, WEB, 1.0)
    for part in (*PARTS, "queries"):
        yield Stream(f"request.{part}", VIEWS, 5, 3, WEB)
    yield Stream("request.looked_at", VIEWS, 5, 0, WEB)
    for status, rate in (("3xx", 0.05), ("4xx", 0.1), ("5xx", 0.001)):
        yield Stream(f"request.{status}", VIEWS, rate, 0, WEB)
    yield Stream("n_plus_one", [f"{number:040x}" for number in range(30)], 0.05, 80, WEB, 0.5)
    yield Stream("error", ERRORS, 0.004, 0, WEB)
    yield Stream("leaked_connection", PLACES[:3], 0.0005, 30_000, WEB, 0.3)


def query_streams() -> Iterator[Stream]:
    """What Django asks, and what PostgreSQL counts."""
    yield Stream("query", QUERIES, 3, 2.5, WEB, 0.7)
    yield Stream("query.rows", QUERIES, 3, 12, WEB)
    yield Stream("query.error", QUERIES[:10], 0.001, 0, WEB)
    yield Stream("query.all", OPERATIONS, 180, 2.5, WEB, 0.9)
    yield Stream("slow_query", QUERIES[40:45], 0.001, 1_300, WEB, 0.3)
    told_by = WORKERS[:1]
    yield Stream("statements", [""], 1500, 1.1, told_by)
    for part, mean in (("", 1.2), (".rows", 8), (".blocks_hit", 40), (".blocks_read", 0.2)):
        yield Stream(f"statement{part}", STATEMENTS, 15, mean, told_by)


def worker_streams() -> Iterator[Stream]:
    """Jobs, and the hosts that they fetch from."""
    yield Stream("fetch", HOSTS, 0.6, 350, WORKERS, 0.9)
    for phase in PHASES:
        yield Stream(f"fetch.{phase}", HOSTS[:60], 3, 45, WORKERS)
        yield Stream("attempt.phase", [phase], 300, 45, WORKERS)
    yield Stream("fetch.failed", HOSTS, 0.02, 0, WORKERS)
    yield Stream("fetch.unfetched", HOSTS[::10], 0.002, 0, WORKERS)
    failures = [f"{host} {CODES[number % len(CODES)]}" for number, host in enumerate(HOSTS[:300])]
    yield Stream("fetch.error", failures, 0.02, 0, WORKERS)
    yield Stream("attempt.fetch", [""], 300, 350, WORKERS, 0.9)
    yield Stream("attempt.error", CODES, 1, 1, WORKERS)
    yield Stream("attempt.run", ["succeeded", "queued", "failed"], 100, 420, WORKERS, 0.8)
    yield Stream("attempt.wait", ["worker", "host", "client", "time"], 75, 900, WORKERS, 1.2)
    yield Stream("worker.use", [""], 300, 0.6, WORKERS)
    yield Stream("worker.silence", [""], 3, 0.4, WORKERS, 0.5)
    for part, jobs in (("ready", 2_000.0), ("held", 400.0), ("running", 400.0), ("oldest", 20.0)):
        yield Stream(f"queue.{part}", [""], 0.2, jobs, WORKERS[:1], 0.4)
    yield Stream("queue.ready", ["high", "normal", "low"], 0.2, 700, WORKERS[:1], 0.4)


def cache_streams() -> Iterator[Stream]:
    """Both levels of the cache, from all processes."""
    for level, most in (("local", 40.0), ("remote", 8.0)):
        for counter, share in COUNTERS.items():
            yield Stream(f"cache.{level}.{counter}", NAMESPACES, most * share, 900, WEB)
    yield Stream("cache.local.loads", NAMESPACES, 1, 6, WEB)
    yield Stream("cache.call", [""], 200, 0.6, WEB, 0.8)
    yield Stream("cache.breaker", ["open", "half_open", "closed"], 0.0005, 0, WEB)


def process_streams() -> Iterator[Stream]:
    """What processes tell of themselves."""
    for part, mean in (("used", 2), ("size", 4), ("waiting", 0.01)):
        yield Stream(f"pool.{part}", POOLS, 1, mean, WEB)
    yield Stream("pool.wait", POOLS[:2], 100, 0.5, WEB, 1.0)
    yield Stream("pool.timeout", POOLS[:1], 0.0005, 0, WEB)
    generations = [f"generation {number}" for number in range(3)]
    for role, processes in (("web", WEB), ("worker", WORKERS)):
        yield Stream("memory.rss", [role], 1, 180e6, processes, 0.1)
        yield Stream("lag", [role], 20 * len(processes), 1.5, processes, 1.0)
    yield Stream("gc.pause", generations, 2, 3, WEB, 0.6)
    yield Stream("blocking_call", PLACES, 0.002, 140, WEB, 0.4)
    yield Stream("blocking_call.web", PLACES, 0.002, 140, WEB, 0.4)
