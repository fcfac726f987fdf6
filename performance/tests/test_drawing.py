"""How the console writes and draws: figures, scales, curves, sentences and cells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from performance.cards.shapes import Bar, Chart, Column, Line, Row, Table
from performance.console.drawing import draw, draw_bar, scale
from performance.console.figures import figure
from performance.templatetags.console import cell, columns, looks, runbook, sentence

LONG_AGO = timezone.now() - timedelta(days=3)


def chart(*values, unit="ms", step=timedelta(minutes=1), begins=LONG_AGO, is_rate=False):
    moments = [begins + step * number for number in range(len(values))]
    return Chart("Something", moments, [Line("one", values)], unit, is_rate)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234567, "number", "1,234,567"),
        (0.000312, "seconds", "0.31 ms"),
        (0.0004, "ms", "< 0.01 ms"),
        (2.5, "per second", "2.50/s"),
        (0.05, "per second", "3/min"),
        (0.001, "per second", "3.60/h"),
        (0, "per second", "0/s"),
        (8_914_499, "ms", "2.48 h"),
        (0.93, "×", "0.93 ×"),
        (None, "ms", "–"),
    ],
)
def test_a_figure_has_its_unit_and_the_digits_that_mean_something(value, unit, text):
    assert figure(value, unit) == text


@pytest.mark.parametrize(
    ("largest", "unit", "top"),
    [
        (3.98, "per second", "4/s"),
        (71.5, "percent", "80 %"),
        (134 * 1024**2, "bytes", "150 MiB"),
        (1700, "ms", "2 s"),
        (400, "seconds", "8 min"),
        (0.3, "ms", "0.30 ms"),
        (0, "ms", "0 ms"),
    ],
)
def test_a_scale_ends_at_a_round_number_above_the_largest_value(largest, unit, top):
    assert scale(largest, unit) >= largest
    assert figure(scale(largest, unit), unit) == top


def test_a_value_without_neighbours_is_a_dot():
    (curve,) = draw(chart(1, 2, None, 3, None)).curves
    assert curve.path.count("M") == 1
    assert curve.dots.count("M") == 1


@pytest.mark.parametrize(
    ("passed", "is_rate", "latest"),
    [(0.1, True, "9/s"), (0.75, True, "4.00/s"), (0.1, False, "3/s")],
)
def test_a_rate_does_not_fall_because_its_bucket_is_not_over(passed, is_rate, latest):
    begins = timezone.now() - timedelta(days=2 + passed)
    rates = chart(
        9, 9, 3, unit="per second", step=timedelta(days=1), begins=begins, is_rate=is_rate
    )
    (curve,) = draw(rates).curves
    assert curve.latest == latest


@pytest.mark.parametrize(("has_buckets", "markers"), [(True, 1), (False, 0)])
def test_what_happened_has_a_place_only_where_places_are_times(has_buckets, markers):
    one = replace(chart(1, 2, 3), has_buckets=has_buckets)
    assert len(draw(one, [(LONG_AGO + timedelta(minutes=1), "deploy")]).markers) == markers


def test_a_chart_of_runs_ends_with_the_last():
    begins = datetime(2026, 3, 1, 8, tzinfo=UTC)
    runs = replace(chart(1, 2, begins=begins), has_buckets=False)
    assert draw(runs).ends == "08:01"


def test_a_chart_of_several_days_names_them():
    begins = datetime(2026, 3, 1, 8, tzinfo=UTC)
    week = draw(chart(*range(60), step=timedelta(hours=2.8), begins=begins))
    assert (week.begins, week.ends) == ("03-01 08:00", "03-08 08:00")
    assert week.slots[0].text.startswith("03-01 08:00 · ")
    assert draw(chart(1, 2, begins=begins)).begins == "08:00"


def test_half_a_thing_is_no_mark_of_a_scale():
    assert draw(chart(3, unit="number")).middle == ""
    assert draw(chart(4, unit="number")).middle == "2"


def test_a_bar_is_as_wide_as_the_whole_and_shows_what_no_part_explains():
    bar = Bar(40, {"pool": 10, "database": 20, "cache": 0})
    drawn = [(one.number, one.x, one.width) for one in draw_bar(bar)]
    assert drawn == [(0, 0, 25), (1, 25, 50), (None, 75, 25)]
    assert draw_bar(bar)[1].text == "database 20 ms"
    assert str(bar) == "50 % database"


def test_parts_of_a_bar_that_overlap_stay_within_it():
    bar = Bar(10, {"pool": 10, "database": 30})
    assert [(one.x, one.width) for one in draw_bar(bar)] == [(0, 25), (25, 75)]
    assert str(bar) == "75 % database"


def test_what_nothing_explains_is_said_of_a_bar():
    assert str(Bar(10, {"pool": 1})) == "90 % unexplained"


def test_a_sentence_keeps_names_as_they_are_and_shows_commands():
    assert sentence("no query is slow") == "No query is slow"
    assert sentence("jobs/api/views.py:3 blocked") == "jobs/api/views.py:3 blocked"
    assert sentence("vm/12 grows") == "vm/12 grows"
    assert sentence("ask `manage.py up` & wait") == ("Ask <code>manage.py up</code> &amp; wait")


def test_a_runbook_is_paragraphs_and_points_with_links_to_pages():
    html = runbook("Rule `a`.\n\n1. *Pools*: look\n   there.\n2. *Slanted* <b>.\n\nThen wait.")
    assert "<p>Rule <code>a</code>.</p>" in html
    assert '<a href="/admin/performance/pools/">Pools</a>: look' in html
    assert html.count("<li>") == 2
    assert "<em>Slanted</em> &lt;b&gt;." in html


def test_a_value_has_the_unit_that_stands_in_its_row():
    value, unit = Column("value", "Value"), Column("unit", "Unit")
    row = Row({"value": 8_914_499, "unit": "ms"})
    assert cell(row, value) == "2.48 h"
    assert columns(Table("proof", "Proof", [value, unit], [row])) == [value]


def test_a_query_shows_what_it_does_before_what_it_asks_for():
    asked = ", ".join(f'"jobs_job"."field_{number}"' for number in range(30))
    text = cell(
        Row({"sql": f'SELECT {asked} FROM "jobs_job" WHERE "jobs_job"."id" = %s'}),
        Column("sql", "Query", "code"),
    )
    assert text == 'SELECT … FROM "jobs_job" WHERE "jobs_job"."id" = %s'


def test_cells_are_as_wide_as_their_text_needs():
    text, code = Column("a", "A"), Column("b", "B", "code")
    assert looks(text, "in working hours") == "console-short"
    assert looks(code, "x" * 80) == "console-long console-code"
    assert looks(Column("c", "C", "ms"), "–") == "console-none console-number"
