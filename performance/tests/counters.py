"""PostgreSQL's counters of tables, which a session tells to others later than it counts."""

import pytest
from django.db import connection

from performance.analysis.postgresql.rows import version


def tell_counters():
    """Tell at once what this session has counted; PostgreSQL 14 cannot be asked to."""
    if version() < 150000:
        pytest.skip("PostgreSQL 14 tells its counters when it likes")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
