"""PgQueuer's own schema, from its own builder, with its vacuum settings for a busy queue.

The queue is durable; the engine's log and statistics are not (their truth is in our own tables).
Later versions of PgQueuer's schema become migrations of their own.
"""

from django.db import migrations
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.domain.settings import DBSettings, Durability

builder = QueryBuilderEnvironment(DBSettings(durability=Durability.balanced))


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]

    operations = [
        migrations.RunSQL(builder.build_install_query(), builder.build_uninstall_query()),
        migrations.RunSQL(
            builder.build_optimize_autovacuum_query(),
            builder.build_optimize_autovacuum_rollback_query(),
        ),
    ]
