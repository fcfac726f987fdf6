"""The SQL that writes what was recorded; each takes one array a column."""

# One writer at a time in the whole fleet, so that what it reads it can write again merged.
TRY_LOCK = """
SELECT pg_try_advisory_xact_lock(hashtext('performance.digest')),
    set_config('synchronous_commit', 'off', true)
"""

KNOWN_AGGREGATES = """
SELECT known.type, known.period, known.instance, known.bucket, known.key,
    known.count, known.sum, known.max, known.histogram, known.is_sampled
FROM unnest(%s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::text[])
    AS wanted (type, period, instance, bucket, key)
JOIN performance_aggregate known USING (type, period, instance, bucket, key)
"""

UPSERT_AGGREGATES = """
INSERT INTO performance_aggregate
    (type, period, instance, bucket, key, count, sum, max, histogram, is_sampled)
SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::text[],
    %s::float8[], %s::float8[], %s::float8[], %s::bytea[], %s::bool[])
ON CONFLICT (type, period, instance, bucket, key) DO UPDATE
SET count = excluded.count, sum = excluded.sum, max = excluded.max,
    histogram = excluded.histogram, is_sampled = excluded.is_sampled
"""

UPSERT_VALUES = """
INSERT INTO performance_value (type, instance, document, updated_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::timestamptz[])
ON CONFLICT (type, instance) DO UPDATE
SET document = excluded.document, updated_at = excluded.updated_at
"""

UPSERT_SUBJECTS = """
INSERT INTO performance_subject (type, key, document, seen_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::timestamptz[])
ON CONFLICT (type, key) DO UPDATE SET document = excluded.document, seen_at = excluded.seen_at
"""

INSERT_SAMPLES = """
INSERT INTO performance_sample (type, key, instance, value, recorded_at, document)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::float8[], %s::timestamptz[],
    %s::jsonb[])
"""
