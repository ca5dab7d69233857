"""Mailboxes elsewhere, by LMTP: a Dovecot, by TCP and by its Unix socket. What becomes of each recipient."""

import os
import pwd
import smtplib

import dovecot
import harness
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, letter
from relaying import FAR, RelayCase, route

SMALL = "1000"
MANY = 200


class Dovecot(RelayCase):
    """`lmtp:` to one domain by TCP, to another by the socket; a third is in clear where TLS has to be."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        users = {name: ("x", None) for name in ("ann", "carl", "eve", "jürgen", *(f"m{n}" for n in range(MANY)))}
        users["small"] = ("x", SMALL)
        # One whose mailbox cannot be written for now.
        users["locked"] = ("x", None)
        room = cls.room("dovecot")
        cls.boxes = dovecot.Dovecot(dovecot.program(), room, users, cls.authority.issue("boxes"))
        cls.locked = room / "home/locked"
        cls.locked.mkdir(mode=0o500)
        cls.started(cls.boxes)
        cls.table = cls.place / "table"
        cls.table.write_text(f"ann\nearly@table.{FAR}\n")
        tcp = f"lmtp:localhost:{cls.boxes.port}"
        cls.own = cls.edge(
            route(f"*@{FAR}", tcp),
            route(f"*@must.{FAR}", tcp, 'tls = "must"'),
            route(f"*@unix.{FAR}", f"lmtp:unix:{cls.boxes.socket}"),
            route(f"*@table.{FAR}", tcp, f'recipients = "{cls.table}"'),
            ca=cls.authority.ca,
        )

    def held(self, name, message):
        """Waits for this message in a mailbox: once, and octet for octet below what Dovecot and the edge put in front. That."""

        def heads():
            contents = [path.read_bytes() for path in self.boxes.mailbox(name)]
            return [content[: -len(message)] for content in contents if content.endswith(message)]

        harness.eventually(heads, f"{name} has it\n{self.boxes.log()}\n{self.own.log()[-2000:]}")
        [head] = heads()
        self.assertTrue(head.startswith(f"Return-Path: <{self.sender}>\r\n".encode()), head)
        self.assertEqual(head.count(b"\r\nReceived: "), 2, head)
        return head

    def message(self, body=AWKWARD):
        """One that no other test sends."""
        return letter(body, subject=self.tag)

    def test_by_tcp(self):
        self.send(self.own, self.message(), [f"ann@{FAR}", f"eve+tag@{FAR}"])
        self.held("ann", self.message())
        self.held("eve", self.message())
        self.own.settled()

    def test_by_the_unix_socket(self):
        body = AWKWARD + EIGHT_BITS + b"line of text\r\n" * 30_000
        self.send(self.own, self.message(body), [f"ann@unix.{FAR}", f"carl@unix.{FAR}"], ["BODY=8BITMIME"])
        self.held("ann", self.message(body))
        self.held("carl", self.message(body))
        self.own.settled()

    def test_in_tls(self):
        self.send(self.own, self.message(), [f"ann@must.{FAR}"])
        self.assertIn(b"(using TLSv1.3", self.held("ann", self.message()))

    def test_many_at_once(self):
        self.send(self.own, self.message(), [f"m{number}@{FAR}" for number in range(MANY)])
        for number in range(MANY):
            self.held(f"m{number}", self.message())
        self.own.settled()

    def test_each_recipient_for_itself(self):
        message = self.message(AWKWARD + b"more than its mailbox takes\r\n" * 50)
        self.send(self.own, message, [f"{name}@{FAR}" for name in ("nobody", "ann", "small", "locked", "carl")])
        self.held("ann", message)
        self.held("carl", message)
        status = self.report(self.own).status
        self.assertEqual({to: it[:2] for to, it in status.items()}, {
            f"nobody@{FAR}": ("failed", "5.1.1"), f"small@{FAR}": ("failed", "5.2.2"),
        })
        self.assertIn("Quota exceeded", status[f"small@{FAR}"][2])
        self.assertIn("4.2.0", self.own.deferred(f"locked@{FAR}"))
        # Now it can be written: who had it does not get it again.
        os.chown(self.locked, pwd.getpwnam(dovecot.NOBODY).pw_uid, -1)
        self.locked.chmod(0o700)
        self.own.retry()
        self.held("locked", message)
        self.own.settled()
        self.held("ann", message)
        self.assertEqual(len(self.files(self.own, self.sender)), 1)

    def test_what_was_done_is_told(self):
        to = f"ann@{FAR}"
        self.send(self.own, self.message(), [to], ["ENVID=a+2Bb"], ["NOTIFY=SUCCESS,FAILURE"])
        self.held("ann", self.message())
        report = self.report(self.own)
        self.assertEqual(report.status[to][:2], ("delivered", "2.0.0"))
        self.assertIn(b"Original-Envelope-Id: a+b\r\n", report.octets)

    def test_a_table_of_recipients_that_changes(self):
        known, unknown = f"ann@table.{FAR}", f"eve@table.{FAR}"
        self.send(self.own, self.message(), [known])
        self.held("ann", self.message())
        self.assertEqual(self.refusal(unknown)[0], 550)
        self.assertIn(b"5.1.1", self.refusal(unknown)[1])
        self.table.write_text("eve\n")
        harness.eventually(lambda: self.refusal(unknown) is None, "the new one is taken")
        self.assertEqual(self.refusal(known)[0], 550)
        # One that is wrong changes nothing.
        self.table.write_text("eve\nann@@\n")
        harness.eventually(lambda: "not reloaded" in self.own.log(), "the log says so")
        self.assertIsNone(self.refusal(unknown))
        self.own.settled()

    def refusal(self, to):
        """The reply to RCPT, or None where it is taken."""
        with smtplib.SMTP("127.0.0.1", self.own.port, "client.test", timeout=30) as smtp:
            smtp.ehlo()
            smtp.mail(f"someone@{DOMAIN}")
            answer = smtp.rcpt(to)
            return None if answer[0] == 250 else answer
