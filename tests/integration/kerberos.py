"""A throwaway Kerberos realm: a KDC on loopback with a database of its own, one service and one person."""

import os
import shutil
import subprocess
import tempfile

from harness import check, end_process, free_port, need_program, spawn, tail, unprivileged_user, wait

REALM = "DBPS.TEST"

CLIENT_CONFIG = """[libdefaults]
default_realm = {realm}
dns_lookup_realm = false
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{realm} = {{
  kdc = 127.0.0.1:{port}
}}
[domain_realm]
localhost = {realm}
"""

SERVER_CONFIG = """[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{realm} = {{
  database_name = {directory}/principal
  key_stash_file = {directory}/stash
  acl_file = {directory}/acl
  supported_enctypes = aes256-cts:normal
}}
[logging]
kdc = FILE:{directory}/log
"""


class Realm:
    """`env` is what clients and servers of it need, `keytab` the service's key."""

    def __init__(self, run):
        need_program("krb5kdc")
        self.directory = tempfile.mkdtemp(prefix="kerberos", dir=run.postgres_directory())
        os.chown(self.directory, *unprivileged_user())
        self.port = free_port()
        self.log = os.path.join(self.directory, "log")
        self.keytab = os.path.join(self.directory, "keytab")
        self._write("client", CLIENT_CONFIG)
        self._write("server", SERVER_CONFIG)
        self.env = {"KRB5_CONFIG": os.path.join(self.directory, "client"), "KRB5RCACHENAME": "none:",
                    "KRB5CCNAME": f"FILE:{self.directory}/ccache"}
        self._make_principals()
        self.process = spawn(["krb5kdc", "-n"], env=self._admin_env(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        wait(self._has_ticket, f"the KDC to answer\n{tail(self.log)}", every=0.02)

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as f:
            f.write(text.format(realm=REALM, port=self.port, directory=self.directory))

    def _admin_env(self):
        return {**os.environ, **self.env, "KRB5_KDC_PROFILE": os.path.join(self.directory, "server")}

    def _call(self, *args, **kwargs):
        return subprocess.run(args, env=self._admin_env(), capture_output=True, text=True, check=False, **kwargs)

    def _make_principals(self):
        for args in (("kdb5_util", "create", "-s", "-r", REALM, "-P", "master"),
                     ("kadmin.local", "addprinc", "-pw", "secret", "person"),
                     ("kadmin.local", "addprinc", "-randkey", "postgres/localhost"),
                     ("kadmin.local", "ktadd", "-k", self.keytab, "postgres/localhost")):
            r = self._call(*args)
            check(r.returncode == 0, f"{args}: {r.stdout}{r.stderr}")
        os.chown(self.keytab, *unprivileged_user())

    def _has_ticket(self):
        check(self.process.poll() is None, f"krb5kdc ended:\n{tail(self.log)}")
        return self._call("kinit", "person", input="secret\n").returncode == 0

    def close(self):
        end_process(self.process)
        shutil.rmtree(self.directory, ignore_errors=True)
