"""Verifications: jobs that say, test by test, whether a task was done."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from typing import Any

import grpc

from .. import _arguments
from .._checked import checked
from ..errors import DeadlineExceeded, SandshellError, Unavailable
from ..results import Output, Seconds, VerificationStatus
from ..v1 import verification_pb2 as pb
from ..v1.verification_pb2_grpc import VerificationServiceStub
from . import _io
from .client import AsyncClient, Deadline, Pause, is_passing, new_request_id
from .shared import client_of

_STREAMS = {1: "stdout", 2: "stderr"}


@checked
class AsyncVerification:
    """A verification of what was done in a sandbox that was made from a sample, or of a patch for a sample.

    It has a sandbox of its own, and goes on whatever becomes of who asked for it.
    """

    verification_id: str
    """Its id."""

    def __init__(self, client: AsyncClient, told: Any) -> None:
        self._client = client
        self.verification_id = told.verification_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.verification_id} on {self._client.address}>"

    @classmethod
    async def of_patch(
        cls,
        sample: str,
        patch: str = "",
        *,
        server: str | None = None,
        key: str | None = None,
        client: AsyncClient | None = None,
    ) -> AsyncVerification:
        """Asks for a verification of a sample (`ID` or `DATASET/ID`) with a patch, as `git diff` writes it, without a sandbox."""
        dataset, _, sample_id = sample.rpartition("/")
        request = pb.StartVerificationRequest(dataset=dataset, sample_id=sample_id, patch=patch)
        return await cls._started(client_of(client, server, key), request)

    @classmethod
    async def _started(cls, client: AsyncClient, request: Any) -> AsyncVerification:
        request.request_id = new_request_id()
        return cls(client, await client._call(VerificationServiceStub, "StartVerification", request))

    @classmethod
    async def get(
        cls, verification_id: str, *, server: str | None = None, key: str | None = None, client: AsyncClient | None = None
    ) -> AsyncVerification:
        """A verification that was asked for before; NotFound if there is none of that id."""
        client, request = client_of(client, server, key), pb.GetVerificationRequest(verification_id=verification_id)
        return cls(client, await client._call(VerificationServiceStub, "GetVerification", request))

    async def status(self) -> VerificationStatus:
        """Where it is, and what came of it if it is over."""
        request = pb.GetVerificationRequest(verification_id=self.verification_id)
        return VerificationStatus._of(await self._client._call(VerificationServiceStub, "GetVerification", request))

    async def cancel(self) -> VerificationStatus:
        """Ends it. One that is over stays as it is."""
        request = pb.CancelVerificationRequest(verification_id=self.verification_id)
        return VerificationStatus._of(await self._client._call(VerificationServiceStub, "CancelVerification", request))

    async def wait(self, timeout: Seconds | None = None) -> VerificationStatus:
        """Waits for its end. TimeoutError when that does not come in time; the verification goes on then."""
        last: VerificationStatus | None = None
        async for event in self._events(Deadline(None if timeout is None else _arguments.seconds("timeout", timeout))):
            if isinstance(event, VerificationStatus):
                last = event
        if last is None:
            raise Unavailable("the server said nothing of the verification")
        return last

    async def watch(self) -> AsyncIterator[VerificationStatus | Output]:
        """Its status, each change of that, and what its command prints, until its end."""
        async for event in self._events(Deadline(None)):
            yield event

    async def _events(self, deadline: Deadline) -> AsyncIterator[VerificationStatus | Output]:
        request = pb.WatchVerificationRequest(verification_id=self.verification_id)
        decoders: dict[str, Any] = {}
        patience, pause = Deadline(self._client._patience()), Pause()
        while True:
            stream = await self._client._open(VerificationServiceStub, "WatchVerification", request, timeout=deadline.left())
            try:
                async for message in stream:
                    self._client._is_reached = True
                    patience, pause = Deadline(self._client._patience()), Pause()
                    if message.HasField("verification"):
                        status = VerificationStatus._of(message.verification)
                        if status.attempt != request.attempt:
                            # It was begun anew, and prints from the beginning.
                            request.attempt, request.stdout_offset, request.stderr_offset = status.attempt, 0, 0
                            decoders = {}
                        yield status
                        if status.is_over:
                            return
                    elif message.HasField("output"):
                        name, data = _STREAMS.get(message.output.stream, "stdout"), message.output.data
                        setattr(request, f"{name}_offset", message.output.offset + len(data))
                        decoder = decoders.setdefault(name, codecs.getincrementaldecoder("utf-8")("replace"))
                        yield Output(name, data, decoder.decode(data))
                failure: SandshellError = Unavailable("the stream ended before the verification did")
            except grpc.RpcError as error:
                failure = self._client._failed(error)
            finally:
                stream.cancel()
            if isinstance(failure, DeadlineExceeded) and deadline.left() is not None:
                # The server answers a little before the time is over here.
                raise TimeoutError(f"the verification {self.verification_id} goes on")
            if not is_passing(failure) or patience.is_over():
                raise failure
            await _io.sleep(pause.next(failure.retry_after, patience))
