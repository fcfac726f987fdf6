"""The endpoints: parse, call, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from django.db import connection
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer.decorators import cached_response
from jobs import caching
from jobs.api import answers, payloads
from jobs.api.auth import client_of
from jobs.api.cursors import page_document, read_cursor
from jobs.api.documents import (
    accepted_batch,
    accepted_job,
    outcome_line,
    result_document,
    statistics_document,
    timeline_document,
)
from jobs.api.errors import NoResult, NotFinished, ResultPruned
from jobs.api.idempotency import HEADER, idempotent
from jobs.api.parsers import parse_body, parse_query
from jobs.api.renderers import OPTIONS
from jobs.documents import batch_document, job_document
from jobs.models import TERMINAL, Batch, Job, State
from jobs.selectors import JobFilter, batch_counts, finished_jobs, job_statistics, list_jobs
from jobs.services import submit_batch, submit_job, wait_until_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from rest_framework.request import Request

IDEMPOTENCY_KEY = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="A repeated request with the same key creates nothing twice; kept for 48 hours.",
)
PROBLEM = OpenApiResponse(answers.ProblemDocument, description="A problem document.")


def query_of(model: type[payloads.Payload]) -> list[Any]:
    """Query parameters for `extend_schema`, whose types do not know of pydantic's models."""
    return [model]


class JobsView(APIView):
    """Jobs of the calling client."""

    @extend_schema(
        operation_id="submit_job",
        request=payloads.JobRequest,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: answers.AcceptedJob, "4XX": PROBLEM, 503: PROBLEM},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Submit a job. The answer means that it is stored and will run at least once."""
        spec = parse_body(request, payloads.JobRequest).job_spec()
        created_at = submit_job(client=client_of(request), spec=spec)
        document = accepted_job(spec.id, spec.url, created_at)
        return Response(document, status=202, headers={"Location": document["links"]["self"]})

    @extend_schema(
        operation_id="list_jobs",
        parameters=query_of(payloads.JobQuery),
        responses={200: answers.JobPage, "4XX": PROBLEM},
    )
    @cached_response(
        caching.LISTINGS,
        parts=lambda request: (request.auth.id, request.query_params.dict()),
        tags=lambda request: (caching.listing_tag(request.auth.id),),
    )
    def get(self, request: Request) -> Response:
        """List jobs, newest first. Follow `next` until it is null."""
        client = client_of(request)
        query = parse_query(request, payloads.JobQuery)
        wanted = JobFilter(**query.model_dump(exclude={"cursor", "limit"}))
        before = read_cursor(client, query.cursor) if query.cursor else None
        jobs = list_jobs(client=client, limit=query.limit + 1, before=before, wanted=wanted)
        return Response(page_document(request, jobs, query.limit, job_document))


class JobStatisticsView(APIView):
    """What became of the calling client's jobs."""

    @extend_schema(
        operation_id="get_job_statistics",
        parameters=query_of(payloads.StatisticsQuery),
        responses={200: answers.StatisticsDocument, "4XX": PROBLEM},
    )
    @cached_response(
        caching.STATISTICS,
        parts=lambda request: (request.auth.id, request.query_params.dict()),
    )
    def get(self, request: Request) -> Response:
        """Count the jobs of a span of time by status and by error, and say how long they took."""
        query = parse_query(request, payloads.StatisticsQuery)
        now = timezone.now()
        start, end = span = query.span(now)
        wanted = JobFilter(created_after=start, created_before=end, host=query.host)
        statistics = job_statistics(client=client_of(request), wanted=wanted)
        return Response(statistics_document(statistics, as_of=now, span=span))


class JobView(APIView):
    """One job."""

    @extend_schema(
        operation_id="get_job",
        parameters=query_of(payloads.WaitQuery),
        responses={200: answers.JobDocument, "4XX": PROBLEM},
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Read a job; with `wait`, as soon as it is terminal or after that many seconds."""
        seconds = parse_query(request, payloads.WaitQuery).wait
        if not seconds:
            return self.current(request, job_id=job_id)
        job = wait_until_terminal(client=client_of(request), job_id=job_id, seconds=seconds)
        return Response(job_document(job))

    @cached_response(
        caching.STATUS,
        parts=lambda request, job_id: (request.auth.id, job_id),
        final=lambda document: document["status"] in TERMINAL,
    )
    def current(self, request: Request, job_id: UUID) -> Response:
        """The job as it stands."""
        return Response(job_document(Job.objects.get(client=client_of(request), id=job_id)))


class ResultView(APIView):
    """The result of one job."""

    @extend_schema(
        operation_id="get_result",
        responses={200: answers.ResultDocument, "4XX": PROBLEM},
    )
    @cached_response(caching.RESULTS, parts=lambda request, job_id: (request.auth.id, job_id))
    def get(self, request: Request, job_id: UUID) -> Response:
        """Read what a succeeded job found; 409 while there is nothing to read."""
        job = Job.objects.select_related("result").get(client=client_of(request), id=job_id)
        if not job.is_terminal:
            raise NotFinished(
                "The job has not finished. Read the job with `wait`.", job_status=job.state
            )
        if job.state != State.SUCCEEDED:
            raise NoResult(f"The job has {job.state}; its `error` says why.", job_status=job.state)
        if job.pruned_at is not None:
            raise ResultPruned(
                "The result is no longer kept. Retry the job to scrape again.",
                pruned_at=job.pruned_at,
            )
        return Response(result_document(job, job.result))


class TimelineView(APIView):
    """The story of one job."""

    @extend_schema(
        operation_id="get_job_timeline",
        responses={200: answers.TimelineDocument, "4XX": PROBLEM},
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Explain a job: what it has been through, how long each part took, what it waits for."""
        jobs = Job.objects.select_related("client")
        return Response(timeline_document(jobs.get(client=client_of(request), id=job_id)))


class BatchesView(APIView):
    """Batches of the calling client."""

    @extend_schema(
        operation_id="submit_batch",
        request=payloads.BatchRequest,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: answers.AcceptedBatch, "4XX": PROBLEM, 503: PROBLEM},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Submit up to 1,000 jobs: all are accepted, or none is."""
        body = parse_body(request, payloads.BatchRequest)
        specs = body.job_specs()
        batch = submit_batch(client=client_of(request), specs=specs, metadata=body.metadata)
        document = accepted_batch(batch, specs)
        return Response(document, status=202, headers={"Location": document["links"]["self"]})


class BatchView(APIView):
    """One batch."""

    @extend_schema(operation_id="get_batch", responses={200: answers.BatchDocument, "4XX": PROBLEM})
    @cached_response(
        caching.BATCHES,
        parts=lambda request, batch_id: (request.auth.id, batch_id),
        tags=lambda _request, batch_id: (caching.batch_tag(batch_id),),
    )
    def get(self, request: Request, batch_id: UUID) -> Response:
        """Read a batch with the number of its jobs in each status."""
        batch = Batch.objects.get(client=client_of(request), id=batch_id)
        return Response(batch_document(batch, batch_counts(batch)))


class BatchResultsView(APIView):
    """The results of one batch."""

    @extend_schema(
        operation_id="stream_batch_results",
        responses={
            (200, "application/x-ndjson"): OpenApiResponse(
                answers.ResultDocument,
                description="A JSON document a line: the results of the jobs that have finished, "
                "each with its `status`, and an `error` in place of the result where one failed.",
            ),
            "4XX": PROBLEM,
        },
    )
    def get(self, request: Request, batch_id: UUID) -> StreamingHttpResponse:
        """Stream the finished jobs of a batch as NDJSON, oldest first."""
        batch = Batch.objects.get(client=client_of(request), id=batch_id)
        return StreamingHttpResponse(
            ndjson(batch), content_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"}
        )


class SchemaView(SpectacularAPIView):
    """The OpenAPI document."""

    @extend_schema(exclude=True)
    # Whatever the query says, there is one: a key of its own would be a stranger's to choose.
    @cached_response(caching.SCHEMA, parts=lambda _request: (), vary=("Accept",))
    def get(self, request: Request) -> Response:
        """The document, in the format asked for."""
        return super().get(request)  # type: ignore[no-any-return,no-untyped-call]


def ndjson(batch: Batch) -> Iterator[bytes]:
    """A line a finished job; the database connection is given back while the reader reads."""
    for page in finished_jobs(batch):
        connection.close()
        yield b"".join(line(outcome_line(job)) for job in page)
    connection.close()


def line(document: dict[str, Any]) -> bytes:
    """One line of NDJSON."""
    return orjson.dumps(document, option=OPTIONS | orjson.OPT_APPEND_NEWLINE)
