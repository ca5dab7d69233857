"""A private Dovecot: mailboxes by LMTP (TCP and a Unix socket), and its logins for a Postfix. Everything of it is
below a folder; its programs are below the folder that `loadtest/unpack-mail-peers` made, or the system's."""

import os
import pathlib
import pwd
import signal
import subprocess

import harness
import postfix
from harness import DEADLINE_SECONDS, eventually

# Somebody who is on every machine and owns nothing.
NOBODY = "nobody"
# Where it looks for its own.
COMPILED_IN = pathlib.Path("/usr/lib/dovecot")
CONFIGURATION = """\
base_dir = {here}/run
state_dir = {here}/state
log_path = {here}/log
import_environment = TZ {libraries}
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
protocols = lmtp
listen = 127.0.0.1
first_valid_uid = 1
mail_uid = nobody
mail_gid = nogroup
mail_home = {here}/home/%n
mail_location = maildir:~/Maildir
mail_plugins = quota
mail_max_userip_connections = 0
ssl = {ssl}
auth_username_format = %n
auth_mechanisms = plain login scram-sha-256
disable_plaintext_auth = no
auth_failure_delay = 0
recipient_delimiter = +
mail_save_crlf = yes
lmtp_rcpt_check_quota = no
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {here}/users
}}
userdb {{
  driver = passwd-file
  args = {here}/users
}}
plugin {{
  quota = maildir:User quota
}}
service lmtp {{
  inet_listener lmtp {{
    port = {port}
  }}
  unix_listener lmtp {{
    mode = 0666
  }}
}}
# Who failed once does not wait.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
"""
TLS = "yes\nssl_cert = <{certificate}\nssl_key = <{key}"


class Program:
    """Where it is."""

    def __init__(self, peers=None):
        root = pathlib.Path(peers or "/")
        self.path = root / "usr/sbin/dovecot"
        self.reader = root / "usr/bin/doveconf"
        self.folder = root / "usr/lib/dovecot"
        self.environment, self.libraries = dict(os.environ, LC_ALL="C"), ""
        if peers is not None:
            paths = f"{root}/usr/lib/dovecot:{root}/usr/lib/postfix"
            self.environment["LD_LIBRARY_PATH"] = paths
            self.libraries = f"LD_LIBRARY_PATH={paths}"

    def missing(self):
        """Why it cannot be used, or None."""
        for path in (self.path, self.folder / "lmtp"):
            if not path.is_file():
                return f"{path} is not there (loadtest/unpack-mail-peers DIR, --peers DIR)"
        return None if os.geteuid() == 0 else "only root can start a Dovecot"


class Dovecot:
    """A running one. `users` is {name: (password, octets of its mailbox at most or None)}."""

    def __init__(self, program, folder, users, pair=None):
        self.folder, self.program, self.process = pathlib.Path(folder), program, None
        self._made = not COMPILED_IN.exists()
        COMPILED_IN.mkdir(exist_ok=True)
        self._port = harness.Port()
        self.port = self._port.number
        self.socket = self.folder / "run/lmtp"
        self.logins = self.folder / "run/auth-client"
        home = self.folder / "home"
        home.mkdir()
        os.chown(home, pwd.getpwnam(NOBODY).pw_uid, -1)
        lines = []
        for name, (password, limit) in users.items():
            extra = "" if limit is None else f"userdb_quota_rule=*:bytes={limit}"
            lines.append(f"{name}:{{PLAIN}}{password}::::::{extra}\n")
        (self.folder / "users").write_text("".join(lines))
        text = CONFIGURATION.format(
            here=self.folder, libraries=program.libraries, port=self.port,
            ssl="no" if pair is None else TLS.format(certificate=pair[0], key=pair[1]),
        )
        (self.folder / "dovecot.conf").write_text(text)

    def start(self):
        """Starts it and waits for its greeting."""
        file = self.folder / "dovecot.conf"
        # What it would do itself, with a path that is compiled in. So is where its modules are: there they
        # are for it alone, by a mount that nobody else sees.
        there = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""
        alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", there, self.program.folder, COMPILED_IN]
        reader = [self.program.reader, "-f", "service=master", "-c", file, "-m", "master", "-p", "-e"]
        with open(self.folder / "stderr", "wb") as said:
            self.process = subprocess.Popen(
                [*alone, *reader, self.program.path, "-F", "-c", file],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=self.program.environment,
                start_new_session=True,
            )
        eventually(lambda: harness.greets(self, "Dovecot"), "Dovecot greets", DEADLINE_SECONDS)
        return self

    def log(self):
        """What it logged."""
        paths = [self.folder / name for name in ("log", "stderr")]
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def mailbox(self, name):
        """The files in somebody's inbox."""
        folders = [self.folder / "home" / name / "Maildir" / part for part in ("new", "cur")]
        return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir())

    def stop(self):
        """Ends it; it ends its children."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_SECONDS)
            gone = "the processes of Dovecot are gone"
            eventually(lambda: postfix.group_is_gone(self.process), gone, DEADLINE_SECONDS)
        self._port.close()
        if self._made:
            COMPILED_IN.rmdir()


def program():
    """Dovecot, or the reason to skip (or to fail)."""
    found = Program(harness.PEERS)
    harness.lacking(found.missing())
    return found
