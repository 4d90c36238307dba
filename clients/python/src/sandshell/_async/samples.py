"""The samples of a server's catalogue: code bases, each with a task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from .. import _arguments
from .._checked import checked
from ..results import Dataset, Sample
from ..v1 import sample_pb2 as pb
from ..v1.sample_pb2_grpc import SampleServiceStub
from .client import AsyncClient
from .shared import client_of


@checked
class AsyncSamples:
    """The samples of a server's catalogue. `server`, `key` and `client` say which server, as of `Sandbox.create`."""

    def __init__(self, server: str | None = None, *, key: str | None = None, client: AsyncClient | None = None) -> None:
        self._client = client_of(client, server, key)

    async def datasets(self) -> AsyncIterator[Dataset]:
        """The datasets, by name."""
        request = pb.ListDatasetsRequest()
        while True:
            page = await self._client._call(SampleServiceStub, "ListDatasets", request)
            for dataset in page.datasets:
                yield Dataset._of(dataset)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def list(
        self, dataset: str = "", *, language: str = "", tags: str | Iterable[str] = (), text: str = ""
    ) -> AsyncIterator[Sample]:
        """Samples, by dataset and id, without their descriptions: those of a dataset, in a language, with all of these tags, and
        with this text in id, title or description."""
        request = pb.ListSamplesRequest(dataset=dataset, language=language, tags=_arguments.patterns("tags", tags), text=text)
        while True:
            page = await self._client._call(SampleServiceStub, "ListSamples", request)
            for sample in page.samples:
                yield Sample._of(sample)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def get(self, sample_id: str, dataset: str = "") -> Sample:
        """One sample, with the description of its task. The dataset may be left out if only one has a sample of that id."""
        request = pb.GetSampleRequest(dataset=dataset, sample_id=sample_id)
        return Sample._of(await self._client._call(SampleServiceStub, "GetSample", request))
