"""What can be done with jobs and batches beside submitting and reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api import answers
from jobs.api.auth import client_of
from jobs.api.documents import accepted_batch, accepted_job
from jobs.api.errors import JobEnded, NothingToRetry
from jobs.api.idempotency import idempotent
from jobs.api.views import IDEMPOTENCY_KEY, PROBLEM
from jobs.documents import batch_document, job_document
from jobs.models import UNSUCCESSFUL, Batch, Job, State
from jobs.selectors import batch_counts
from jobs.services import again, cancel_jobs, submit_batch, submit_job

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


class JobCancelView(APIView):
    """The end of one job."""

    @extend_schema(
        operation_id="cancel_job",
        request=None,
        responses={200: answers.JobDocument, "4XX": PROBLEM, 503: PROBLEM},
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Cancel a job that has not ended; a running one stops within a second."""
        client = client_of(request)
        cancel_jobs(client=client, jobs=[job_id])
        job = Job.objects.get(client=client, id=job_id)
        if job.state != State.CANCELLED:
            raise JobEnded(f"The job has {job.state} already.", job_status=job.state)
        return Response(job_document(job))


class JobRetryView(APIView):
    """Another go at one job."""

    @extend_schema(
        operation_id="retry_job",
        request=None,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: answers.AcceptedJob, "4XX": PROBLEM, 503: PROBLEM},
    )
    @idempotent
    def post(self, request: Request, job_id: UUID) -> Response:
        """Submit a job that failed or was cancelled again: a new job, with `retry_of`."""
        client = client_of(request)
        job = Job.objects.get(client=client, id=job_id)
        if job.state not in UNSUCCESSFUL:
            raise NothingToRetry(
                f"The job is {job.state}: only what failed or was cancelled is tried again.",
                job_status=job.state,
            )
        spec = again(job)
        created_at = submit_job(client=client, spec=spec)
        document = accepted_job(spec.id, spec.url, created_at)
        return Response(document, status=202, headers={"Location": document["links"]["self"]})


class BatchCancelView(APIView):
    """The end of one batch."""

    @extend_schema(
        operation_id="cancel_batch",
        request=None,
        responses={200: answers.BatchDocument, "4XX": PROBLEM, 503: PROBLEM},
    )
    def post(self, request: Request, batch_id: UUID) -> Response:
        """Cancel every job of a batch that has not ended."""
        client = client_of(request)
        batch = Batch.objects.get(client=client, id=batch_id)
        cancel_jobs(client=client, batch=batch.id)
        return Response(batch_document(batch, batch_counts(batch)))


class BatchRetryView(APIView):
    """Another go at one batch."""

    @extend_schema(
        operation_id="retry_batch",
        request=None,
        parameters=[IDEMPOTENCY_KEY],
        responses={202: answers.AcceptedBatch, "4XX": PROBLEM, 503: PROBLEM},
    )
    @idempotent
    def post(self, request: Request, batch_id: UUID) -> Response:
        """Submit the jobs of a batch that failed or were cancelled again, as a new batch."""
        client = client_of(request)
        batch = Batch.objects.get(client=client, id=batch_id)
        jobs = Job.objects.filter(batch=batch, state__in=UNSUCCESSFUL).order_by("id")
        specs = [again(job) for job in jobs]
        if not specs:
            raise NothingToRetry("No job of this batch has failed or was cancelled.")
        following = submit_batch(client=client, specs=specs, metadata=batch.metadata)
        document = accepted_batch(following, specs)
        return Response(document, status=202, headers={"Location": document["links"]["self"]})
