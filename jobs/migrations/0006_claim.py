"""What PostgreSQL itself does with jobs: it shares out claims, and sees to what follows an end.

docs/adr/0006 says why claims are shared out here, docs/adr/0007 why ends are followed up here.
"""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parent / "sql"
PARTS = ("after_end", "choose", "claim")


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_promises")]

    operations = [
        migrations.RunSQL(
            "".join((SQL / f"0006_{part}.sql").read_text() for part in PARTS),
            (SQL / "0006_remove.sql").read_text(),
        )
    ]
