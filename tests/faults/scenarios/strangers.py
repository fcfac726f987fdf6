"""What targets and webhook receivers do to the service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from tests.faults import ledger
from tests.faults.processes import until
from tests.faults.rig import LEASE
from tests.faults.scenarios.row import Times, row

if TYPE_CHECKING:
    from tests.faults.rig import Rig

DEPTH = 100_000
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
        LEASE,
    )
    until(lambda: rig.jobs.state(deadly) == "failed", "the job has failed")
    return {}


@row("webhook receiver", "misbehaves")
def receiver_misbehaves(rig: Rig) -> Times:
    """500, hanging, a redirect inwards, 410 and a huge body: the others are told all the same."""
    rig.fleet.worker()
    modes = ("ok", "error", "hang", "redirect", "gone", "huge")
    endpoints = {mode: rig.client.register(f"{rig.receiver}/hook/{mode}/{mode}") for mode in modes}
    jobs = rig.client.submit_batch([rig.client.tag() for _ in range(20)])
    rig.jobs.wait_for_all(LEASE)
    until(lambda: {e["subject"] for e in received(rig, "ok")} >= set(jobs), "all jobs are told of")
    until(lambda: not is_active(rig, endpoints["gone"]["id"]), "410 disables")
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
