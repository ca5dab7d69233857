"""A private Exim: its own configuration, spool and port, below a folder; its program is below the folder that
`loadtest/unpack-mail-peers` made, or the system's."""

import os
import pathlib
import pwd
import signal
import subprocess

import harness
import postfix
from harness import DEADLINE_SECONDS, eventually

# Its name is compiled in.
USER = "Debian-exim"
CONFIGURATION = """\
primary_hostname = exim.test
exim_path = {program}
deliver_drop_privilege
spool_directory = {here}/spool
log_file_path = {here}/log/%s
pid_file_path = {here}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
host_lookup =
rfc1413_hosts =
acl_smtp_rcpt = everything
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_advertise_hosts = *
tls_advertise_hosts = {tls_hosts}
tls_certificate = {certificate}
tls_privatekey = {key}
message_size_limit = 100M
recipients_max = 0
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
keep_environment =
disable_ipv6
begin acl
everything:
  accept
begin routers
onwards:
  driver = manualroute
  transport = onwards
  route_data = localhost byname
  self = send
begin transports
onwards:
  driver = smtp
  port = {target}
  allow_localhost
  max_rcpt = 0
  message_linelength_limit = 1000000
  hosts_require_tls = {require}
  tls_verify_certificates = {ca}
  tls_verify_hosts = {require}
begin retry
* * F,1h,1s
"""


class Program:
    """Where it is."""

    def __init__(self, peers=None):
        root = pathlib.Path(peers or "/")
        self.path = root / "usr/sbin/exim4"
        self.environment = dict(os.environ, LC_ALL="C")
        if peers is not None:
            self.environment["LD_LIBRARY_PATH"] = str(root / "usr/lib/postfix")

    def missing(self):
        """Why it cannot be used, or None."""
        if not self.path.is_file():
            return f"{self.path} is not there (loadtest/unpack-mail-peers DIR, --peers DIR)"
        return None if os.geteuid() == 0 else "only root can start an Exim"


class Exim:
    """A running one that sends everything on to a port; in TLS only where `ca` is given."""

    def __init__(self, program, folder, target, pair=None, ca=None):
        self.folder, self.program, self.process = pathlib.Path(folder), program, None
        self._users = postfix.Users(USER, ())
        self._port = harness.Port()
        self.port = self._port.number
        certificate, key = pair or ("", "")
        text = CONFIGURATION.format(
            here=self.folder, program=program.path, port=self.port, target=target, certificate=certificate, key=key,
            tls_hosts="*" if pair else "", ca=ca or "", require="*" if ca else "",
        )
        (self.folder / "exim.conf").write_text(text)
        user = pwd.getpwnam(USER)
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, user.pw_uid, user.pw_gid)

    def start(self):
        """Starts it and waits for its greeting."""
        self.process = subprocess.Popen(
            [self.program.path, "-C", self.folder / "exim.conf", "-bdf", "-q1s"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.program.environment,
            start_new_session=True,
        )
        eventually(lambda: harness.greets(self, "Exim"), "Exim greets", DEADLINE_SECONDS)
        return self

    def log(self):
        """What it logged."""
        return "".join(path.read_text(errors="replace") for path in (self.folder / "log").iterdir())

    def idle(self):
        """Is its queue empty?"""
        return not any(path.is_file() for path in (self.folder / "spool/input").rglob("*-H"))

    def stop(self):
        """Ends it and its children."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_SECONDS)
            gone = "the processes of Exim are gone"
            eventually(lambda: postfix.group_is_gone(self.process), gone, DEADLINE_SECONDS)
        self._port.close()
        self._users.remove()


def program():
    """Exim, or the reason to skip (or to fail)."""
    found = Program(harness.PEERS)
    harness.lacking(found.missing())
    return found
