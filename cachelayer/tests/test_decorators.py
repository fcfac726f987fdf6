"""Functions, coroutines and views whose answers are kept."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer, StaticHTMLRenderer
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from cachelayer.codec import UnsupportedValue
from cachelayer.decorators import cached, cached_response
from cachelayer.invalidation import invalidate
from cachelayer.keys import lock_key
from cachelayer.policy import Policy
from cachelayer.tests.servers import until
from cachelayer.tiered import TieredCache

pytestmark = pytest.mark.xdist_group("valkey")

POLICY = Policy(ttl=60)


@pytest.fixture
def keep(layer):
    """`cached` on the layer of the test."""

    def keep(**options):
        return cached("things", options.pop("policy", POLICY), layer=lambda: layer, **options)

    return keep


@pytest.fixture
def calls():
    return []


def test_a_function_is_called_once_for_the_same_arguments(keep, calls):
    @keep()
    def double(number, *, offset=0):
        calls.append(number)
        return number * 2 + offset

    assert [double(1), double(1), double(2), double(1, offset=1)] == [2, 2, 4, 3]
    assert calls == [1, 2, 1]


def test_a_function_keeps_its_name_and_its_text(keep):
    @keep()
    def documented():
        """What it does."""

    assert (documented.__name__, documented.__doc__) == ("documented", "What it does.")


def test_parts_say_what_tells_values_apart(keep, calls):
    @keep(parts=lambda person: (person["id"],))
    def greet(person):
        calls.append(person)
        return f"Hello {person['name']}"

    assert greet({"id": 1, "name": "A"}) == greet({"id": 1, "name": "B"}) == "Hello A"
    assert greet({"id": 2, "name": "B"}) == "Hello B"


def test_an_argument_that_cannot_be_told_apart_is_refused(keep):
    @keep()
    def look_at(thing):
        return "seen"

    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        look_at(object())


def test_tags_come_from_the_arguments(keep, layer, calls):
    @keep(tags=lambda number: (f"number:{number}",))
    def load(number):
        calls.append(number)
        return number

    for number in (1, 2, 1, 2):
        load(number)
    invalidate(tags=["number:1"], layer=layer)
    for number in (1, 2):
        load(number)
    assert calls == [1, 2, 1]


def test_another_version_does_not_see_the_old_values(keep):
    @keep(version=1)
    def old():
        return "old"

    @keep(version=2)
    def new():
        return "new"

    assert (old(), new()) == ("old", "new")


def test_what_a_function_raises_is_not_kept(keep, calls):
    @keep()
    def fail():
        calls.append(1)
        raise LookupError("not there")

    for _ in range(2):
        with pytest.raises(LookupError):
            fail()
    assert len(calls) == 2


def test_a_coroutine_function_is_kept_too(keep, calls, run):
    @keep(tags=lambda number: ("t",))
    async def double(number):
        calls.append(number)
        return number * 2

    async def main():
        return [await double(1), await double(1), await double(2)]

    assert asyncio.iscoroutinefunction(double)
    assert run(main()) == [2, 2, 4]
    assert calls == [1, 2]


def test_a_coroutine_that_is_cancelled_does_not_cancel_those_who_wait_for_it(keep, calls, run):
    started = asyncio.Event()

    @keep(policy=Policy(ttl=60, remote=False))
    async def load():
        calls.append(1)
        started.set()
        if len(calls) == 1:
            await asyncio.Future()
        return "value"

    async def main():
        leader = asyncio.create_task(load())
        await started.wait()
        waiting = [asyncio.create_task(load()) for _ in range(3)]
        await asyncio.sleep(0)
        leader.cancel()
        return await asyncio.gather(*waiting)

    assert run(main()) == ["value"] * 3


def test_a_coroutine_that_is_cancelled_does_not_hold_up_other_processes(keep, layer, run):
    started = asyncio.Event()

    @keep(parts=lambda: (1,))
    async def load():
        started.set()
        await asyncio.Future()

    async def main():
        leader = asyncio.create_task(load())
        await started.wait()
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)

    run(main())
    key = TieredCache("things", POLICY, layer=lambda: layer).key((1,))
    assert layer.remote.call(("EXISTS", lock_key(layer.settings.prefix, key))) == [0]


def test_two_event_loops_load_the_same_value_side_by_side(keep, layer, run):
    started, go_on = (asyncio.Event() for _ in range(2))

    @keep(policy=Policy(ttl=60, remote=False))
    async def load(who):
        if who == "first":
            started.set()
            await go_on.wait()
        return "value"

    async def same(who):
        return await cached(
            "same", Policy(ttl=60, remote=False), parts=lambda who: (), layer=lambda: layer
        )(load.__wrapped__)(who)

    async def main():
        first = asyncio.create_task(same("first"))
        await started.wait()
        with ThreadPoolExecutor() as threads:
            loop = asyncio.get_running_loop()
            second = await loop.run_in_executor(threads, lambda: asyncio.run(same("second")))
        go_on.set()
        return [await first, second]

    assert run(main()) == ["value", "value"]


@pytest.fixture
def people(db):
    for name in ("ann", "bob"):
        User.objects.create(username=name)
    return User.objects.filter(username__in=["ann", "bob"]).order_by("username")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (lambda people: people.values("username"), [{"username": "ann"}, {"username": "bob"}]),
        (lambda people: people.values_list("username", flat=True), ["ann", "bob"]),
        (lambda people: people.values_list("username", "is_staff"), [["ann", 0], ["bob", 0]]),
        (lambda people: people.values("username").none(), []),
    ],
)
def test_a_queryset_is_kept_as_its_rows(keep, people, rows, expected, django_assert_num_queries):
    @keep()
    def names():
        return rows(people)

    assert names() == expected
    with django_assert_num_queries(0):
        assert names() == expected


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_queryset_of_instances_is_refused_with_advice(keep, people, attempt):
    @keep()
    def instances():
        return people

    for _ in range(attempt):
        with pytest.raises(UnsupportedValue, match=r"User cannot be cached: add \.values\(\)"):
            instances()


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_may_give_a_queryset(keep, run):
    User.objects.create(username="ann")

    @keep()
    async def names():
        return User.objects.filter(username="ann").values_list("username")

    async def main():
        try:
            return await names()
        finally:
            # The ORM has a thread of its own there, with a connection.
            await sync_to_async(connections.close_all)()

    assert run(main()) == [["ann"]]


def test_a_value_that_level_2_cannot_hold_is_refused_every_time(keep):
    @keep()
    def load():
        return {1, 2}

    for _ in range(2):
        with pytest.raises(UnsupportedValue, match="set cannot be cached"):
            load()


@pytest.fixture
def ask(layer, calls):
    """Asks a small view; returns its response."""
    values = TieredCache(
        "answers",
        lambda kept: Policy(ttl=60, remote=kept["final"]),
        layer=lambda: layer,
        one_load_in_fleet=False,
    )

    class View(APIView):
        authentication_classes = ()
        permission_classes = ()
        renderer_classes = (JSONRenderer, StaticHTMLRenderer)

        @cached_response(
            values,
            parts=lambda request, number: (request.headers["Owner"], number),
            tags=lambda _request, number: (f"number:{number}",),
            final=lambda data: data == "final",
            vary=("Owner", "Accept"),
        )
        def get(self, request, number):
            calls.append(number)
            if number == "missing":
                raise NotFound
            if number == "refused":
                return Response({"no": 1}, status=409, headers={"Retry-After": "1"})
            if request.accepted_renderer.format == "html":
                return Response("<p>ü</p>")
            return Response(number if number == "final" else {"owner": request.headers["Owner"]})

    def ask(number="1", owner="ann", **headers):
        request = APIRequestFactory().get("/", headers={"Owner": owner} | headers)
        response = View.as_view()(request, number=number)
        return response.render() if hasattr(response, "render") else response

    return ask


def test_an_answer_is_made_once(ask, calls):
    first, second = ask(), ask()
    assert first.content == second.content == b'{"owner":"ann"}'
    assert first["Content-Type"] == second["Content-Type"] == "application/json"
    assert len(calls) == 1


def test_each_owner_gets_his_own_answer(ask):
    assert (ask(owner="ann").content, ask(owner="bob").content) == (
        b'{"owner":"ann"}',
        b'{"owner":"bob"}',
    )
    assert ask(owner="ann")["ETag"] != ask(owner="bob")["ETag"]


def test_an_answer_names_what_it_varies_by_and_is_private(ask):
    for response in (ask(), ask(), ask(**{"If-None-Match": "*"})):
        assert {"Owner", "Accept"} <= set(response["Vary"].replace(",", " ").split())
        assert response["Cache-Control"] == "private, no-cache"


def test_an_answer_comes_in_the_form_that_was_asked_for(ask):
    assert ask().content == b'{"owner":"ann"}'
    html = ask(Accept="text/html")
    assert (html.content.decode(), html["Content-Type"]) == (
        "<p>ü</p>",
        "text/html; charset=utf-8",
    )
    assert ask(Accept="text/html").content == html.content


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', 'W/"other" , W/{},"more"', "*"])
def test_an_answer_that_is_known_already_is_not_sent_again(ask, form):
    etag = ask()["ETag"]
    response = ask(**{"If-None-Match": form.format(etag)})
    assert (response.status_code, response.content) == (304, b"")
    assert response["ETag"] == etag
    assert "Content-Type" not in response


@pytest.mark.parametrize("asked", ["", '"other"', "other", 'W/"', ",,,", '"*"'])
def test_another_etag_gets_the_whole_answer(ask, asked):
    assert ask(**{"If-None-Match": asked}).status_code == 200


def test_what_a_view_raises_is_not_kept(ask, calls):
    assert [ask("missing").status_code for _ in range(2)] == [404, 404]
    assert len(calls) == 2


def test_an_answer_other_than_200_is_passed_on_and_not_kept(ask, calls):
    for _ in range(2):
        response = ask("refused")
        assert (response.status_code, response.content) == (409, b'{"no":1}')
        assert response["Retry-After"] == "1"
        assert "ETag" not in response
    assert len(calls) == 2


def test_an_invalidated_answer_is_made_again(ask, calls, layer):
    etag = ask()["ETag"]
    invalidate(tags=["number:1"], layer=layer)
    assert ask(**{"If-None-Match": etag}).status_code == 304
    assert len(calls) == 2


def test_the_policy_hears_whether_an_answer_is_final(ask, calls, layer):
    for number in ("final", "1"):
        ask(number)
    layer.local.clear()
    for number in ("final", "1"):
        ask(number)
    assert calls == ["final", "1", "1"]


def test_many_requests_at_once_make_one_answer(ask, calls, layer):
    with ThreadPoolExecutor(max_workers=10) as threads:
        answers = list(threads.map(lambda _: ask().content, range(50)))
    assert set(answers) == {b'{"owner":"ann"}'}
    until(lambda: layer.stats.of("answers").local.loads == 1, "one load")
