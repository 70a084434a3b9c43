"""PgBouncer between a client and a private PostgreSQL, on a free loopback port."""

import os
import shutil

import psycopg2

from process import Process, free_port

PROGRAM = "/usr/sbin/pgbouncer"


class PgBouncer(Process):
    """mode: session, transaction or statement. users: who may log in. size: backends for each of them and each database."""

    def __init__(self, directory, postgres, mode, users, size=20):
        super().__init__("PgBouncer", os.path.join(directory, "log"), postgres.user)
        self.directory, self.postgres, self.mode = directory, postgres, mode
        self.users, self.size, self.port = [postgres.superuser, *users], size, free_port()

    def conninfo(self, dbname, user):
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user} password={self.postgres.password}"

    def start(self):
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self._give(self.directory)
        users = self._write("users", "".join(f'"{user}" "{self.postgres.password}"\n' for user in self.users))
        config = self._write("pgbouncer.ini", f"""
[databases]
* = host=127.0.0.1 port={self.postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = md5
auth_file = {users}
pool_mode = {self.mode}
default_pool_size = {self.size}
""")
        self.spawn([PROGRAM, config])
        self.wait_ready(self._answers)
        return self

    def close(self):
        self.end()

    def _write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        self._give(path)
        return path

    def _give(self, path):
        """To the server's user."""
        if self.user:
            shutil.chown(path, self.user)

    def _answers(self):
        try:
            psycopg2.connect(self.conninfo("postgres", self.postgres.superuser), connect_timeout=5).close()
            return True
        except psycopg2.OperationalError:
            return False
