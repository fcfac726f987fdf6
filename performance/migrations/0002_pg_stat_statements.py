"""Creates pg_stat_statements where this user may and the server has it; else the console says so."""

from django.db import migrations

# Without the right or the library everything else still works, so nothing may fail here.
CREATE = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'pg_stat_statements was not created: %', SQLERRM;
END
$$
"""


class Migration(migrations.Migration):

    dependencies = [("performance", "0001_records")]

    # It stays when this is undone: somebody else may use it.
    operations = [migrations.RunSQL(CREATE, migrations.RunSQL.noop)]
