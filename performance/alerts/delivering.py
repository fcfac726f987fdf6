"""Tells what is due: mails from any process, webhooks from workers.

A web process runs under gevent, where asyncio would stop all its requests; the guard against
private addresses is asyncio's. So webhooks wait until there is a worker, and mails do not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage
from django.utils import timezone

from jobs.conf import job_settings
from jobs.fetching import AddressPolicy
from jobs.webhooks import Sender
from jobs.webhooks.signing import signed_headers
from performance.alerts import messages, notices
from performance.conf import performance_settings
from performance.models import AlertChannel

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from jobs.webhooks.sending import Answer
    from performance.models import AlertNotice

EMAIL, WEBHOOK = AlertChannel.Kind.EMAIL, AlertChannel.Kind.WEBHOOK
KINDS = {"worker": (EMAIL, WEBHOOK)}
KINDS_ELSEWHERE = (EMAIL,)
NO_MAIL = "No mail server is set: see EMAIL_HOST."


def kinds_for(role: str) -> Collection[str]:
    """What kinds of channels a process of that role can tell."""
    return KINDS.get(role, KINDS_ELSEWHERE)


def deliver(kinds: Collection[str], now: datetime) -> int:
    """Post what is due, and send a mail, once each; returns how many tries were made.

    Raises django.db.Error.
    """
    posts = notices.claim([WEBHOOK], now) if WEBHOOK in kinds else []
    if posts:
        bodies = [messages.body(one, now) for one in posts]
        answers = asyncio.run(post_all(posts, bodies))
        for notice, answer in zip(posts, answers, strict=True):
            notices.record(
                notice, answer.error, timezone.now(),
                is_final=answer.is_final, retry_after=answer.retry_after,
            )  # fmt: skip
    # One at a time: a slow server would keep those behind it for longer than a claim holds.
    mails = notices.claim([EMAIL], now, most=1) if EMAIL in kinds else []
    for notice in mails:
        notices.record(notice, mail(notice), timezone.now())
    return len(posts) + len(mails)


def mail(notice: AlertNotice) -> str:
    """Send it as a mail; returns what went wrong, empty when nothing did."""
    sender = performance_settings().mail_from
    if not sender:
        return NO_MAIL
    message = EmailMessage(
        messages.subject(notice),
        messages.text(notice),
        sender,
        [notice.channel.target],
        headers={"Message-ID": f"<{messages.message_id(notice)}@{sender.rpartition('@')[2]}>"},
    )
    try:
        message.send()
    except (OSError, ValueError) as error:
        # smtplib's errors are OSErrors; ValueErrors are of addresses that cannot be written.
        return f"{type(error).__name__}: {error}"
    return ""


async def post_all(due: Sequence[AlertNotice], bodies: Sequence[bytes]) -> list[Answer]:
    """Post each to its channel, all at once."""
    policy = AddressPolicy.parse(job_settings().allowed_addresses)
    async with Sender(policy, user_agent=job_settings().user_agent) as sender:
        posts = [post(sender, *one) for one in zip(due, bodies, strict=True)]
        return list(await asyncio.gather(*posts))


async def post(sender: Sender, notice: AlertNotice, body: bytes) -> Answer:
    """Post it, signed."""
    headers = signed_headers(
        messages.message_id(notice),
        body,
        timestamp=int(time.time()),
        secrets=[notice.channel.secret],
    )
    return await sender.post(notice.channel.target, body, headers)
