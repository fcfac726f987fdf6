"""Messages in processes of other kinds: forked, at their end, and of greenlets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachelayer.keys import tag_key

pytestmark = pytest.mark.xdist_group("valkey")

ROOT = Path(__file__).parents[2]

PROCESS = """
import os, sys, threading
{first}
import redis
from cachelayer.conf import CacheSettings
from cachelayer.layer import Layer
from cachelayer.policy import Policy
from cachelayer.tiered import TieredCache

def layer_on(port):
    pool = redis.ConnectionPool(port=port, socket_timeout=1)
    return Layer(
        CacheSettings(prefix="script", local_ttl=60),
        client=lambda: redis.Redis(connection_pool=pool),
        async_client=lambda: None,
    )

layer = layer_on(int(sys.argv[1]))
"""

FORK = """
assert not layer.messages.listen() and layer.messages.connected.wait(5)
layer.messages.invalidate_soon(["a"])
child = os.fork()
if child == 0:
    inherited = layer.messages.connected.is_set()
    layer.messages.listen()
    layer.messages.invalidate_soon(["b"])
    heard = layer.messages.connected.wait(5)
    names = sorted(thread.name for thread in threading.enumerate())
    print(inherited, heard, *names, flush=True)
    layer.messages.stop()
    os._exit(0)
os.waitpid(child, 0)
"""

EXIT = """
layer.messages.invalidate_soon(["last"])
"""

GEVENT = """
from cachelayer.invalidation import invalidate
other = layer_on(int(sys.argv[1]))
values = TieredCache("things", Policy(ttl=60), layer=lambda: other)
other.messages.listen()
assert other.messages.connected.wait(5)
values.get_or_load((1,), lambda: "old", tags=["t"])
layer.messages.invalidate_soon(["t"])
while values.get_or_load((1,), lambda: "new", tags=["t"]) == "old":
    gevent.sleep(0.01)
print("heard", len({type(gevent.getcurrent()), threading.current_thread()}))
"""


def run_script(server, script, first=""):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS.format(first=first) + script, str(server.port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_forked_process_listens_and_sends_for_itself(valkey):
    inherited, heard, *names = run_script(valkey, FORK)
    assert (inherited, heard) == ("False", "True")
    assert names == ["MainThread", "cache-invalidation", "cache-messages"]


def test_a_process_that_ends_sends_what_is_posted(valkey):
    run_script(valkey, EXIT)
    assert valkey.ask("EXISTS", tag_key("script", "last")) == 1


def test_greenlets_listen_and_send_without_holding_up_the_others(valkey):
    first = "from gevent import monkey; monkey.patch_all(); import gevent"
    assert run_script(valkey, GEVENT, first)[0] == "heard"
