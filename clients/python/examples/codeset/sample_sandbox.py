"""A session that is made from a sample, and worked in."""

from sandshell import Samples, Sandbox

# 1. Creation: the sandbox has the sample's image and code base, and a session is open in it.
sample = Samples().get("python-intervals", "first-steps")
with Sandbox.create(sample=f"{sample.dataset}/{sample.sample_id}") as sandbox:
    session = sandbox.default_session()
    print(f"Session created with ID: {session.session_id}\n{sample.description}")

    # 2. Interaction: as any session.
    response = session.exec("ls -l")
    assert response.exit_code == 0 and response.stdout
    assert session.exec("pwd").stdout == "/workspace\n"
    session.exec("echo 'new content' > notes.md", check=True)

    # What differs from the sample, and nothing else.
    assert sandbox.info().sample == "first-steps/python-intervals"
    assert session.exec("git status --short").stdout == "?? notes.md\n"
# Leaving the block closes it.
