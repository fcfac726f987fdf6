"""An index for who repeated a job; and the models learn of an index that 0006 made."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # as an index that is made beside a running service demands

    dependencies = [("jobs", "0008_duties")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddIndex(
                    model_name="job",
                    index=models.Index(
                        fields=["host"],
                        name="job_claimed_host",
                        condition=models.Q(claim_token__isnull=False),
                    ),
                )
            ]
        ),
        AddIndexConcurrently(
            model_name="job",
            index=models.Index(
                fields=["retry_of"],
                name="job_retry_of",
                condition=models.Q(retry_of__isnull=False),
            ),
        ),
    ]
