"""Code in a language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from .._arguments import duration
from .._checked import checked
from ..results import CodeError, CodeResult, Seconds
from ..v1 import code_pb2 as pb
from ..v1.code_pb2_grpc import CodeServiceStub
from .client import AsyncClient
from .listing import texts


@checked
class AsyncCode:
    """Runs code by the interpreters that the sandbox has."""

    def __init__(self, client: AsyncClient, sandbox_id: str) -> None:
        self._client = client
        self._id = sandbox_id

    async def run(
        self,
        code: str,
        language: str = "python",
        *,
        context: str | None = None,
        timeout: Seconds | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
    ) -> CodeResult:
        """Runs code. With `context`, a name of your own, in an interpreter that keeps its variables; without, in a fresh one.

        The first call with a context decides as whom, where and with which environment its interpreter runs.
        """
        request = pb.RunCodeRequest(
            sandbox_id=self._id,
            language=language,
            code=code,
            context_id=context,
            timeout=duration("timeout", timeout),
            env=texts("env", env),
            working_directory=cwd,
            user=user,
        )
        outputs: dict[int, list[bytes]] = {1: [], 2: []}
        results: list[dict[str, Any]] = []
        told: dict[str, Any] = {"value": None}
        try:
            async for message in await self._client._open(CodeServiceStub, "RunCode", request):
                which = message.WhichOneof("response")
                if which == "started":
                    told["generation"] = message.started.generation
                    if message.started.HasField("interpreter_ended"):
                        ended = message.started.interpreter_ended
                        told["interpreter_ended"] = CodeError(ended.name, ended.message, ended.traceback)
                elif which == "output":
                    outputs.setdefault(message.output.stream, []).append(message.output.data)
                elif which == "result":
                    results.append({"text": message.result.text, **message.result.data})
                    if message.result.is_main:
                        told["value"] = message.result.text
                elif which == "error":
                    error = message.error
                    told["error"] = CodeError(error.name, error.message, error.traceback)
                elif which == "done":
                    done = message.done
                    told["exit_code"], told["timed_out"] = done.exit_code, done.timed_out
                    told["duration"] = done.duration.seconds + done.duration.nanos / 1e9
        except grpc.RpcError as error:
            raise self._client._failed(error) from None
        said = {stream: b"".join(parts).decode("utf-8", "replace") for stream, parts in outputs.items()}
        return CodeResult(stdout=said[1], stderr=said[2], results=tuple(results), **told)

    async def languages(self) -> dict[str, str]:
        """The languages that the sandbox has, with the program that runs each."""
        answer = await self._client._call(CodeServiceStub, "ListLanguages", pb.ListLanguagesRequest(sandbox_id=self._id))
        return {language.name: language.program for language in answer.languages if language.program}

    async def contexts(self) -> list[str]:
        """The contexts that there are."""
        answer = await self._client._call(CodeServiceStub, "ListContexts", pb.ListContextsRequest(sandbox_id=self._id))
        return [context.context_id for context in answer.contexts]

    async def delete_context(self, context: str) -> None:
        """Ends a context and its interpreter."""
        request = pb.DeleteContextRequest(sandbox_id=self._id, context_id=context)
        await self._client._call(CodeServiceStub, "DeleteContext", request, gone_is_done=True)
