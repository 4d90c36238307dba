"""Volumes. This file is run as it is, and as its synchronous twin."""

from __future__ import annotations

import uuid

import pytest
from conftest import scenario

from sandshell import (
    AlreadyExists,
    AsyncClient,
    AsyncSandbox,
    AsyncVolume,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)


@scenario
async def test_volumes(server: str) -> None:
    name = f"volume-{uuid.uuid4().hex}"
    async with AsyncClient(server) as client:
        volume = await AsyncVolume.create(name, labels={"a": "b"}, client=client)
        assert volume.volume_id.startswith("vol-") and volume.name == name and volume.labels == {"a": "b"}
        with pytest.raises(AlreadyExists):
            await AsyncVolume.create(name, client=client)
        async with await AsyncSandbox.create(volumes={"/data": volume}, client=client) as sandbox:
            assert (await sandbox.info()).volumes == {"/data": name}
            used = (await volume.refresh()).used_by
            assert [(one.sandbox_id, one.path, one.read_only) for one in used] == [(sandbox.sandbox_id, "/data", False)]
            with pytest.raises(FailedPrecondition) as refused:
                await volume.delete()
            assert refused.value.reason == "VOLUME_IN_USE"
        async with await AsyncSandbox.create(volumes=[f"{name}:/data:ro"], client=client) as sandbox:
            assert (await sandbox.info()).volumes == {"/data": f"{name}:ro"}
        with pytest.raises(InvalidArgument):
            await AsyncSandbox.create(volumes=[name], client=client)
        assert name in [one.name async for one in AsyncVolume.list(client=client)]
        assert (await AsyncVolume.get(name, client=client)).volume_id == volume.volume_id
        await volume.delete()
        for gone in (volume.refresh, volume.delete):
            with pytest.raises(NotFound):
                await gone()
