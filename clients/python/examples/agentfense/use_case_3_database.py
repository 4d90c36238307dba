"""Use case 3: a database in the background, for tests. PostgreSQL does not run as root, so the session is another user's."""

from sandshell import Sandbox

with Sandbox.from_local("./project") as sandbox:
    with sandbox.session(user="nobody", env={"PGHOST": "/tmp"}) as session:
        session.exec("PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)")
        session.exec("initdb -D /tmp/postgres --auth=trust --no-sync", check=True)

        # Start the database in the background.
        session.exec("postgres -D /tmp/postgres -k /tmp -c listen_addresses= &")

        # Wait for it.
        session.exec("until pg_isready; do sleep 0.1; done", timeout=60, check=True)

        # Run migrations.
        session.exec("cd /workspace/backend")
        session.exec("python3 manage.py migrate", check=True)

        # Run tests.
        result = session.exec("python3 manage.py test")
        assert result.stdout == "2 users: ok\n", result.stderr
