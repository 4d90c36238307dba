"""Verification: whether the task of a sample was done, test by test."""

import pathlib
import time

from sandshell import Sandbox, Verification

SAMPLE = "first-steps/python-intervals"
DATASETS = pathlib.Path(__file__).resolve().parent.parent.parent.parent.parent / "examples/datasets"
# An agent would find it out; here it is the reference.
SOLUTION = (DATASETS / SAMPLE / "reference.patch").read_text()

with Sandbox.create(sample=SAMPLE) as sandbox:
    session = sandbox.default_session()
    # 3. Verification, at any point. Nothing is done yet, so it is no success.
    job = sandbox.start_verification()

    # Poll for the result, as the original does ...
    while True:
        status = job.status()
        if status.state in ("completed", "error", "cancelled"):
            break
        time.sleep(0.2)
    assert status.state == "completed" and status.result is not None
    print(f"Verification successful: {status.result.is_success} ({status.result.message})")
    assert not status.result.is_success and status.result.reason == "TESTS_FAILED"

    # ... or wait for it.
    session.exec("patch -p1", stdin=SOLUTION, check=True)
    status = sandbox.verify(timeout=300)
    assert status.result is not None and status.result.is_success
    for test in status.result.tests:
        print(f"{test.outcome}: {test.name}")

# A patch needs nobody's sandbox.
status = Verification.of_patch(SAMPLE, SOLUTION).wait(timeout=300)
assert status.result is not None and status.result.is_success
