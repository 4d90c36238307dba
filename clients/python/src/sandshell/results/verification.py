"""What the server says of samples, and what verifications come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """A set of samples."""

    name: str
    title: str
    description: str
    sample_count: int
    languages: dict[str, int]
    """How many samples there are in each programming language."""

    @classmethod
    def _of(cls, dataset: Any) -> Dataset:
        return cls(dataset.name, dataset.title, dataset.description, dataset.sample_count, dict(dataset.languages))


@dataclass(frozen=True)
class Sample:
    """A code base and a task."""

    dataset: str
    sample_id: str
    title: str
    language: str
    tags: tuple[str, ...]
    image: str
    version: str
    description: str
    """The task, as Markdown. Empty in lists."""
    setup: tuple[str, ...]
    """Shell commands that prepare the code base."""
    verification_timeout: float
    """How long its verification may take, in seconds."""
    protected_paths: tuple[str, ...]
    """Paths whose changes do not count in a verification, in patterns as a `.gitignore` has them."""
    fingerprint: str
    """Changes whenever a file of the sample does."""

    @classmethod
    def _of(cls, sample: Any) -> Sample:
        return cls(
            dataset=sample.dataset,
            sample_id=sample.sample_id,
            title=sample.title,
            language=sample.language,
            tags=tuple(sample.tags),
            image=sample.image,
            version=sample.version,
            description=sample.description,
            setup=tuple(sample.setup),
            verification_timeout=sample.verification_timeout.seconds + sample.verification_timeout.nanos / 1e9,
            protected_paths=tuple(sample.protected_paths),
            fingerprint=sample.fingerprint,
        )


@dataclass(frozen=True)
class VerifiedTest:
    """One test of a verification."""

    name: str
    outcome: str
    """`passed`, `failed` or `skipped`."""
    duration: float | None
    message: str


@dataclass(frozen=True)
class VerificationResult:
    """What came of a verification."""

    is_success: bool
    """Whether all tests passed that have to."""
    passed: int
    failed: int
    skipped: int
    total: int
    tests: tuple[VerifiedTest, ...]
    reason: str
    """Why it was no success: `TESTS_FAILED`, `TESTS_MISSING`, `NO_REPORT`, `TIMED_OUT`, …; empty for a success."""
    message: str
    """The same in words."""
    exit_code: int | None
    duration: float
    stdout: str
    stderr: str
    changes: tuple[str, ...]
    """What differed from the sample: `A path`, `M path` or `D path`."""

    @classmethod
    def _of(cls, result: Any) -> VerificationResult:
        tests = [
            VerifiedTest(
                test.name,
                type(test).Outcome.Name(test.outcome).removeprefix("OUTCOME_").lower(),
                test.duration.seconds + test.duration.nanos / 1e9 if test.HasField("duration") else None,
                test.message,
            )
            for test in result.tests
        ]
        return cls(
            is_success=result.is_success,
            passed=result.passed,
            failed=result.failed,
            skipped=result.skipped,
            total=result.total,
            tests=tuple(tests),
            reason=type(result).Reason.Name(result.reason).removeprefix("REASON_") if result.reason else "",
            message=result.message,
            exit_code=result.exit_code if result.HasField("exit_code") else None,
            duration=result.duration.seconds + result.duration.nanos / 1e9,
            stdout=result.stdout,
            stderr=result.stderr,
            changes=tuple(result.changes),
        )


@dataclass(frozen=True)
class VerificationStatus:
    """Where a verification is, and what came of it."""

    verification_id: str
    sandbox_id: str
    state: str
    """`pending`, `starting`, `running`, `completed`, `error` or `cancelled`; the last three are final."""
    result: VerificationResult | None
    """What came of it, once it is `completed`."""
    error: str
    """Why it could not be carried out, for programs: `SANDBOX_GONE`, `SETUP_FAILED`, …; empty unless it is in `error`."""
    message: str
    """The same in words."""
    attempt: int
    """How often it was begun. More than 1: its server was ended meanwhile."""
    dataset: str
    sample_id: str

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in ("completed", "error", "cancelled")

    @classmethod
    def _of(cls, told: Any) -> VerificationStatus:
        return cls(
            verification_id=told.verification_id,
            sandbox_id=told.sandbox_id,
            state=type(told).State.Name(told.state).removeprefix("STATE_").lower(),
            result=VerificationResult._of(told.result) if told.HasField("result") else None,
            error=type(told.error).Reason.Name(told.error.reason).removeprefix("REASON_") if told.HasField("error") else "",
            message=told.error.message if told.HasField("error") else "",
            attempt=told.attempt,
            dataset=told.dataset,
            sample_id=told.sample_id,
        )
