"""The queue can be paused: a row that `jobs_claim` looks at."""

from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):

    dependencies = [
        ("jobs", "0010_key_scopes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("queue", models.TextField(default="scrape", primary_key=True, serialize=False)),
                ("began_at", models.DateTimeField()),
                ("reason", models.TextField(blank=True, default="")),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(
            (SQL / "0011_claim.sql").read_text(),
            "DROP FUNCTION jobs_claim(int, uuid, text, int, float8, int);"
            + (SQL / "0006_claim.sql").read_text(),
        ),
    ]
