"""Every statement of the deliveries. Their rows are inserted by what migration 0006 installs."""

from __future__ import annotations

# Of one endpoint, per worker.
MOST_PER_ENDPOINT = 5

# $1 deliveries at most, $2 endpoints with less room than usual, $3 the room of each, $4 seconds
# after which the claim is void. `waiting` hops from endpoint to endpoint in the index
# `delivery_due`, and the next delivery of each comes before the second one of any: a million that
# wait for one receiver are neither read nor in the way. The number of the try fences what is
# recorded of it.
CLAIM = f"""
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id, next_attempt_at FROM jobs_delivery
     WHERE status = 'pending' ORDER BY endpoint_id, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT following.* FROM waiting CROSS JOIN LATERAL (
        SELECT endpoint_id, next_attempt_at FROM jobs_delivery
        WHERE status = 'pending' AND endpoint_id > waiting.endpoint_id
        ORDER BY endpoint_id, next_attempt_at LIMIT 1
    ) following
), due AS (
    SELECT due.id
    FROM waiting
    JOIN jobs_webhookendpoint endpoint ON endpoint.id = waiting.endpoint_id AND endpoint.is_active
    JOIN jobs_client client ON client.id = endpoint.client_id AND client.is_active
    LEFT JOIN unnest($2::uuid[], $3::int[]) AS busy (endpoint_id, room)
        ON busy.endpoint_id = endpoint.id
    CROSS JOIN LATERAL (
        SELECT id, next_attempt_at, row_number() OVER (ORDER BY next_attempt_at) AS place
        FROM jobs_delivery
        WHERE endpoint_id = endpoint.id AND status = 'pending' AND next_attempt_at <= now()
        ORDER BY next_attempt_at LIMIT {MOST_PER_ENDPOINT}
    ) due
    WHERE waiting.next_attempt_at <= now()
      AND due.place <= coalesce(busy.room, {MOST_PER_ENDPOINT})
    ORDER BY due.place, due.next_attempt_at LIMIT $1
), locked AS (
    SELECT id FROM jobs_delivery
    WHERE id = ANY (ARRAY (SELECT id FROM due)) AND status = 'pending' AND next_attempt_at <= now()
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs_delivery delivery
SET attempts = delivery.attempts + 1, next_attempt_at = now() + make_interval(secs => $4)
FROM locked, jobs_webhookendpoint endpoint
WHERE delivery.id = locked.id AND endpoint.id = delivery.endpoint_id
RETURNING delivery.id, delivery.endpoint_id, delivery.attempts AS number, delivery.event,
    delivery.subject, delivery.created_at, endpoint.url, endpoint.secret,
    CASE WHEN endpoint.previous_until > now() THEN endpoint.previous_secret ELSE '' END
        AS previous_secret
"""  # noqa: S608  constants only

# Parallel arrays, one element a try; `delay` in seconds. A try that was taken for lost changes
# nothing any more, unless it was the one that succeeded. What was deleted meanwhile is left out.
RECORD = """
WITH outcome AS (
    SELECT o.*, delivery.endpoint_id
    FROM unnest(
        $1::uuid[], $2::smallint[], $3::text[], $4::float8[], $5::timestamptz[], $6::float8[],
        $7::smallint[], $8::text[]
    ) AS o (delivery_id, number, status, delay, at, milliseconds, status_code, error)
    JOIN jobs_delivery delivery ON delivery.id = o.delivery_id
), logged AS (
    INSERT INTO jobs_deliveryattempt (delivery_id, number, at, milliseconds, status_code, error)
    SELECT delivery_id, number, at, milliseconds, status_code, error FROM outcome
    ON CONFLICT DO NOTHING
), gone AS (
    UPDATE jobs_webhookendpoint endpoint
    SET is_active = false, disabled_reason = outcome.error
    FROM outcome
    WHERE endpoint.id = outcome.endpoint_id AND outcome.status_code = 410 AND endpoint.is_active
)
UPDATE jobs_delivery delivery
SET status = outcome.status,
    next_attempt_at = now() + make_interval(secs => outcome.delay),
    delivered_at = CASE WHEN outcome.status = 'delivered' THEN outcome.at END
FROM outcome
WHERE delivery.id = outcome.delivery_id AND delivery.status <> 'delivered'
  AND (delivery.attempts = outcome.number OR outcome.status = 'delivered')
"""

JOBS = "SELECT * FROM jobs_job WHERE id = ANY ($1::uuid[])"
BATCHES = "SELECT * FROM jobs_batch WHERE id = ANY ($1::uuid[])"
BATCH_COUNTS = """
SELECT batch_id, state, count(*) AS jobs FROM jobs_job
WHERE batch_id = ANY ($1::uuid[]) GROUP BY batch_id, state
"""

# psycopg's parameters: the endpoint, and how many deliveries at most.
LOCK_SOME = "SELECT id FROM jobs_delivery WHERE endpoint_id = %s LIMIT %s FOR UPDATE"
FORGET = """
WITH log AS (
    DELETE FROM jobs_deliveryattempt WHERE delivery_id = ANY (%(deliveries)s)
)
DELETE FROM jobs_delivery WHERE id = ANY (%(deliveries)s)
"""
