"""Data that outlives a sandbox: in a volume, which each sandbox that wants it has at a path of its choice."""

import uuid

from sandshell import FailedPrecondition, Sandbox, Volume

project = Volume.create(f"project-{uuid.uuid4().hex[:8]}", labels={"project": "demo"})
try:
    with Sandbox.create(volumes={"/project": project}) as sandbox:
        sandbox.run("mkdir results && echo 0.94 >results/accuracy && ln -s accuracy results/latest", cwd="/project", check=True)
        assert sandbox.info().volumes == {"/project": project.name}
        # One sandbox writes at a time, so that nobody treads on anybody.
        try:
            Sandbox.create(volumes={"/project": project})
        except FailedPrecondition as error:
            assert error.reason == "VOLUME_IN_USE" and sandbox.sandbox_id in str(error)
        else:
            raise AssertionError("two writers")

    # Later, in another sandbox: the data is there as it was left. Several may read it at the same time.
    with Sandbox.create(volumes=[f"{project.name}:/data:ro"]) as first:
        with Sandbox.create(volumes={"/data": f"{project.name}:ro"}) as second:
            for reader in (first, second):
                assert reader.run("cat /data/results/latest").stdout == "0.94\n"
            assert {used.sandbox_id for used in project.refresh().used_by} == {first.sandbox_id, second.sandbox_id}
    assert project.name in [volume.name for volume in Volume.list()]
finally:
    project.delete()
