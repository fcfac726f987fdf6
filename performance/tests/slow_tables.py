"""A table of a model, large enough for a missing index to matter."""

from django.db import connection
from django.utils import timezone

from performance.models import Sample

# There is no index on `instance`.
SQL = "SELECT * FROM performance_sample WHERE instance = %s AND value > %s"


def fill_samples():
    """Twenty thousand samples, each of another instance."""
    now = timezone.now()
    Sample.objects.bulk_create(
        Sample(type="t", key="k", instance=f"web/{n}", value=n, recorded_at=now, document={})
        for n in range(20_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE performance_sample")
