"""Migrates a database, and tests against it. It is where PGHOST says."""

import subprocess
import sys


def sql(statement):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c", statement], stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(1)
    return done.stdout.decode().strip()


if sys.argv[1] == "migrate":
    sql("create table users (name text primary key); insert into users values ('ada'), ('grace')")
    print("migrated")
else:
    assert sql("select count(*) from users") == "2"
    print("2 users: ok")
