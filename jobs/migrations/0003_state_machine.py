"""The state machine, kept by PostgreSQL whatever writes to the table.

The trigger's condition lists what is allowed, so a legal change never calls the function.
"""

from django.db import migrations

INSTALL = """
CREATE FUNCTION jobs_refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'job_state_machine';
END
$$;

CREATE TRIGGER job_state_machine BEFORE UPDATE OF state ON jobs_job
FOR EACH ROW WHEN (NOT (
    OLD.state = 'queued' AND NEW.state IN ('queued', 'running', 'failed', 'cancelled')
    OR OLD.state = 'running'
))
EXECUTE FUNCTION jobs_refuse_transition();
"""

REMOVE = """
DROP TRIGGER job_state_machine ON jobs_job;
DROP FUNCTION jobs_refuse_transition();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_engine")]

    operations = [migrations.RunSQL(INSTALL, REMOVE)]
