"""What the tests of faults share: quick settings, and ways to read, to lose a server, to count."""

from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache

# As in production, but for times that a test can wait for.
POOL = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2, "timeout": 0.5, "retries": 0}
QUICK = {"breaker_failures": 2, "breaker_reset": 0.05, "ttl_jitter": 0}


def new_cache(layer, policy=None):
    return TieredCache("things", policy or Policy(ttl=60), layer=lambda: layer)


def read(layer, value, *, tags=("t",), parts=(1,)):
    return new_cache(layer).get_or_load(parts, lambda: value, tags=tags)


def lose(layer, server):
    """Pause the server and let the layer find out, so that it sends nothing more."""
    server.pause()
    numbers = iter(range(100))
    until(
        lambda: (
            read(layer, "x", parts=("lost", next(numbers)), tags=())
            and layer.remote.breaker.state == "open"
        ),
        "the breaker is open",
    )


def errors(layer):
    return layer.stats.of("all").remote.errors
