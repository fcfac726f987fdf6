"""The SQL that writes what was recorded; rows are given as one JSON array of objects.

That is a third of the cost of an array for each column, most of which is spent in Python.
"""

# One writer at a time in the whole fleet, so that what it reads it can write again merged.
# The comment, here and elsewhere, tells what the console asks from what the service asks.
TRY_LOCK = """
SELECT pg_try_advisory_xact_lock(hashtext('performance.digest')),
    set_config('synchronous_commit', 'off', true)
/* performance_console */
"""

TRY_LOCK_TRIM = """
SELECT pg_try_advisory_xact_lock(hashtext('performance.trim'))
/* performance_console */
"""

KNOWN_AGGREGATES = """
SELECT known.type, known.period, known.instance, known.bucket, known.key,
    known.count, known.sum, known.max, known.histogram, known.is_sampled
FROM json_to_recordset(%s::json)
    AS wanted (type text, period int, instance text, bucket timestamptz, key text)
JOIN performance_aggregate known USING (type, period, instance, bucket, key)
"""

# How many keys there are already.
TAKEN = """
SELECT wanted.type, wanted.period, wanted.instance, wanted.bucket, (
    SELECT count(*) FROM performance_aggregate kept
    WHERE (kept.type, kept.period, kept.instance, kept.bucket)
        = (wanted.type, wanted.period, wanted.instance, wanted.bucket)
)
FROM json_to_recordset(%s::json)
    AS wanted (type text, period int, instance text, bucket timestamptz)
"""

UPSERT_AGGREGATES = """
INSERT INTO performance_aggregate
    (type, period, instance, bucket, key, count, sum, max, histogram, is_sampled)
SELECT type, period, instance, bucket, key, count, sum, max, decode(histogram, 'base64'),
    is_sampled
FROM json_to_recordset(%s::json) AS told (
    type text, period int, instance text, bucket timestamptz, key text,
    count float8, sum float8, max float8, histogram text, is_sampled bool
)
ON CONFLICT (type, period, instance, bucket, key) DO UPDATE
SET count = excluded.count, sum = excluded.sum, max = excluded.max,
    histogram = excluded.histogram, is_sampled = excluded.is_sampled
"""

# Seconds are read many times faster than times.
BUCKETS = """
SELECT type, key, extract(epoch FROM bucket)::int8, count, sum, max, is_sampled,
    CASE WHEN NOT %s THEN histogram END
FROM performance_aggregate
WHERE type = ANY(%s) AND period = %s AND instance = %s AND bucket > %s
    AND (%s::text[] IS NULL OR key = ANY(%s::text[]))
"""

# The same of all keys together, of the buckets from one moment until another.
SUMS_BY_BUCKET = """
SELECT type, extract(epoch FROM bucket)::int8, sum(count), sum(sum)
FROM performance_aggregate
WHERE type = ANY(%s) AND period = %s AND instance = %s AND bucket >= %s AND bucket < %s
GROUP BY type, bucket
"""

# What the minutes between two moments add to the longer windows.
MINUTES = """
SELECT type, instance, bucket, key, count, sum, max, histogram, is_sampled
FROM performance_aggregate
WHERE period = %s AND bucket >= %s AND bucket < %s
"""

# By the clock that it is read by: who spoke last is alive, whatever Valkey's clock says.
UPSERT_VALUES = """
INSERT INTO performance_value (type, instance, document, updated_at)
SELECT type, instance, document, now() - make_interval(secs => age)
FROM json_to_recordset(%s::json)
    AS told (type text, instance text, document jsonb, age float8)
ON CONFLICT (type, instance) DO UPDATE
SET document = excluded.document, updated_at = excluded.updated_at
"""

UPSERT_SUBJECTS = """
INSERT INTO performance_subject (type, key, document, seen_at)
SELECT type, key, document, seen_at
FROM json_to_recordset(%s::json)
    AS told (type text, key text, document jsonb, seen_at timestamptz)
ON CONFLICT (type, key) DO UPDATE SET document = excluded.document, seen_at = excluded.seen_at
"""

INSERT_SAMPLES = """
INSERT INTO performance_sample (type, key, instance, value, recorded_at, document)
SELECT type, key, instance, value, recorded_at, document
FROM json_to_recordset(%s::json) AS told (
    type text, key text, instance text, value float8, recorded_at timestamptz, document jsonb
)
"""

# Of each name all but so many, at most so many rows.
THIN_SAMPLES = """
DELETE FROM performance_sample WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY type, key ORDER BY value DESC, id) AS place
        FROM performance_sample WHERE recorded_at >= %s AND recorded_at < %s
    ) ranked
    WHERE place > %s LIMIT %s
)
"""
