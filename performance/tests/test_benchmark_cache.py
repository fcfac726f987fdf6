"""One small run of `benchmark cache`: the speed of so few reads means nothing, the counts do."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings
from django_redis import get_redis_connection

from cachelayer.conf import cache_settings
from cachelayer.keys import tag_key
from jobs.caching import API_KEYS_TAG

CHANGE = "a job's change, commit to seen by another process"
ROWS = {
    "bare redis-py GET, median",
    "level-2 hit, median",
    "level-2 hit ÷ bare GET",
    "level-1 hit, median",
    "level-2 ÷ level-1 hit",
    "miss, median",
    "get_many(100)",
    "single gets ÷ get_many",
    "20 coroutines at a cold key: loads",
    "50 threads at a cold key: loads",
    "kept in level 2, compressed",
    "kept in level 2, not compressed",
    "level 1: growth of the process ÷ budget",
    f"{CHANGE}: median",
    f"{CHANGE}: slowest",
    "seen without Valkey: slowest",
}
# What every process that knows an API key shares, and what those that are watched tell.
SERVICES_OWN = {
    tag_key(cache_settings().prefix, API_KEYS_TAG),
    f"{cache_settings().prefix}:{settings.DATABASES['default']['NAME']}:performance",
}


def keys():
    return {key.decode() for key in get_redis_connection("default").scan_iter(count=1000)}


@pytest.mark.xdist_group("benchmarks")
def test_the_cache_benchmark_counts_right_and_leaves_no_key_behind(tmp_path, database_url):
    report = tmp_path / "report.json"
    arguments = ["--rounds", "2", "--readers", "20", "--changes", "6", "--json", str(report)]
    before = keys()
    done = subprocess.run(
        [sys.executable, "manage.py", "benchmark", "cache", *arguments],
        cwd=settings.BASE_DIR,
        # Beside this process's test database: other benchmarks may run at the same time.
        env={**os.environ, "PROCESS_ROLE": "command", "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert report.exists(), done.stderr
    rows = {row["metric"]: row["value"] for row in json.loads(report.read_text())["rows"]}
    assert rows.keys() >= ROWS
    assert rows["reads another level answered"] == 0
    assert rows["20 coroutines at a cold key: loads"] == 1
    assert rows["50 threads at a cold key: loads"] == 1
    assert rows["kept in level 2, compressed"] < rows["kept in level 2, not compressed"]
    assert rows[f"{CHANGE}: changes × processes"] == 6 * 2
    assert rows["seen without Valkey: changes × processes"] == 2 * 2
    assert keys() - before <= SERVICES_OWN
