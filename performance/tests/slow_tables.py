"""A table of a model, large enough for a missing index to matter."""

from django.db import connection

# There is no index on `instance`.
SQL = "SELECT * FROM performance_sample WHERE instance = %s AND value > %s"
FILL = """
INSERT INTO performance_sample (type, key, instance, value, recorded_at, document)
SELECT 't', 'k', 'web/' || number, number, now(), '{}' FROM generate_series(0, 19999) number
"""


def fill_samples():
    """Twenty thousand samples, each of another instance."""
    with connection.cursor() as cursor:
        cursor.execute(FILL)
        cursor.execute("ANALYZE performance_sample")
