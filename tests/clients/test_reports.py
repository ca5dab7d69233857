"""Reports as Python's email package reads them, and mail that aliases and lists send on, as the next server sees it."""

import email
import email.policy
import re
import smtplib
import socketserver
import threading

from harness import eventually
from mailharness import DOMAIN, EIGHT_BITS, MailCase, letter, take_apart

ALIASES = """\
out: someone@far.test
staff: one@far.test, two@far.test
owner-staff: ann
"""


class Sink(socketserver.StreamRequestHandler):
    """A server that takes mail for everybody but those whose name begins with `no`."""

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        sender, recipients = None, []
        self.say("220 far.test")
        for line in self.rfile:
            verb = line[:4].upper()
            path = re.search(rb"<(.*?)>", line)
            if verb == b"EHLO":
                self.say("250-far.test\r\n250-8BITMIME\r\n250 SMTPUTF8")
            elif verb == b"MAIL":
                sender, recipients = path[1].decode(), []
                self.say("250 2.1.0 Ok")
            elif verb == b"RCPT" and path[1].startswith(b"no"):
                self.say("550 5.1.1 nobody of that name")
            elif verb == b"RCPT":
                recipients.append(path[1].decode())
                self.say("250 2.1.5 Ok")
            elif verb == b"DATA" and not recipients:
                self.say("554 5.5.1 no recipients")
            elif verb == b"DATA":
                self.say("354 go on")
                octets = b""
                for text in self.rfile:
                    if text == b".\r\n":
                        break
                    octets += text.removeprefix(b".")
                self.server.taken.append((sender, recipients, octets))
                self.say("250 2.0.0 taken")
            elif verb == b"QUIT":
                self.say("221 2.0.0 bye")
                return
            else:
                self.say("250 2.0.0 Ok")


class Far(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Sink)
        self.taken = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Reports(MailCase):
    """A server before another one."""

    mail = 'srs_domain = "srs.test"\nverp_lists = ["staff"]\npostmaster_copies = ["bounce"]\n'
    aliases = ALIASES

    @classmethod
    def setUpClass(cls):
        cls.far = Far()
        cls.addClassCleanup(cls.far.server_close)
        cls.addClassCleanup(cls.far.shutdown)
        port = cls.far.server_address[1]
        route = f'[[smtp.route]]\nrecipient = "*"\nto = "relay:127.0.0.1:{port}"\ntls = "none"\n'
        cls.smtp = f'relay_from = ["127.0.0.1"]\n{route}'
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.far.taken.clear()

    def send(self, sender, recipients, message, options=(), to_options=()):
        with smtplib.SMTP("127.0.0.1", self.server.port, timeout=30) as smtp:
            smtp.sendmail(sender, recipients, message, options, to_options)

    def report(self, sender, name=None):
        """The only report in the sender's mailbox, taken apart: its parts, of which nothing is wrong."""
        name = name or sender
        eventually(lambda: self.mailbox(name), f"the report\n{self.server.log()[-3000:]}")
        [path] = self.mailbox(name)
        content = path.read_bytes()
        self.assertTrue(content.startswith(b"Return-Path: <>\r\n"))
        self.assertNotRegex(content, rb"[^\r]\n")
        report = email.message_from_bytes(content, policy=email.policy.SMTP)
        for part in report.walk():
            self.assertEqual(part.defects, [], part)
            for value in part.values():
                self.assertEqual(getattr(value, "defects", ()), (), value)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        self.assertEqual(report["From"].addresses[0].addr_spec, "MAILER-DAEMON@edge.test")
        self.assertEqual(report["To"].addresses[0].addr_spec, name)
        self.assertIsNotNone(report["Date"].datetime.tzinfo)
        human, status, returned = report.iter_parts()
        self.assertEqual(human.get_content_type(), "text/plain")
        return report, human.get_content(), status, returned

    def test_a_failure(self):
        sender = self.address("ann")
        message = letter(EIGHT_BITS, extra=b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n")
        options = ["BODY=8BITMIME", "ENVID=id+2Bone"]
        to = ["nobody@far.test", "somebody@far.test"]
        self.send(sender, to, message, options, ["ORCPT=rfc822;first@far.test"])
        report, human, status, returned = self.report(sender)
        self.assertEqual(report["Subject"], "Your message could not be delivered")
        self.assertIn("<nobody@far.test>", human)
        self.assertNotIn("somebody", human)
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        whole, one = status.get_payload()
        self.assertEqual(whole["Reporting-MTA"], "dns; edge.test")
        self.assertEqual(whole["Original-Envelope-Id"], "id+one")
        self.assertIsNotNone(email.utils.parsedate_to_datetime(whole["Arrival-Date"]).tzinfo)
        self.assertEqual(one["Final-Recipient"], "rfc822;nobody@far.test")
        self.assertEqual(one["Original-Recipient"], "rfc822;first@far.test")
        self.assertEqual((one["Action"], one["Status"]), ("failed", "5.1.1"))
        self.assertEqual(one["Remote-MTA"], "dns; 127.0.0.1")
        self.assertEqual(one["Diagnostic-Code"], "smtp; 550 5.1.1 nobody of that name")
        # What goes back is what came, below our line.
        self.assertEqual(returned.get_content_type(), "message/rfc822")
        [path] = self.mailbox(sender)
        _, _, after = path.read_bytes().partition(b"Content-Type: message/rfc822\r\n")
        _, _, after = after.partition(b"\r\n\r\n")
        inner, _, _ = after.rpartition(b"\r\n--")
        _, _, original = take_apart(b"Return-Path: <x>\r\n" + inner)
        self.assertTrue(original == message)
        eventually(lambda: self.far.taken, "the other recipient's copy")
        self.assertEqual(self.far.taken[0][1], ["somebody@far.test"])
        self.copy_for_the_postmaster(sender)

    def copy_for_the_postmaster(self, sender):
        postmaster = f"postmaster@{DOMAIN}"
        _, human, status, returned = self.report(sender, postmaster)
        self.assertIn("This is a copy", human)
        self.assertIn(f"<{sender}>", human)
        self.assertEqual(status.get_payload()[1]["Action"], "failed")
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        self.without_a_copy()

    def without_a_copy(self):
        """Waits for the postmaster's copy, which comes at its own time, and takes it away: other tests look for theirs."""
        address = f"postmaster@{DOMAIN}"
        eventually(lambda: self.mailbox(address), f"the copy\n{self.server.log()[-3000:]}")
        [path] = self.mailbox(address)
        path.unlink()

    def test_headers_only(self):
        sender = self.address("ann")
        message = "Subject: Grüße\r\n\r\nbody\r\n".encode()
        self.send(f"{sender}", ["no@far.test"], message, ["RET=HDRS", "BODY=8BITMIME"])
        _, _, _, returned = self.report(sender)
        self.assertEqual(returned.get_content_type(), "text/rfc822-headers")
        header = returned.get_payload(decode=True)
        self.assertTrue(header.endswith("Subject: Grüße\r\n".encode()), header)
        self.without_a_copy()

    def test_success_on_request(self):
        sender = self.address("ann")
        self.send(sender, ["yes@far.test"], letter(b"x\r\n"), (), ["NOTIFY=SUCCESS"])
        report, _, status, _ = self.report(sender)
        self.assertEqual(report["Subject"], "Your message was sent on")
        one = status.get_payload()[1]
        self.assertEqual((one["Action"], one["Status"]), ("relayed", "2.0.0"))

    def test_forwarding_and_the_way_back(self):
        message = letter(b"hello\r\n")
        self.send("me@else.test", [f"out@{DOMAIN}"], message)
        eventually(lambda: self.far.taken, "the message")
        [(sender, to, octets)] = self.far.taken
        self.assertRegex(sender, r"\ASRS0=[A-Z2-7]{6}=[A-Z2-7]{2}=else\.test=me@srs\.test\Z")
        self.assertEqual(to, ["someone@far.test"])
        first, _, rest = octets.partition(b"\r\n")
        self.assertEqual(first.decode(), f"Delivered-To: out@{DOMAIN}")
        self.assertTrue(take_apart(b"Return-Path: <x>\r\n" + rest)[2] == message)

        self.far.taken.clear()
        self.send("", [sender], message)
        eventually(lambda: self.far.taken, "the bounce")
        self.assertEqual(self.far.taken[0][:2], ("", ["me@else.test"]))

        # It comes back to us as it went out: that ends there, and whoever sent it hears of it.
        self.far.taken.clear()
        ann = self.address("ann")
        self.send(ann, [f"out@{DOMAIN}"], octets)
        _, _, status, _ = self.report(ann)
        self.assertEqual(status.get_payload()[1]["Status"], "5.4.6")
        self.assertEqual(self.far.taken, [])
        self.without_a_copy()

    def test_a_list_with_a_sender_for_each(self):
        self.send("me@else.test", [f"staff@{DOMAIN}"], letter(b"hello\r\n"))
        eventually(lambda: len(self.far.taken) == 2, "both copies")
        sent = sorted(one[:2] for one in self.far.taken)
        wanted = [(f"owner-staff+{who}=far.test@{DOMAIN}", [f"{who}@far.test"]) for who in ("one", "two")]
        self.assertEqual(sent, wanted)
