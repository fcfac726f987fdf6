"""The benchmarks' common language, and one small run of each."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone
from rich.console import Console

from performance.benchmarks import recorders
from performance.benchmarks.report import Report, Row, judged
from performance.cards.benchmarks import BenchmarksCard
from performance.console.pages import CARDS
from performance.models import BenchmarkRun
from performance.recording.rescue import failures
from performance.storage.reading import Scope


def test_a_row_without_a_goal_judges_nothing():
    assert Report("x", [Row("speed", 3, "jobs/s")]).met


@pytest.mark.parametrize(
    ("sign", "value", "met"), [("≥", 2, True), ("≥", 1.9, False), ("≤", 2, True), ("≤", 2.1, False)]
)
def test_a_goal_is_met_up_to_its_bound(sign, value, met):
    row = judged("ratio", value, "×", sign, 2)
    assert (row.met, row.goal) == (met, f"{sign} 2")


def test_one_missed_goal_fails_the_report():
    rows = [judged("a", 1, "×", "≥", 1), judged("b", 0, "×", "≥", 1)]
    assert not Report("x", rows).met


@pytest.mark.django_db
def test_a_report_prints_its_rows_and_the_machine():
    console = Console(record=True, width=120)
    Report("x", [judged("ratio", 0.5, "×", "≥", 1)]).print(console)
    text = console.export_text()
    assert "ratio" in text
    assert "0.50" in text
    assert "cores" in text


@pytest.mark.django_db
def test_a_report_is_written_as_the_agreed_document(tmp_path):
    Report("x", [Row("speed", 3.0, "jobs/s")]).write(tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    assert set(document) == {"name", "revision", "machine", "rows"}
    assert set(document["machine"]) == {
        "cpu",
        "cores",
        "memory",
        "python",
        "postgresql",
        "valkey",
    }
    assert document["rows"] == [
        {"metric": "speed", "value": 3.0, "unit": "jobs/s", "goal": None, "met": None}
    ]


def benchmark(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", "benchmark", *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PROCESS_ROLE": "command", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_an_unknown_benchmark_is_refused_with_the_known_ones():
    done = benchmark("speed")
    assert done.returncode != 0
    assert "throughput" in done.stderr


@pytest.mark.xdist_group("benchmarks")
def test_throughput_counts_every_job_once(tmp_path):
    """The speed of so few jobs means nothing; what is counted does."""
    report = tmp_path / "report.json"
    done = benchmark("throughput", "--jobs", "80", "--rounds", "1", "--json", str(report))
    assert "ratio" in done.stdout, done.stderr
    rows = {row["metric"]: row["value"] for row in json.loads(report.read_text())["rows"]}
    assert (rows["jobs lost"], rows["jobs run twice"]) == (0, 0)


@pytest.mark.django_db
def test_the_recorders_benchmark_has_a_figure_for_each_hot_path():
    failures.clear()
    report = recorders.run(number=20, progress=lambda _: None)
    assert not failures
    assert [row.unit for row in report.rows] == ["µs"] * 5 + ["ms"] * 2
    assert all(row.value > 0 for row in report.rows if row.unit == "ms")


@pytest.mark.xdist_group("benchmarks")
def test_the_observer_benchmark_compares_both_ways_and_times_every_card(tmp_path):
    report = tmp_path / "report.json"
    few = ["--starts", "2", "--rounds", "1", "--requests", "40", "--warm-up", "1", "--keys", "2"]
    done = benchmark("observer", *few, "--json", str(report))
    assert "watched ÷ unwatched" in done.stdout, done.stderr
    rows = {row["metric"]: row for row in json.loads(report.read_text())["rows"]}
    # What a process says of itself takes some seconds.
    assert all(row["value"] > 0 for name, row in rows.items() if "the console says" not in name)
    assert rows["rows of a busy fleet"]["value"] < 150_000
    assert {name for name in rows if name.startswith("card ")} == {
        f"card {name}, slowest window" for name in CARDS
    }
    assert {row["goal"] for row in rows.values()} == {None, "≥ 0.95", "≤ 50", "≤ 200"}


@pytest.mark.xdist_group("benchmarks")
def test_the_collections_benchmark_compares_both_ways(tmp_path):
    report = tmp_path / "report.json"
    done = benchmark("collections", "--requests", "300", "--rounds", "1", "--json", str(report))
    assert "tuned" in done.stdout, done.stderr
    rows = {row["metric"]: row["value"] for row in json.loads(report.read_text())["rows"]}
    assert all(value > 0 for value in rows.values())
    assert sum(name.endswith("untuned") for name in rows) == 2


@pytest.mark.xdist_group("benchmarks")
@pytest.mark.django_db(transaction=True)
def test_a_run_is_kept_where_the_service_has_its_tables(database_url):
    done = benchmark("recorders", "--number", "5", DATABASE_URL=database_url)
    assert "in the console's history" in done.stdout, done.stderr
    assert BenchmarkRun.objects.get().name == "recorders"


def kept(metric, unit, goal):
    """Two runs of a benchmark with one figure."""
    for number in range(2):
        row = {"metric": metric, "value": 1.5, "unit": unit, "goal": goal, "met": True}
        BenchmarkRun.objects.create(
            name=metric, revision=f"{number}", machine={}, rows=[row], is_met=True, seconds=1.0,
            finished_at=timezone.now() - timedelta(days=number),
        )  # fmt: skip


@pytest.mark.django_db
def test_benchmarks_are_charted_that_have_ratios_with_goals():
    kept("throughput", "×", "≥ 1")
    kept("recorders", "µs", None)
    (chart,) = BenchmarksCard().content(Scope()).charts
    assert (chart.title, chart.has_buckets) == ("throughput", False)
