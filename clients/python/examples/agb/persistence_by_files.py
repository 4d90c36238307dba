"""Data that outlives a sandbox, by taking files out of one and into the next one."""

import tempfile

from sandshell import Sandbox

with tempfile.TemporaryDirectory() as kept:
    with Sandbox.create() as sandbox:
        sandbox.run("mkdir results && echo 0.94 >results/accuracy && ln -s accuracy results/latest", check=True)
        sandbox.files.download("results", kept)

    with Sandbox.create() as sandbox:
        sandbox.files.upload(kept, "results")
        assert sandbox.run("cat results/latest").stdout == "0.94\n"
