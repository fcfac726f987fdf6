"""Who is claimed when not all can be: priorities, clients, hosts, times."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.engine.queue import JobSpec, enqueue
from jobs.engine.repository import Limits
from jobs.models import Client, Domain, Job, State
from jobs.tests.engines import Engine, success
from jobs.timeline import waits_for
from tests.support import make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def engine(transactional_db):
    engines: list[Engine] = []

    def start(domain=0, domain_delay=0.0, client=0):
        limits = Limits(domain=domain, domain_delay=domain_delay, client=client)
        engines.append(Engine(f"worker-{len(engines)}", limits))
        return engines[-1]

    yield start
    for one in engines:
        one.close()


@pytest.fixture
def mine(transactional_db):
    return make_tenant().client


def submit(client, count=1, host="a.example", **options):
    specs = [
        JobSpec(url=f"http://{host}/", formats=("html",), max_attempts=2, timeout=30, **options)
        for _ in range(count)
    ]
    enqueue(specs, client_id=client.id)
    return [spec.id for spec in specs]


def hosts(claims):
    return Counter(claim.host for claim in claims)


def test_the_first_of_a_kind_is_claimed_first(engine, mine):
    ids = submit(mine, 5)
    assert {claim.job_id for claim in engine().claim(3)} == set(ids[:3])


def test_priorities_share_by_their_weights_and_none_starves(engine, mine):
    of_priority = {
        job_id: priority for priority in range(4) for job_id in submit(mine, 100, priority=priority)
    }
    shares = Counter(of_priority[claim.job_id] for claim in engine().claim(60))
    assert shares[3] > shares[2] > shares[1] > shares[0] > 0
    assert shares[3] >= 25


def test_small_claims_starve_no_priority(engine, mine):
    low = set(submit(mine, 40, priority=0))
    submit(mine, 40, priority=3)
    one = engine()
    claimed = [one.claim(1)[0].job_id for _ in range(40)]
    assert 0 < len(low.intersection(claimed)) < 20


def test_a_client_with_many_jobs_does_not_delay_another(engine, mine):
    submit(mine, 300)
    (single,) = submit(make_tenant().client)
    assert single in {claim.job_id for claim in engine().claim(2)}


def test_clients_share_a_claim_equally(engine, mine):
    other = make_tenant().client
    submit(mine, 100)
    submit(other, 100)
    shares = Counter(claim.client_id for claim in engine().claim(20))
    assert shares == {mine.id: 10, other.id: 10}


def test_a_client_runs_no_more_than_its_quota_in_the_whole_fleet(engine, mine):
    Client.objects.filter(id=mine.id).update(max_running=3)
    submit(mine, 10)
    one, two = engine(), engine()
    assert (len(one.claim(2)), len(two.claim(10)), len(two.claim(10))) == (2, 1, 0)


def test_the_quota_of_all_clients_holds_for_those_without_one(engine, mine):
    submit(mine, 10)
    assert len(engine(client=4).claim(10)) == 4


def test_an_ended_job_frees_its_place_in_the_quota(engine, mine):
    submit(mine, 10)
    one = engine(client=2)
    first, _ = one.claim(10)
    one.commit(success(first))
    assert len(one.claim(10)) == 1


def test_a_host_is_scraped_by_no_more_than_its_limit_in_the_whole_fleet(engine, mine):
    submit(mine, 10)
    one, two = engine(domain=3), engine(domain=3)
    assert (len(one.claim(2)), len(two.claim(10)), len(two.claim(10))) == (2, 1, 0)


def test_a_host_at_its_limit_does_not_hold_up_the_others(engine, mine):
    submit(mine, 200, host="busy.example")
    submit(mine, 5, host="idle.example")
    claims = engine(domain=7).claim(50)
    assert hosts(claims) == {"busy.example": 7, "idle.example": 5}


def test_the_limit_of_a_host_holds_for_all_clients_together(engine, mine):
    submit(mine, 10)
    submit(make_tenant().client, 10)
    assert len(engine(domain=3).claim(20)) == 3


def test_staff_can_give_a_host_a_limit_of_its_own(engine, mine):
    Domain.objects.create(host="a.example", concurrency=5, next_at=timezone.now())
    submit(mine, 10)
    assert len(engine(domain=2).claim(10)) == 5


def test_a_host_with_a_delay_is_started_once_and_then_waited_for(engine, mine):
    submit(mine, 3)
    one = engine(domain_delay=60)
    assert (len(one.claim(10)), len(one.claim(10))) == (1, 0)
    Domain.objects.update(next_at=timezone.now() - timedelta(seconds=1))
    assert len(one.claim(10)) == 1


@pytest.mark.parametrize("reason", ["crawl_delay", "penalty", "delay"])
def test_the_longest_of_all_delays_counts(engine, mine, reason):
    Domain.objects.create(
        host="a.example", next_at=timezone.now() - timedelta(seconds=1), **{reason: 60}
    )
    submit(mine, 3)
    assert len(engine().claim(10)) == 1
    assert Domain.objects.get().next_at > timezone.now() + timedelta(seconds=50)


def test_a_host_whose_breaker_is_open_is_left_alone_and_then_tried_once(engine, mine):
    submit(mine, 3)
    domain = Domain.objects.create(
        host="a.example", opened=1, next_at=timezone.now() + timedelta(seconds=60)
    )
    one = engine()
    assert one.claim(10) == []
    domain.next_at = timezone.now() - timedelta(seconds=1)
    domain.save()
    assert (len(one.claim(10)), len(one.claim(10))) == (1, 0)


def test_every_host_of_many_has_its_turn(engine, mine):
    for number in range(80):
        submit(mine, 1, host=f"host-{number}.example")
    one = engine()
    claimed = [claim for _ in range(12) for claim in one.claim(10)]
    assert len(hosts(claimed)) == 80


def test_a_job_for_later_is_not_claimed_before_its_time(engine, mine):
    (job_id,) = submit(mine, run_at=timezone.now() + timedelta(hours=1))
    one = engine()
    assert one.claim() == []
    assert Job.objects.get(id=job_id).hold == "scheduled"
    Job.objects.update(run_at=timezone.now() - timedelta(seconds=1))
    assert [claim.job_id for claim in one.claim()] == [job_id]


def test_a_claim_says_how_long_a_job_waited_and_for_what(engine, mine):
    submit(mine, 2)
    one = engine(domain=1)
    (first,) = one.claim()
    assert first.queued_for == "workers"
    one.commit(success(first))
    (second,) = one.claim()
    assert second.queued_for == "domain"
    assert second.queued_ms > first.queued_ms


def test_waiting_for_the_quota_is_told_too(engine, mine):
    submit(mine, 2)
    one = engine(client=1)
    (first,) = one.claim()
    one.commit(success(first))
    (second,) = one.claim()
    assert second.queued_for == "quota"


def test_a_cancelled_job_is_not_claimed(engine, mine):
    (job_id,) = submit(mine)
    Job.objects.filter(id=job_id).update(state=State.CANCELLED, finished_at=timezone.now())
    assert engine().claim() == []


def test_a_client_that_may_run_nothing_waits_for_its_quota(engine, mine):
    Client.objects.filter(id=mine.id).update(max_running=0)
    submit(mine)
    assert engine().claim() == []
    assert waits_for(Job.objects.get()) == {"reason": "quota", "until": None}


def test_a_host_that_may_not_be_scraped_at_all_is_waited_for(engine, mine):
    Domain.objects.create(host="a.example", concurrency=0, next_at=timezone.now())
    submit(mine)
    assert engine().claim() == []
    assert waits_for(Job.objects.get()) == {"reason": "domain", "until": None}
