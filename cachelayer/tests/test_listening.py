"""Whoever listens hears what each call of level 2 took, however it ended."""

import pytest

from cachelayer.remote import Unavailable


@pytest.fixture
def heard(layer):
    """The seconds of each call from now on."""
    found: list[float] = []
    layer.remote.listen(found.append)
    return found


def test_a_call_is_heard_once_however_many_commands_it_has(layer, heard):
    layer.remote.call(("PING",), ("PING",))
    assert len(heard) == 1
    assert heard[0] > 0


def test_a_coroutines_call_is_heard(layer, heard, run):
    run(layer.remote.acall(("PING",)))
    assert len(heard) == 1


def test_a_call_that_is_lost_is_heard(mortal, make_layer):
    layer = make_layer(mortal)
    heard: list[float] = []
    layer.remote.listen(heard.append)
    mortal.kill()
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    assert len(heard) == 1


def test_a_call_that_the_breaker_refuses_took_nobody_any_time(mortal, make_layer):
    layer = make_layer(mortal, breaker_failures=1, breaker_reset=60)
    heard: list[float] = []
    mortal.kill()
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    layer.remote.listen(heard.append)
    with pytest.raises(Unavailable):
        layer.remote.call(("PING",))
    assert heard == []
