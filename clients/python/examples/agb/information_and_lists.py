"""Information, and lists: filters, pages, totals."""

import uuid

from sandshell import Sandbox

# The server may have sandboxes of others.
project = f"demo-{uuid.uuid4()}"
sandboxes = [Sandbox.create(labels={"project": project, "environment": env}) for env in ("testing", "testing", "staging")]
try:
    # Information.
    info = sandboxes[0].info()
    print(f"Sandbox ID: {info.sandbox_id}, state {info.state}, image {info.image}, made {info.created}, expires {info.expires}")
    assert info.state == "running" and info.sandbox_id == sandboxes[0].sandbox_id and info.labels["project"] == project

    # All active sandboxes.
    ids = [info.sandbox_id for info in Sandbox.list()]
    assert {sandbox.sandbox_id for sandbox in sandboxes} <= set(ids)

    # Filtered by labels.
    testing = Sandbox.list({"project": project, "environment": "testing"})
    assert [info.sandbox_id for info in testing] == [sandbox.sandbox_id for sandbox in sandboxes[:2]]
    assert testing.total() == 2

    # Pages: what comes next, and how many there are.
    page = Sandbox.list({"project": project}, page_size=2).page(1)
    print(f"Page 1 (showing {len(page.sandboxes)} of {page.total}), next page token: {page.next_token}")
    assert (len(page.sandboxes), page.total) == (2, 3) and page.next_token is not None
    rest = Sandbox.list({"project": project}, page_token=page.next_token).page()
    assert [info.labels["environment"] for info in rest.sandboxes] == ["staging"] and rest.next_token is None

    # Page 2 with 10 items a page: there is none, so it is empty.
    page = Sandbox.list({"project": project}, page_size=10).page(2)
    assert (page.sandboxes, page.total, page.next_token) == ((), 3, None)
finally:
    for sandbox in sandboxes:
        sandbox.delete()

# Active sandboxes only: what was deleted is not listed any more.
assert Sandbox.list({"project": project}).total() == 0
