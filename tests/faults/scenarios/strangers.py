"""What targets and webhook receivers do to the service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from tests.faults import ledger
from tests.faults.processes import until
from tests.faults.scenarios.row import Times, row

if TYPE_CHECKING:
    from tests.faults.rig import Rig

DEPTH = 100_000
# Less than what would hold the others up: the sandbox's deadline and the sender's timeout.
UNAFFECTED = 8.0
ANSWERS = {("ok", 200), ("error", 500), ("redirect", 307), ("gone", 410), ("huge", 200)}
EVERYTHING = {"formats": ["html", "text", "links", "metadata"]}


@row("document that kills its parser", "always")
def deadly_document(rig: Rig) -> Times:
    """It fails for good, and those beside it on the same worker notice nothing."""
    rig.fleet.worker()
    deadly = rig.client.submit(str(DEPTH), page="deep", options=EVERYTHING)
    neighbours = rig.client.submit_batch([rig.client.tag() for _ in range(20)])
    until(
        lambda: all(rig.jobs.state(job) == "succeeded" for job in neighbours),
        "the neighbours have succeeded",
        UNAFFECTED,
    )
    until(lambda: rig.jobs.state(deadly) == "failed", "the job has failed")
    assert rig.jobs.error(deadly) == "parser_failed"
    assert rig.jobs.moves(deadly) == ["running", "failed"]
    assert all(rig.jobs.moves(job) == ["running", "succeeded"] for job in neighbours)
    return {}


@row("webhook receiver", "misbehaves")
def receiver_misbehaves(rig: Rig) -> Times:
    """500, hanging, a redirect inwards, 410 and a huge body: the others are told all the same."""
    rig.fleet.worker()
    modes = ("ok", "error", "hang", "redirect", "gone", "huge")
    endpoints = {mode: rig.client.register(f"{rig.receiver}/hook/{mode}/{mode}") for mode in modes}
    jobs = rig.client.submit_batch([rig.client.tag() for _ in range(20)])
    rig.jobs.wait_for_all(UNAFFECTED)
    until(lambda: {e["subject"] for e in received(rig, "ok")} >= set(jobs), "all jobs are told of")
    until(lambda: answers(rig) >= ANSWERS, "all but the hanging one have answered")
    until(lambda: not is_active(rig, endpoints["gone"]["id"]), "410 disables")
    assert all(outbox(rig, endpoints[mode]["id"]) == set(jobs) for mode in modes if mode != "gone")
    secret = endpoints["ok"]["secret"]
    assert all(is_signed(entry, secret) for entry in received(rig, "ok"))
    for endpoint in endpoints.values():
        rig.client.request("DELETE", endpoint["links"]["self"])
    return {}


def received(rig: Rig, name: str) -> list[dict[str, Any]]:
    """What an endpoint was sent, each entry with its `subject`, the job."""
    entries = ledger.read(rig.directory / "receiver.jsonl")
    return [
        entry | {"subject": json.loads(entry["body"])["data"]["id"]}
        for entry in entries
        if entry["name"] == name
    ]


def outbox(rig: Rig, endpoint: str) -> set[str]:
    """The jobs that an endpoint is told of, or was, or will be."""
    rows = rig.postgres.query(
        "SELECT subject::text FROM jobs_delivery WHERE endpoint_id = %s", endpoint
    )
    return {job for (job,) in rows}


def answers(rig: Rig) -> set[tuple[str, int]]:
    """How receivers have answered, by the name at the end of their URLs: what was redirected and
    followed would have another status."""
    rows = rig.postgres.query(
        "SELECT DISTINCT substring(url FROM '[a-z]+$'), status_code"
        " FROM jobs_deliveryattempt attempt"
        " JOIN jobs_delivery delivery ON delivery.id = attempt.delivery_id"
        " JOIN jobs_webhookendpoint endpoint ON endpoint.id = delivery.endpoint_id"
    )
    return {(name, status) for name, status in rows}


def is_active(rig: Rig, endpoint: str) -> bool:
    """Whether an endpoint is still told of anything."""
    ((active,),) = rig.postgres.query(
        "SELECT is_active FROM jobs_webhookendpoint WHERE id = %s", endpoint
    )
    return bool(active)


def is_signed(entry: dict[str, Any], secret: str) -> bool:
    """Whether a message carries a signature by Standard Webhooks with that secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{entry['id']}.{entry['timestamp']}.{entry['body']}".encode()
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return f"v1,{expected}" in entry["signature"].split()
