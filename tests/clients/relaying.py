"""A server whose mail goes on, other servers behind it, and what became of each message.

    client ─▶ edge (sluicegate) ─▶ what is tested ─▶ store (sluicegate) ─▶ mailboxes

Senders have mailboxes on the edge: there are the reports. What the last mailbox holds is compared octet for octet
below the trace fields that stand in front.
"""

import email
import json
import os
import pathlib
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile
import unittest

import harness
from authority import Authority
from harness import DEADLINE_SECONDS, eventually
from mailharness import DOMAIN, MailServer

FAR = "far.test"
TRACE = re.compile(rb"(Return-Path|Received): (?:[^\r]|\r\n[ \t])*\r\n")


def route(recipient, to, *lines):
    """A table of the configuration."""
    return "\n".join(["[[smtp.route]]", f'recipient = "{recipient}"', f'to = "{to}"', *lines, ""])


class Edge(MailServer):
    """A running server with routes. `ca` are the authorities it trusts."""

    def __init__(self, *routes, smtp="", relay="", ca=None, **named):
        self._texts = {"smtp": smtp, "relay": relay}
        super().__init__(self._text(routes), **named)
        if ca is not None:
            self.environment = dict(os.environ, SSL_CERT_FILE=str(ca))

    def _text(self, routes):
        relay = self._texts["relay"]
        return self._texts["smtp"] + "".join(routes) + (f"[relay]\n{relay}" if relay else "")

    def reroute(self, *routes):
        """Other routes from now on: the configuration written anew, and SIGHUP."""
        text = self.config.read_text()
        before, after = text.index("[[smtp.route]]"), text.index("[mail]")
        mark = len(self._lines)
        self.config.write_text(text[:before] + self._text(routes)[len(self._texts["smtp"]) :] + text[after:])
        self.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: any("configuration reloaded" in line for line in self._lines[mark:]),
            f"it is read\n{self.log()[-2000:]}",
        )

    def queue(self, *words):
        """What `sluicegate queue …` says, as JSON."""
        done = subprocess.run(
            [harness.BINARY, "queue", *words, "--json", "--config", self.config],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        if done.returncode != 0:
            raise AssertionError(f"queue {words}: {done.stderr}")
        return json.loads(done.stdout)

    def settled(self):
        """Waits until nothing waits."""
        eventually(
            lambda: self.queue("list") == [], f"nothing waits\n{self.log()[-3000:]}"
        )

    def deferred(self, recipient):
        """Waits until a message for this recipient alone was tried and is to be tried again. Why."""
        entries = []

        def tried():
            entries[:] = [one for one in self.queue("list", "--recipient", recipient) if one["reason"]]
            return entries and entries[0]["state"] == "deferred"

        eventually(tried, f"{recipient} is deferred\n{self.log()[-3000:]}")
        return entries[0]["reason"]

    def all_tried(self):
        """Waits until everything was tried. Why what still waits does, by its sender."""
        entries = []

        def tried():
            entries[:] = self.queue("list")
            return all(one["state"] == "deferred" and one["reason"] for one in entries)

        eventually(tried, f"everything was tried\n{self.log()[-3000:]}")
        return {one["sender"]: one["reason"] for one in entries}

    def retry(self):
        """All that waits is tried now."""
        self.queue("retry", "--all")


class Report:
    """A delivery status notification: `status` is {recipient: (action, status, what the other server said)}."""

    def __init__(self, octets):
        self.octets, self.message = octets, email.message_from_bytes(octets)
        assert self.message.get_content_type() == "multipart/report", octets[:2000]
        # By hand: the library does not know message/global-delivery-status.
        parts = octets.split(f"\r\n--{self.message.get_boundary()}".encode())
        bodies = [part.partition(b"\r\n\r\n")[2].decode("utf-8", "replace") for part in parts[1:4]]
        self.text, report, self.original = bodies
        self.status = {}
        for group in report.strip().split("\r\n\r\n")[1:]:
            fields = email.message_from_string(group)
            said = re.sub(r"\s+", " ", fields.get("Diagnostic-Code", "")).partition("; ")[2]
            recipient = fields["Final-Recipient"].partition(";")[2].strip()
            self.status[recipient] = (fields["Action"], fields["Status"], said)


class RelayCase(unittest.TestCase):
    """An authority for the class, and a store where one is wanted; recipients of its own for each test."""

    store = None
    stored = False  # is there a store
    domains = ()  # of it, beside far.test
    boxes = ""  # more lines for its [mail]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.place = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-relay-"))
        cls.place.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.place)
        cls.authority = Authority(cls.place / "authority")
        if cls.stored:
            domains = (FAR, *cls.domains)
            cls.store = cls.started(MailServer("max_message_bytes = 104857600\n", domains, "store.test", cls.boxes))

    def setUp(self):
        self.tag = re.sub(r"[^a-z0-9]", "", self.id().rsplit(".", 1)[-1].lower())

    @classmethod
    def edge(cls, *routes, **named):
        """A server with these routes, started, until the end of the class."""
        return cls.started(Edge(*routes, **named))

    @classmethod
    def free_port(cls):
        """One that nobody listens on, and nobody else will until the end of the class."""
        port = harness.Port()
        cls.addClassCleanup(port.close)
        return port.number

    @classmethod
    def room(cls, name):
        """A folder that everybody may enter."""
        room = cls.place / name
        room.mkdir()
        return room

    @classmethod
    def started(cls, server):
        """A server, started, until the end of the class."""
        cls.addClassCleanup(server.stop)
        return server.start()

    def address(self, name="user", domain=FAR):
        """A recipient of this test."""
        return f"{name}-{self.tag}@{domain}"

    @property
    def sender(self):
        """The sender of this test, who has a mailbox on the edge."""
        return self.address("sender", DOMAIN)

    def send(self, edge, message, recipients, options=(), notify=(), sender=None):
        """Gives a message to a server, in one transaction."""
        with smtplib.SMTP("127.0.0.1", edge.port, "client.test", timeout=DEADLINE_SECONDS) as smtp:
            smtp.sendmail(self.sender if sender is None else sender, recipients, message, list(options), list(notify))

    @staticmethod
    def files(server, address):
        """The files in a mailbox."""
        folder = server.mail / address.rpartition("@")[0] / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def arrived(self, message, address, trace):
        """Waits for a message in a mailbox of the store. It has to be this one, octet for octet, below trace fields
        of which each has one of `trace`, the topmost first."""
        eventually(lambda: self.files(self.store, address), f"{address} has it")
        [path] = self.files(self.store, address)
        fields, rest = below_trace(path.read_bytes())
        if rest != message:
            at = len(os.path.commonprefix([rest, message]))
            self.fail(f"differs from octet {at} on: {message[at : at + 100]!r}, held {rest[at : at + 100]!r}")
        self.assertEqual(len(fields), 1 + len(trace), fields)
        for field, word in zip(fields[1:], trace):
            self.assertIn(word, field)

    def report(self, edge, sender=None):
        """Waits for the only report in the sender's mailbox on the edge."""
        address = sender or self.sender
        eventually(
            lambda: self.files(edge, address),
            f"a report\n{edge.log()[-3000:]}",
        )
        [path] = self.files(edge, address)
        return Report(path.read_bytes())


def below_trace(content):
    """The trace fields in front, and what is below them."""
    fields, at = [], 0
    while found := TRACE.match(content, at):
        fields.append(found[0])
        at = found.end()
    return fields, content[at:]
