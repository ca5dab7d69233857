"""A private Postfix: its own configuration, queue and ports, below a folder; the system's is left alone.

Its programs are those installed, or those below a folder made by `loadtest/unpack-mail-peers`.
"""

import os
import pathlib
import pwd
import grp
import shutil
import signal
import subprocess
import tempfile

import harness
from harness import DEADLINE_SECONDS, eventually

MAIN = """\
compatibility_level = 3.6
queue_directory = {here}/queue
data_directory = {here}/data
daemon_directory = {daemons}
command_directory = {commands}
shlib_directory = {libraries}
meta_directory = {here}/etc
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.test
mydestination =
local_recipient_maps =
relay_domains =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{target}
disable_dns_lookups = yes
smtputf8_enable = yes
message_size_limit = 104857600
mailbox_size_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
maillog_file = {here}/log
maillog_file_prefixes = /
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
"""
PRIVATE = "active bounce corrupt defer deferred flush hold incoming private saved trace".split()


class Programs:
    """Where its programs are."""

    def __init__(self, peers=None):
        root = pathlib.Path(peers or "/")
        self.libraries = root / "usr/lib/postfix"
        self.daemons = self.libraries / "sbin"
        self.commands = root / "usr/sbin"
        self.environment = dict(os.environ, LC_ALL="C")
        if peers is not None:
            self.environment["LD_LIBRARY_PATH"] = str(self.libraries)

    def missing(self):
        """Why it cannot be used, or None."""
        for program in (self.daemons / "master", self.commands / "smtp-source"):
            if not program.is_file():
                return f"{program} is not there (loadtest/unpack-mail-peers DIR, --peers DIR)"
        return None


class Users:
    """A user and the groups that a server insists on; removed again if they were made here."""

    def __init__(self, user="postfix", groups=("postdrop",)):
        self._made = []
        try:
            pwd.getpwnam(user)
        except KeyError:
            words = ["--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin"]
            subprocess.run(["useradd", *words, user], check=True)
            self._made.append(["userdel", user])
        for group in groups:
            try:
                grp.getgrnam(group)
            except KeyError:
                subprocess.run(["groupadd", "--system", group], check=True)
                self._made.append(["groupdel", group])

    def remove(self):
        """Those made here."""
        for command in self._made:
            subprocess.run(command, check=True)


class Postfix:
    """A running one that relays everything to a port. `more` are lines of main.cf, `services` of master.cf."""

    def __init__(self, programs, folder, target, more="", services=""):
        self.programs = programs
        self.folder = pathlib.Path(folder)
        self._users = Users()
        self.process = None
        self._port = harness.Port()
        self.port = self._port.number
        names = {
            "here": self.folder,
            "daemons": programs.daemons,
            "commands": programs.commands,
            "libraries": programs.libraries,
            "target": target,
            "port": self.port,
        }
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        (self.folder / "etc/main.cf").write_text(MAIN.format(**names) + more)
        (self.folder / "etc/master.cf").write_text(MASTER.format(**names) + services)
        shutil.chown(self.folder / "data", "postfix")
        self._make_queue()

    def _make_queue(self):
        queue = self.folder / "queue"
        for name in PRIVATE:
            (queue / name).mkdir(mode=0o700)
            shutil.chown(queue / name, "postfix")
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            (queue / name).mkdir()
            shutil.chown(queue / name, "postfix", "postdrop")
            (queue / name).chmod(mode)
        (queue / "pid").mkdir()

    def start(self):
        """Starts it and waits for its greeting."""
        environment = dict(self.programs.environment, MAIL_CONFIG=str(self.folder / "etc"))
        self.process = subprocess.Popen(
            [self.programs.daemons / "master", "-c", self.folder / "etc", "-d"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=self.folder,
            start_new_session=True,  # with -d it does not make one, and ends its group
        )
        eventually(lambda: harness.greets(self, "Postfix"), "Postfix greets", DEADLINE_SECONDS)
        return self

    def log(self):
        """What it logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def idle(self):
        """Is its queue empty?"""
        folders = [self.folder / "queue" / name for name in ("incoming", "active", "deferred", "maildrop")]
        return not any(path.is_file() for folder in folders for path in folder.rglob("*"))

    def stop(self):
        """SIGTERM to it and its children; the folder stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_SECONDS)
            eventually(lambda: group_is_gone(self.process), "the processes of Postfix are gone", DEADLINE_SECONDS)
        self._port.close()
        self._users.remove()


def group_is_gone(process):
    """Says whether nothing of its process group is left; what is gets SIGKILL. The dead that nobody has buried
    yet do not count."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    words = ["ps", "-e", "-o", "pgid=,stat="]
    rows = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    left = (row.split() for row in rows)
    return not any(int(group) == process.pid and state[0] != "Z" for group, state in left)


def programs():
    """Postfix, or the reason to skip (or to fail)."""
    found = Programs(harness.PEERS)
    harness.lacking(found.missing())
    return found


class PostfixCase:
    """For cases that start a Postfix of their own; before the case that starts the server."""

    @classmethod
    def setUpClass(cls):
        cls.programs = programs()
        harness.lacking("only root can start a Postfix" if os.geteuid() != 0 else None)
        super().setUpClass()

    def folder(self):
        """One that its users may enter, until the end of the test."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-postfix-"))
        folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, folder)
        return folder

    def postfix(self, folder, target, more=""):
        """One that relays to a port, started, until the end of the test."""
        postfix = Postfix(self.programs, folder, target, more)
        self.addCleanup(postfix.stop)
        return postfix.start()
