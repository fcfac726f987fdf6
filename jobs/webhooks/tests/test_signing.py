"""Signatures, checked by the receivers' own library."""

import base64
import json
import time
from uuid import UUID, uuid4

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobs.webhooks.signing import new_secret, shown_secret, signed_headers

BODY = b'{"type":"job.succeeded"}'


def headers(*secrets, body=BODY):
    return signed_headers(uuid4(), body, timestamp=int(time.time()), secrets=secrets)


def test_a_signed_message_is_verified():
    secret = new_secret()
    assert Webhook(shown_secret(secret)).verify(BODY, headers(secret)) == json.loads(BODY)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp"])
def test_a_changed_header_is_noticed(changed):
    secret = new_secret()
    signed = headers(secret)
    signed[changed] = str(int(time.time()) - 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(secret)).verify(BODY, signed)


def test_a_changed_body_is_noticed():
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(secret)).verify(BODY + b" ", headers(secret))


def test_while_rotating_either_secret_verifies_and_no_other():
    new, previous = new_secret(), new_secret()
    signed = headers(new, previous)
    for secret in (new, previous):
        Webhook(shown_secret(secret)).verify(BODY, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(new_secret())).verify(BODY, signed)


def test_a_secret_is_32_random_bytes():
    first, second = new_secret(), new_secret()
    assert len(base64.b64decode(first)) == 32
    assert first != second
    assert shown_secret(first) == f"whsec_{first}"


def test_the_signature_covers_id_timestamp_and_body_joined_by_dots():
    # Made with `openssl dgst -sha256 -mac HMAC`.
    signed = signed_headers(
        UUID(int=1), b"{}", timestamp=1_700_000_000, secrets=[base64.b64encode(b"k" * 32).decode()]
    )
    assert signed == {
        "webhook-id": "00000000-0000-0000-0000-000000000001",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,50GOfI7me8g2UKWH9/FkFTjgdRXmVZd4aGfRS2Pyc8M=",
    }
