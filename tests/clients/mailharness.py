"""A server that takes mail, a wiretap before it, and the comparison of both ends.

Between client and server sits a wiretap: what the client really sent is read off the wire by a decoder as
plain as the standard's words, and compared, octet for octet, with what the mailboxes hold – below the two
lines that delivery adds.
"""

import collections
import json
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import DEADLINE_SECONDS, eventually

DOMAIN = "box.test"
RECEIVED = re.compile(
    rb"\AReceived: from \S+ .*\bby edge\.test\b.*\bwith (?:UTF8SMTP|E?SMTP|LMTP)\b.*;\s+\w{3}, +\d{1,2} \w{3} \d{4} "
    rb"\d\d:\d\d:\d\d [+-]\d{4}(?: \(\w+\))?\Z",
    re.DOTALL,
)
Sent = collections.namedtuple("Sent", "sender recipients content")


class MailServer(harness.Server):
    """A running server with mailboxes for everybody at its domains."""

    def __init__(self, smtp="", domains=(DOMAIN,), hostname="edge.test", mail="", aliases=""):
        super().__init__()
        self.mail = self.data / "mail"
        self.config.write_text(
            "[server]\n"
            f'data_dir = "{self.data}"\n'
            f'hostname = "{hostname}"\n'
            "shards = 2\n"
            'metrics_listen = ""\n'
            "[smtp]\n"
            'listen = ["127.0.0.1:0"]\n'
            f"domains = {json.dumps(domains)}\n" + smtp + "[mail]\n"
            'unknown_local_part = "accept"\n' + mail
        )
        if aliases:
            self.data.mkdir(exist_ok=True)
            (self.data / "aliases").write_text(aliases)

    def start(self):
        """Starts the server and waits until it says `ready`."""
        self.launch()
        line = [line for line in self._lines if line.startswith("listening smtp ")][0]
        self.port = int(line.rsplit(":", 1)[1])
        return self


class Wiretap:
    """Hands everything on in both directions and keeps what clients sent."""

    def __init__(self, port, own=0):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", own), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._streams = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target), DEADLINE_SECONDS)
            server.settimeout(None)
            stream = bytearray()
            with self._lock:
                self._streams.append(stream)
            for pair in ((client, server, stream), (server, client, None)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, target, stream):
        try:
            while octets := source.recv(1 << 16):
                if stream is not None:
                    with self._lock:
                        stream += octets
                target.sendall(octets)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, target):
                end.close()

    def close(self):
        """No new connections."""
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def sent(self):
        """Every message that was sent whole."""
        with self._lock:
            streams = [bytes(stream) for stream in self._streams]
        return [message for stream in streams for message in read_messages(stream)]


def read_messages(stream):
    """The messages in what one client sent: RFC 5321 §4.5.2 and RFC 3030, word by word."""
    messages, sender, recipients, chunks, position = [], b"", [], b"", 0
    while (end := stream.find(b"\r\n", position)) >= 0:
        line, position = stream[position:end], end + 2
        verb = line.split(b" ")[0].upper()
        path = re.search(rb"<([^>]*)>", line)
        if line.upper().startswith(b"MAIL FROM"):
            sender, recipients, chunks = path[1], [], b""
        elif line.upper().startswith(b"RCPT TO"):
            recipients.append(path[1])
        elif verb == b"DATA":
            lines = []
            while True:
                end = stream.find(b"\r\n", position)
                if end < 0:
                    return messages
                line, position = stream[position : end + 2], end + 2
                if line == b".\r\n":
                    break
                lines.append(line[1:] if line.startswith(b".") else line)
            messages.append(Sent(sender, recipients, b"".join(lines)))
        elif verb == b"BDAT":
            size = int(line.split()[1])
            if len(stream) < position + size:
                return messages
            chunks += stream[position : position + size]
            position += size
            if line.upper().endswith(b"LAST"):
                messages.append(Sent(sender, recipients, chunks))
    return messages


def take_apart(content):
    """A delivered message: its Return-Path, the Received that was added, and the message."""
    path, _, rest = content.partition(b"\r\n")
    match = re.fullmatch(rb"Return-Path: <(.*)>", path)
    if match is None:
        raise AssertionError(f"no Return-Path on top: {content[:100]!r}")
    end = re.search(rb"\r\n(?![ \t])", rest)
    received = rest[: end.start()]
    if RECEIVED.match(received) is None:
        raise AssertionError(f"not a Received line as it should be: {received!r}")
    return match[1], received, rest[end.end() :]


class MailCase(unittest.TestCase):
    """A server for the class; a wiretap and empty mailboxes for each test."""

    needs = None  # the program under test
    smtp = ""  # more lines for [smtp]
    mail = ""  # more lines for [mail]
    aliases = ""  # the file of aliases

    @classmethod
    def setUpClass(cls):
        if cls.needs is not None:
            harness.need(cls.needs)
        cls.server = MailServer(cls.smtp, mail=cls.mail, aliases=cls.aliases)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.local = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-local-"))
        self.addCleanup(shutil.rmtree, self.local)
        self.wire = Wiretap(self.server.port)
        self.addCleanup(self.wire.close)
        # Mailboxes of its own, so that nothing from another test is in them.
        self.tag = re.sub(r"[^a-z0-9]", "", self.id().rsplit(".", 1)[-1].lower())

    def address(self, name="user"):
        """A recipient of this test."""
        return f"{name}-{self.tag}@{DOMAIN}"

    def mailbox(self, address):
        """The files in somebody's `new`."""
        user = address.decode() if isinstance(address, bytes) else address
        folder = self.server.mail / user.rsplit("@", 1)[0].strip('"') / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def arrived(self, messages=1):
        """Waits until everything sent – so many messages – is in the mailboxes, and compares. The
        messages as they were sent."""
        try:
            eventually(lambda: len(self.wire.sent()) >= messages, "the messages on the wire")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.server.log()[-3000:]}") from None
        sent = self.wire.sent()
        self.assertEqual(len(sent), messages)
        wanted = collections.defaultdict(list)
        for message in sent:
            for recipient in set(message.recipients):
                wanted[recipient].append((message.sender, message.content))
        for recipient, expected in wanted.items():
            eventually(
                lambda r=recipient, e=expected: len(self.mailbox(r)) >= len(e),
                f"{recipient} has {len(expected)}\n{self.server.log()[-3000:]}",
                DEADLINE_SECONDS,
            )
            held = [take_apart(path.read_bytes()) for path in self.mailbox(recipient)]
            held = sorted((path, content) for path, _, content in held)
            # Not assertEqual, which would print megabytes.
            self.assertTrue(
                held == sorted(expected),
                f"{recipient}: sizes {[len(c) for _, c in held]}, sent {[len(c) for _, c in expected]}",
            )
        return sent

    def command(self, arguments, stdin=None, environment=None):
        """Runs a client that must succeed. Its output."""
        done = subprocess.run(
            [str(argument) for argument in arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.local,
            env=environment,
            timeout=DEADLINE_SECONDS,
        )
        if done.returncode != 0:
            self.fail(
                f"{arguments}\nended with {done.returncode}:\n{done.stdout.decode(errors='replace')}\n"
                f"--- server:\n{self.server.log()[-4000:]}"
            )
        return done.stdout.decode(errors="replace")


def letter(body, subject="a letter", sender=f"someone@{DOMAIN}", extra=b""):
    """A message with a plain header; `body` are octets with CRLF."""
    head = (
        f"From: <{sender}>\r\nTo: <user@{DOMAIN}>\r\nSubject: {subject}\r\n"
        "Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@client.test>\r\n"
    )
    return head.encode() + extra + b"\r\n" + body


# What senders get wrong and servers with them: dots, emptiness, length, trailing spaces.
AWKWARD = (
    b".\r\n..\r\n.x\r\n...\r\nend.\r\n\r\n\r\n"
    + b" leading\r\ntrailing \r\n\ttab\t\r\n"
    + b"x" * 998
    + b"\r\n"
    + b"From here\r\n.\r\nMAIL FROM:<nobody@nowhere>\r\n\r\n"
)
EIGHT_BITS = "Grüße, 日本語\r\n".encode() + "latin: é".encode("latin-1") + b"\r\n"
