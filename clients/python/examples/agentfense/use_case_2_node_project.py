"""Use case 2: a Node.js project. Its dependency comes from a directory of the project."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    with sandbox.session() as session:
        # Install dependencies.
        session.exec("cd /workspace/frontend")
        session.exec("npm install --offline --no-audit --no-fund", check=True)

        # Run the linter.
        lint_result = session.exec("npm run lint")
        assert lint_result.exit_code == 0, lint_result.stderr

        # Run tests.
        test_result = session.exec("npm test")
        assert "1 test passed" in test_result.stdout

        # Build what is shipped.
        if test_result.exit_code == 0:
            session.exec("npm run build", check=True)

    assert sandbox.files.read_text("frontend/dist/page.html") == "<h1>HELLO!</h1>\n"
