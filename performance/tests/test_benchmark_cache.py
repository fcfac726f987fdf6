"""One small run of `benchmark cache`: the speed of so few reads means nothing, the counts do."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings
from django_redis import get_redis_connection

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
}


@pytest.mark.xdist_group("service")
def test_the_cache_benchmark_counts_right_and_leaves_no_key_behind(tmp_path):
    report = tmp_path / "report.json"
    arguments = ["--rounds", "2", "--readers", "20", "--json", str(report)]
    done = subprocess.run(
        [sys.executable, "manage.py", "benchmark", "cache", *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PROCESS_ROLE": "command"},
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
    assert not list(get_redis_connection("default").scan_iter(match="benchmark-*"))
