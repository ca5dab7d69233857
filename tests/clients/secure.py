"""Servers with a certificate from the tests' own authority, for FTP and for mail, and what their tests share.

Mail is compared without a wiretap, because a wiretap sees nothing of it: a test says itself which octets its
client has to send, and the mailbox must hold exactly these below the two lines that delivery adds.
"""

import ftplib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

import harness
import mailharness
from authority import Authority
from harness import DEADLINE_SECONDS, PASSWORD, USER, eventually, need
from mailharness import DOMAIN

HOST = "localhost"
WITH = re.compile(rb"\bwith (\w+)")


class SecureServer(harness.Server):
    """FTP, in clear with AUTH TLS and with implicit TLS, and mail on three ports, of one process."""

    def __init__(self, ftp="", smtp="", submission=True):
        super().__init__()
        self.authority = Authority(self.directory / "authority")
        self.ca = self.authority.ca
        certificate, key = self.authority.issue("server")
        self.mail = self.data / "mail"
        self.config.write_text(
            "[server]\n"
            f'data_dir = "{self.data}"\n'
            'hostname = "edge.test"\n'
            "shards = 2\n"
            'metrics_listen = "127.0.0.1:0"\n'
            "[tls]\n"
            f'certificate = "{certificate}"\n'
            f'private_key = "{key}"\n'
            "[ftp]\n"
            'listen = ["127.0.0.1:0", "[::1]:0"]\n'
            'listen_tls = ["127.0.0.1:0", "[::1]:0"]\n'
            'anonymous = "upload"\n'
            'upload_dirs = ["/incoming"]\n'
            "durable_uploads = false\n" + ftp + "[smtp]\n"
            'listen = ["127.0.0.1:0"]\n'
            'listen_tls = ["127.0.0.1:0"]\n'
            + ('listen_submission = ["127.0.0.1:0"]\n' if submission else "")
            + f'domains = ["{DOMAIN}"]\n' + smtp + "[mail]\n"
            'unknown_local_part = "accept"\n'
        )

    def start(self):
        """Starts the server and waits until it says `ready`."""
        self.launch()
        self.ports = {}
        for line in self._lines:
            if line.startswith("listening "):
                _, name, address = line.split()[:3]
                host, _, port = address.rpartition(":")
                self.ports[name, host] = int(port)
        return self

    def port(self, name, host="127.0.0.1"):
        """The port of a listener."""
        if (name, host) not in self.ports:
            raise AssertionError(f"no listener {name} on {host}: {self.ports}\n{self.log()}")
        return self.ports[name, host]

    def url(self, family=4, implicit=False):
        """`ftp://…` or `ftps://…` of a listener, without a path."""
        host = "127.0.0.1" if family == 4 else "[::1]"
        name = "ftps" if implicit else "ftp"
        return f"{name}://{host}:{self.port(name, host)}"

    def metrics(self):
        """Metric with labels -> value, as scraped."""
        import urllib.request

        line = [line for line in self._lines if line.startswith("listening metrics ")][0]
        with urllib.request.urlopen(f"http://{line.split()[2]}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        rows = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, _, value in rows}

    def descriptors(self):
        """How many files and sockets the process holds."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kib(self):
        """Its memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def context(ca, version=None, alpn=None):
    """What a careful client uses: the authority is the only one that is trusted, names are checked."""
    made = ssl.create_default_context(cafile=str(ca))
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if alpn is not None:
        made.set_alpn_protocols(alpn)
    return made


class FTP_TLS(ftplib.FTP_TLS):
    """Python's client, which resumes the session of the control connection if told so (it never does itself),
    and connects data from another address if told so."""

    reuse = True
    data_source = None
    resumed = version = None  # of the last data connection

    def ntransfercmd(self, cmd, rest=None):
        if self.data_source is not None:
            self.source_address = (self.data_source, 0)
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            session = self.sock.session if self.reuse else None
            connection = self.context.wrap_socket(connection, server_hostname=self.host, session=session)
            self.resumed, self.version = connection.session_reused, connection.version()
        return connection, size


class SecureCase(harness.ClientCase):
    """A server with TLS for the class; folders for each test."""

    ftp = ""  # more lines for [ftp]
    smtp = ""  # more lines for [smtp]
    mirror = True  # is there something to fetch

    @classmethod
    def setUpClass(cls):
        if cls.needs is not None:
            need(cls.needs)
        cls.server = SecureServer(cls.ftp, cls.smtp)
        cls.addClassCleanup(shutil.rmtree, cls.server.directory, ignore_errors=True)
        if cls.mirror:
            harness.fill(cls.server.root)
        cls.server.add_user(USER, PASSWORD)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.pub = cls.server.root / "pub"

    def connect(self, version=None, reuse=True, alpn=None):
        """A Python client with AUTH TLS and PROT P, logged in, closed at the end of the test."""
        ftp = FTP_TLS(context=context(self.server.ca, version, alpn), timeout=30)
        ftp.encoding, ftp.reuse = "utf-8", reuse
        ftp.connect("127.0.0.1", self.server.port("ftp"))
        self.addCleanup(ftp.close)
        ftp.login(USER, PASSWORD)
        ftp.prot_p()
        return ftp


class RawCase(SecureCase):
    """Octets by hand, where no client would send them."""

    mirror = False

    @staticmethod
    def reach(server, listener):
        connection = socket.create_connection(("127.0.0.1", server.port(listener)), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @classmethod
    def greet(cls, connection, listener):
        """Reads and says what comes before STARTTLS or AUTH TLS."""
        cls.reply(connection)
        if listener != "ftp":
            connection.sendall(b"EHLO client.test\r\n")
            cls.reply(connection)

    @staticmethod
    def reply(connection):
        """One reply, however many lines, and not an octet more."""
        octets = b""
        while True:
            part = connection.recv(1)
            if not part:
                raise AssertionError(f"closed after {octets!r}")
            octets += part
            lines = octets.split(b"\n")
            if octets.endswith(b"\n") and lines[-2][3:4] == b" ":
                return octets

    @staticmethod
    def over(connection):
        """Says no more."""
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has already closed

    @staticmethod
    def rest(connection):
        """All that comes until the server closes, which it must before the socket's own deadline."""
        octets = b""
        try:
            while part := connection.recv(4096):
                octets += part
        except ConnectionResetError:
            pass
        return octets


class SecureMailCase(unittest.TestCase):
    """A server with TLS and an account for the class; an empty mailbox for each test."""

    needs = None
    smtp = ""
    submission = True  # is there a port for it
    account = "writer"
    password = "Pa ss:wörd=+"

    @classmethod
    def setUpClass(cls):
        if cls.needs is not None:
            need(cls.needs)
        cls.server = SecureServer(smtp=cls.smtp, submission=cls.submission)
        cls.addClassCleanup(shutil.rmtree, cls.server.directory, ignore_errors=True)
        cls.prepare(cls.server)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    @classmethod
    def prepare(cls, server):
        """The account that may submit."""
        words = ["user", "add", cls.account, "--password-stdin", "--ftp", "none"]
        words += ["--mail", f"{cls.account}@{DOMAIN}", "--scram", "--data", str(server.data)]
        subprocess.run(
            [harness.BINARY, *words], input=cls.password, text=True, check=True, timeout=DEADLINE_SECONDS
        )

    def setUp(self):
        self.local = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-local-"))
        self.addCleanup(shutil.rmtree, self.local)
        self.tag = re.sub(r"[^a-z0-9]", "", self.id().rsplit(".", 1)[-1].lower())

    sender = f"{account}@{DOMAIN}"
    address = mailharness.MailCase.address
    mailbox = mailharness.MailCase.mailbox
    command = mailharness.MailCase.command

    def delivered(self, content, address=None, by=b"ESMTPS", messages=1):
        """Waits until the mailbox holds so many messages, each exactly of these octets and taken in `by`."""
        address = address or self.address()
        eventually(
            lambda: len(self.mailbox(address)) >= messages,
            f"{address} has {messages}\n{self.server.log()[-3000:]}",
            DEADLINE_SECONDS,
        )
        held = [take_apart(path.read_bytes()) for path in self.mailbox(address)]
        self.assertEqual(len(held), messages)
        for _, received, octets in held:
            at = len(os.path.commonprefix([octets, content]))
            differ = f"differs from octet {at} on: {content[at : at + 100]!r}, held {octets[at : at + 100]!r}"
            self.assertTrue(octets == content, differ)
            self.assertEqual(WITH.search(received)[1], by, received)
        return held


def take_apart(content):
    """A delivered message: its Return-Path, the Received that was added, and the message."""
    match = re.match(rb"Return-Path: <(.*?)>\r\n(Received: from .*?by edge\.test.*?)\r\n(?![ \t])", content, re.DOTALL)
    if match is None:
        raise AssertionError(f"not the two lines of a delivery: {content[:400]!r}")
    return match[1], match[2], content[match.end() :]
