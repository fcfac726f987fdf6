"""Small runs of `benchmark backlog` and `benchmark concurrency`: their counts, no speed."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.db import connection

from jobs.models import Job
from performance.benchmarks.backlog_rows import SLOW_TO_KEEP, fill
from performance.benchmarks.claimers import split
from tests.support import make_tenant


def rows_of(report, *arguments):
    done = subprocess.run(
        [sys.executable, "manage.py", "benchmark", *arguments, "--json", str(report)],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PROCESS_ROLE": "command"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert report.exists(), done.stderr
    return {row["metric"]: row["value"] for row in json.loads(report.read_text())["rows"]}


def kept():
    with connection.cursor() as cursor:
        cursor.execute(SLOW_TO_KEEP)
        return {restore for _, restore in cursor.fetchall()}


@pytest.mark.parametrize(("jobs", "claimers"), [(10, 4), (3, 3), (2, 3)])
def test_shares_are_equal_and_add_up(jobs, claimers):
    shares = split(jobs, claimers)
    assert (len(shares), sum(shares)) == (claimers, jobs)
    assert max(shares) - min(shares) <= 1


@pytest.mark.django_db(transaction=True)
def test_the_rows_are_of_the_kinds_asked_for():
    client = make_tenant().client
    before = kept()
    fill(client.id, ready=30, later=20, finished=50, progress=print)
    assert Job.objects.filter(state="queued", hold="").count() == 30
    assert Job.objects.filter(state="queued", hold="scheduled").count() == 20
    assert Job.objects.filter(state="succeeded").count() == 50
    assert kept() == before


@pytest.mark.xdist_group("benchmarks")
def test_backlog_leaves_no_single_job_waiting_behind_it(tmp_path):
    sizes = ["--queued", "6000", "--finished", "500", "--jobs", "200"]
    turns = ["--rounds", "1", "--claimers", "2"]
    rows = rows_of(tmp_path / "report.json", "backlog", *sizes, *turns)
    assert rows["jobs in the table"] == 6500
    assert rows["another client's single job: claims until its own"] == 1


@pytest.mark.xdist_group("benchmarks")
def test_concurrency_counts_every_job_once(tmp_path):
    few = ["--jobs", "40", "--concurrency", "20"]
    rows = rows_of(tmp_path / "report.json", "concurrency", *few)
    assert rows["scrapes"] == 40
    assert (rows["jobs lost"], rows["jobs run twice"]) == (0, 0)
    assert rows["the worker's memory, peak"] > 0
