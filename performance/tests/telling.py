"""What processes have recorded, told and digested, as it would be within seconds."""

from cachelayer.layer import cache_layer
from performance.recording.process import buffer
from performance.recording.stream import Stream
from performance.storage.digest import Digest

STREAM = "telling"


def forget():
    """Nothing was recorded so far."""
    buffer.take("")
    cache_layer().remote.call(("UNLINK", f"{STREAM}:performance"))


def tell(instance="worker/1"):
    """Have this process's records stored, as that instance's."""
    stream = Stream(cache_layer().remote, STREAM)
    stream.append(buffer.take(instance))
    Digest(stream).run()


def recorded():
    """What was recorded since, by type and key; nobody else is told."""
    return buffer.take("").tallies


def fact(content, label):
    """What a card says in large letters."""
    return next(one for one in content.facts if one.label == label)


def cells(content, table):
    """The rows of a card's table."""
    return [row.cells for one in content.tables if one.name == table for row in one.rows]
