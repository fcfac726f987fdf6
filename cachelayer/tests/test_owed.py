"""Invalidations that could not be sent are made up for before level 2 is used again."""

import asyncio

import pytest

from cachelayer.invalidation import ainvalidate, invalidate
from cachelayer.tests.faulty import lose, new_cache, read
from cachelayer.tests.servers import until

pytestmark = pytest.mark.xdist_group("valkey")


@pytest.mark.parametrize("soon", [False, True])
def test_what_was_invalidated_meanwhile_is_not_served_from_level_2_afterwards(
    soon, process, mortal
):
    one = process(local_ttl=60, breaker_reset=0.5)
    assert read(one, "old") == "old"
    lose(one, mortal)
    if soon:
        one.messages.invalidate_soon(["t"])
        until(lambda: one.tags.known(()) is None, "it could not be sent")
    else:
        assert not invalidate(tags=["t"], layer=one)
    assert read(one, "new") == "new"
    mortal.resume()
    for _ in range(3):
        one.local.clear()
        one.tags.forget_all()
        assert read(one, "new") == "new"
    until(lambda: read(one, "new") and one.tags.known(()) == [], "it was sent")
    assert read(process(), "newer") in ("new", "newer")


def test_a_key_invalidated_meanwhile_is_not_served_from_level_2_afterwards(process, mortal):
    one = process(local_ttl=60, breaker_reset=0.5)
    assert read(one, "old", tags=()) == "old"
    lose(one, mortal)
    assert not invalidate(keys=[new_cache(one).key((1,))], layer=one)
    mortal.resume()
    numbers = iter(range(10_000))
    until(
        lambda: (
            read(one, "other", parts=("other", next(numbers)), tags=())
            and one.remote.breaker.state == "closed"
        ),
        "level 2 is used again",
    )
    assert read(one, "new", tags=()) == "new"


def test_a_process_that_reads_nothing_sends_its_invalidations_afterwards(process, mortal):
    one, two = process(breaker_reset=0.5), process(local_ttl=0.1)
    assert read(two, "old") == "old"
    lose(one, mortal)
    assert not invalidate(tags=["t"], layer=one)
    mortal.resume()
    until(lambda: read(two, "new") == "new", "the other process asked level 2 anew", 5)


def test_an_invalidation_that_a_full_server_refuses_is_sent_later(process, mortal):
    one = process()
    assert read(one, "old") == "old"
    mortal.ask("CONFIG", "SET", "maxmemory", 1)
    assert not invalidate(tags=["t"], layer=one)
    one.tags.forget_all()
    assert read(one, "new") == "new"


@pytest.mark.parametrize("change", ["bump", "forget", "forget_all"])
def test_an_answer_that_was_under_way_does_not_undo_an_invalidation(change, process):
    one, two = process(local_ttl=60), process(local_ttl=60)
    read(one, "old")
    one.tags.forget_all()
    asking = one.tags.learn(["t"])
    replies = one.remote.call(*next(asking))  # the server answers with the old generation,
    if change == "bump":  # and before the answer is taken note of the tag is invalidated
        invalidate(tags=["t"], layer=one)
    else:
        two.remote.call(*two.tags.bump(["t"]))
        one.tags.forget(["t"]) if change == "forget" else one.tags.forget_all()
    with pytest.raises(StopIteration):
        asking.send(replies)
    assert read(one, "new") == "new"


def test_an_invalidation_that_failed_while_an_older_one_was_sent_is_sent_too(process):
    one = process()
    one.tags.failed_to_send(["t"])
    asking = one.tags.learn(["t"])
    replies = one.remote.call(*next(asking))
    one.tags.failed_to_send(["t"])
    asking.send(replies)
    assert one.tags.known(()) is None


def test_a_process_that_reads_nothing_deletes_afterwards_what_it_could_not_delete(process, mortal):
    one, two = process(breaker_reset=0.2), process(local_ttl=0.1)
    assert read(two, "old", tags=()) == "old"
    lose(one, mortal)
    assert not invalidate(keys=[new_cache(one).key((1,))], layer=one)
    mortal.resume()
    until(lambda: read(two, "new", tags=()) == "new", "the key is gone from level 2", 5)


def test_an_invalidation_that_is_cancelled_is_made_all_the_same(process, mortal):
    one, two = process(), process(local_ttl=60)
    assert read(two, "old") == "old"
    mortal.pause()

    async def cancelled():
        invalidating = asyncio.create_task(ainvalidate(tags=["t"], layer=one))
        await asyncio.sleep(0)
        invalidating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await invalidating
        await one.close_async()

    asyncio.run(cancelled())
    mortal.resume()
    until(lambda: read(two, "new") == "new", "the other process has heard")
