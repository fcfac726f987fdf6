"""The largest samples are found by an index; a revision that comes back is another deploy."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("performance", "0002_pg_stat_statements")]

    operations = [
        migrations.AlterField(
            model_name="deploy", name="revision", field=models.TextField()
        ),
        migrations.AddIndex(
            model_name="sample",
            index=models.Index(fields=["type", "-value"], name="sample_largest"),
        ),
    ]
