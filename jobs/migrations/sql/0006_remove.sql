ALTER TABLE jobs_job RESET (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, vacuum_index_cleanup
);
DROP FUNCTION jobs_claim(int, uuid, text, int, float8, int);
DROP FUNCTION jobs_choose(int, int, float8, int);
DROP INDEX job_claimed_host;
DROP FUNCTION jobs_lanes(uuid, smallint, int);
DROP FUNCTION jobs_turns(int);
DROP SEQUENCE jobs_turn;
DROP TRIGGER job_ended ON jobs_job;
DROP FUNCTION jobs_after_end();
