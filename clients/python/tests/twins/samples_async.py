"""Samples are found, worked on and verified. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import pytest
from conftest import DATASETS, LIMIT, scenario

from sandshell import (
    AsyncSamples,
    AsyncSandbox,
    AsyncVerification,
    FailedPrecondition,
    NotFound,
    VerificationStatus,
)


@scenario
async def test_samples_are_found(catalogue: str) -> None:
    samples = AsyncSamples(catalogue)
    (dataset,) = [dataset async for dataset in samples.datasets()]
    found = [sample async for sample in samples.list(dataset.name)]
    assert dataset.sample_count == len(found) > 3 and sum(dataset.languages.values()) == len(found)
    one = [sample async for sample in samples.list(language="python", text=found[0].title)] or found
    sample = await samples.get(one[0].sample_id)
    assert (sample.sample_id, sample.title, sample.dataset) == (one[0].sample_id, one[0].title, dataset.name)
    assert sample.description and not one[0].description and sample.verification_timeout > 0 and sample.fingerprint
    with pytest.raises(NotFound) as missing:
        await samples.get("none", dataset.name)
    assert missing.value.reason == "SAMPLE_NOT_FOUND"
    assert [sample async for sample in samples.list(tags=["no-such-tag"])] == []


@scenario
async def test_a_sandbox_is_made_from_a_sample(catalogue: str) -> None:
    async with await AsyncSandbox.create(sample="first-steps/python-intervals", server=catalogue) as sandbox:
        assert (await sandbox.info()).sample == "first-steps/python-intervals"
        session = await sandbox.default_session()
        assert (await session.exec("pwd; git log --oneline | wc -l")).stdout == "/workspace\n1\n"
    with pytest.raises(NotFound) as missing:
        await AsyncSandbox.create(sample="none", server=catalogue)
    assert missing.value.reason == "SAMPLE_NOT_FOUND"
    async with await AsyncSandbox.create(server=catalogue) as plain:
        with pytest.raises(NotFound):
            await plain.default_session()


@scenario
async def test_what_was_done_in_a_sample_is_verified(catalogue: str) -> None:
    sample = await AsyncSamples(catalogue).get("python-intervals")
    patch = (DATASETS / "first-steps/python-intervals/reference.patch").read_text()
    async with await AsyncSandbox.create(sample="first-steps/python-intervals", server=catalogue) as sandbox:
        assert (await sandbox.info()).sample == "first-steps/python-intervals"
        session = await sandbox.default_session()
        assert (await session.exec("pwd")).stdout == "/workspace\n"
        before = await sandbox.verify(timeout=LIMIT)
        assert before.state == "completed" and before.result is not None
        assert not before.result.is_success and before.result.reason == "TESTS_FAILED" and before.result.failed > 0
        await session.exec("patch -p1", stdin=patch, check=True)
        verification = await sandbox.start_verification()
        events = [event async for event in verification.watch()]
        after = events[-1]
        assert isinstance(after, VerificationStatus) and after.result is not None and after.result.is_success
        assert after.result.passed == after.result.total == len(after.result.tests) > 3
        assert {test.outcome for test in after.result.tests} == {"passed"} and after.result.changes
        again = await AsyncVerification.get(verification.verification_id, server=catalogue)
        assert (await again.status()).result == (await again.cancel()).result == after.result
    by_patch = await (await AsyncVerification.of_patch(sample.sample_id, patch, server=catalogue)).wait(LIMIT)
    assert by_patch.result is not None and by_patch.result.is_success and by_patch.sandbox_id == ""
    cancelled = await AsyncVerification.of_patch("python-intervals", server=catalogue)
    with pytest.raises(TimeoutError):
        await cancelled.wait(0.001)
    assert (await cancelled.cancel()).state in ("pending", "starting", "running", "cancelled", "completed")
    assert (await cancelled.wait(LIMIT)).is_over
    async with await AsyncSandbox.create(server=catalogue) as plain:
        with pytest.raises(FailedPrecondition) as none:
            await plain.verify()
        assert none.value.reason == "NO_SAMPLE"
        with pytest.raises(NotFound):
            await plain.default_session()
