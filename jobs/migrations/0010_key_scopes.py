"""Keys say what they open; those that exist open the jobs API as before."""

import django.contrib.postgres.fields
from django.db import migrations, models

import jobs.models.clients


class Migration(migrations.Migration):

    dependencies = [("jobs", "0009_index_repeats")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(
                    choices=[
                        ("jobs", "jobs, schedules and webhooks"),
                        ("performance:read", "the performance console's data"),
                        ("performance:optimize", "the performance console's actions"),
                    ]
                ),
                db_default=["jobs"],
                default=jobs.models.clients.usual_scopes,
                size=None,
            ),
        )
    ]
