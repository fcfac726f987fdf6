"""Each invariant is contradicted once, in a transaction that nobody else sees, and finds that."""

import pytest

from tests.faults.evidence import Evidence
from tests.faults.invariants import AFTER, violations
from tests.faults.rig import LEASE

pytestmark = pytest.mark.xdist_group("faults")

RUNS_SINCE = (
    "UPDATE jobs_job SET state = 'running', finished_at = NULL, claim_token = gen_random_uuid(),"
    " started_at = now() - interval '1 hour' WHERE id = %(job)s"
)
LEASED = (
    "INSERT INTO pgqueuer (id, priority, entrypoint, dedupe_key, payload, status)"
    " SELECT -number, 0, 'scrape', %(job)s, NULL, 'picked' FROM generate_series(1, {}) AS number"
)
CONTRADICTIONS = {
    "I1": "DELETE FROM jobs_job WHERE id = %(job)s",
    "I2": "DELETE FROM jobs_result WHERE job_id = %(job)s",
    "I2 (page)": "UPDATE jobs_result SET text = 'another page' WHERE job_id = %(job)s",
    "I3": (
        "INSERT INTO faults_moves (job, old, new, worker, session)"
        " VALUES (%(job)s, 'succeeded', 'queued', '', '')"
    ),
    "I4": "UPDATE faults_moves SET session = '' WHERE job = %(job)s AND new = 'succeeded'",
    "I4 (page)": "UPDATE jobs_job SET worker = 'host/0' WHERE id = %(job)s",
    "I5": "DELETE FROM jobs_attempt WHERE job_id = %(job)s",
    "I6": f"DROP INDEX pgqueuer_unique_dedupe_key; {LEASED.format(2)}",
    "I7": "DELETE FROM jobs_delivery WHERE subject = %(job)s",
    "I8": """UPDATE jobs_job SET metadata = '{"key": "twice"}'""",
    "I9": RUNS_SINCE,
    "I10": LEASED.format(1),
}


class Planted(Evidence):
    """What the invariants are asked about, as one connection sees it."""

    def __init__(self, rig, connection):
        super().__init__(rig, LEASE)
        self.connection = connection

    def rows(self, sql, *parameters):
        return self.connection.execute(sql, parameters or None).fetchall()


@pytest.fixture(scope="module")
def job(rig):
    """One of two jobs that have succeeded."""
    rig.fleet.worker()
    jobs = rig.client.submit_batch([rig.client.tag(), rig.client.tag()])
    rig.jobs.wait_for_all(20)
    rig.fleet.end_workers()
    return jobs[0]


def test_every_invariant_is_contradicted_here():
    assert set(CONTRADICTIONS) == set(AFTER)


@pytest.mark.parametrize("name", AFTER)
def test_a_contradiction_is_found_of_invariant(rig, job, name):
    invariant = {name: AFTER[name]}
    with rig.postgres.connection() as connection, connection.transaction(force_rollback=True):
        assert violations(Planted(rig, connection), invariant) == []
        connection.execute("SET LOCAL session_replication_role = replica")
        for statement in CONTRADICTIONS[name].split("; "):
            connection.execute(statement, {"job": job})
        (found,) = violations(Planted(rig, connection), invariant)
        assert (found.invariant, job in str(found.evidence)) == (name, True)
