"""Jobs in the admin: shown, not changed, and never rendered as markup."""

import pytest

from jobs.engine.queue import JobSpec, enqueue

PAGES = ["job", "batch", "client", "apikey"]


@pytest.mark.parametrize("name", PAGES)
def test_a_listing_opens(admin_client, tenant, name):
    assert admin_client.get(f"/admin/jobs/{name}/").status_code == 200


def test_a_hostile_url_is_shown_as_text(admin_client, tenant):
    url = "http://example.com/<script>alert(1)</script>"
    spec = JobSpec(url=url, formats=("html",), max_attempts=1, timeout=1)
    enqueue([spec], client_id=tenant.client.id)
    for path in ("", f"{spec.id}/change/"):
        page = admin_client.get(f"/admin/jobs/job/{path}").content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert(1)" not in page


def test_a_job_cannot_be_changed_by_hand(admin_client, tenant):
    assert admin_client.get("/admin/jobs/job/add/").status_code == 403


def test_a_keys_digest_is_not_shown(admin_client, tenant):
    key = tenant.client.keys.get()
    page = admin_client.get(f"/admin/jobs/apikey/{key.id}/change/").content.decode()
    assert "digest" not in page.lower()
