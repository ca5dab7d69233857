"""Milters: OpenDKIM signs and verifies what goes through, rspamd refuses GTUBE, and one of our own does everything
there is, well and badly."""

import pathlib
import shutil
import smtplib
import struct
import subprocess
import tempfile

import harness
import milters
from harness import DEADLINE_SECONDS, eventually
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, MailServer, letter, take_apart
from milters import CONTINUE, Puppet, field, packet

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"


def table(address, *lines):
    """One [[smtp.milter]]."""
    return "\n".join(["[[smtp.milter]]", f'address = "{address}"', *lines, ""])


class Milters(MailCase):
    """A server for each test, because each has its milters."""

    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-milter-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.tag = self.id().rsplit(".", 1)[-1].replace("_", "")

    def serve(self, *tables):
        """A server that asks them, in this order."""
        self.server = MailServer("".join(tables))
        self.server.start()
        self.addCleanup(self.server.stop)

    def puppet(self, answers=None, agreed=milters.OFFER, *lines):
        """A milter of our own and a server that asks it."""
        puppet = Puppet(answers, agreed)
        self.addCleanup(puppet.stop)
        self.serve(table(f"127.0.0.1:{puppet.port}", *lines))
        return puppet

    def smtp(self):
        """A session."""
        client = smtplib.SMTP("127.0.0.1", self.server.port, "client.test", timeout=DEADLINE_SECONDS)
        self.addCleanup(client.close)
        return client

    def send(self, content=None, recipients=None):
        """Sends one message."""
        content = letter(b"hello\r\n") if content is None else content
        with self.smtp() as client:
            client.sendmail(f"someone@{DOMAIN}", recipients or [self.address()], content)
        return content

    def refused(self, content=None):
        """Sends one that is refused at its end; how."""
        with self.assertRaises(smtplib.SMTPDataError) as caught:
            self.send(content)
        return caught.exception.smtp_code, caught.exception.smtp_error.decode()

    def only(self, address=None):
        """The message in that mailbox, without what delivery adds."""
        address = address or self.address()
        eventually(lambda: self.mailbox(address), f"a message for {address}", DEADLINE_SECONDS)
        (path,) = self.mailbox(address)
        return take_apart(path.read_bytes())[2]


class OpenDkim(Milters):
    def setUp(self):
        super().setUp()
        self.programs = milters.Programs(harness.PEERS)
        harness.lacking(self.programs.missing("usr/sbin/opendkim"))
        harness.need("openssl")
        key = self.folder / "key.pem"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        public = subprocess.run(
            ["openssl", "rsa", "-in", key, "-pubout"], check=True, capture_output=True, text=True
        ).stdout
        record = "".join(line for line in public.splitlines() if not line.startswith("-"))
        (self.folder / "keys").write_text(f"mail._domainkey.{DOMAIN} v=DKIM1; k=rsa; p={record}\n")

    def dkim(self, name, lines):
        """Starts one."""
        real = milters.opendkim(self.programs, self.folder, name, lines)
        self.addCleanup(real.stop)
        return table(f"unix:{real.path}")

    def test_a_signature_that_holds(self):
        for canonical in ("simple/simple", "relaxed/relaxed"):
            with self.subTest(canonical):
                tag = canonical[:4]
                signer = self.dkim(
                    f"signer-{tag}",
                    f"Mode s\nDomain {DOMAIN}\nSelector mail\nKeyFile {self.folder}/key.pem\n"
                    f"Canonicalization {canonical}\nOversignHeaders From\n",
                )
                verifier = self.dkim(
                    f"verifier-{tag}",
                    f"Mode v\nTestPublicKeys {self.folder}/keys\nAuthservID edge.test\nAlwaysAddARHeader yes\n"
                    f"On-BadSignature accept\n",
                )
                self.serve(signer)
                folded = b"X-Odd:  two  spaces \r\n\tfolded \r\nX-Tight:none\r\nX-Empty:\r\n"
                bodies = (AWKWARD, EIGHT_BITS, b"", (b"x" * 70 + b"\r\n") * 20_000)
                for number, body in enumerate(bodies):
                    self.send(letter(body, extra=folded), [self.address(f"{tag}{number}")])
                held = [self.only(self.address(f"{tag}{number}")) for number in range(len(bodies))]
                for one, body in zip(held, bodies):
                    self.assertTrue(one.startswith(b"DKIM-Signature: v=1;"), one[:80])
                    self.assertTrue(one.endswith(letter(body, extra=folded)))
                # The other one looks at what arrived, as it arrived, and at one that somebody changed.
                self.serve(verifier)
                changed = held[0].replace(b"Subject: a letter", b"Subject: another")
                for number, one in enumerate([*held, changed]):
                    address = self.address(f"{tag}v{number}")
                    self.send(one, [address])
                    result = self.only(address)
                    said = b"dkim=fail" if one is changed else b"dkim=pass"
                    self.assertIn(said, result.partition(b"\r\nDKIM-Signature")[0], result[:400])


class Rspamd(Milters):
    def test_gtube_is_refused(self):
        programs = milters.Programs(harness.PEERS)
        harness.lacking(programs.missing("usr/bin/rspamd"))
        real = milters.rspamd(programs, self.folder)
        self.addCleanup(real.stop)
        self.serve(table(f"unix:{real.path}"))
        code, text = self.refused(letter(GTUBE))
        self.assertEqual((code, text), (554, "5.7.1 Gtube pattern"))
        for number in range(3):
            fine = self.send(letter(AWKWARD), [self.address(f"fine{number}")])
            self.assertEqual(self.only(self.address(f"fine{number}")), fine)
        code, _ = self.refused(letter(GTUBE))
        self.assertEqual(code, 554)


class OfOurOwn(Milters):
    def test_what_it_is_told(self):
        puppet = self.puppet()
        content = self.send(letter(AWKWARD, extra=b"X-Folded: a\r\n\tb\r\n"))
        self.assertEqual(self.only(), content)
        told = dict(puppet.told)
        self.assertTrue(told["C"].startswith(b"unknown\x004") and told["C"].endswith(b"127.0.0.1\0"))
        self.assertEqual(told["H"], b"client.test\0")
        self.assertEqual(puppet.heard("M")[0].split(b"\0")[0], f"<someone@{DOMAIN}>".encode())
        self.assertEqual(puppet.heard("R"), [f"<{self.address()}>\0".encode()])
        self.assertEqual(puppet.heard("L")[-1], b"X-Folded\0a\n\tb\0")
        self.assertEqual(b"".join(puppet.heard("B")), AWKWARD)
        macros = b"".join(puppet.heard("D"))
        for name in (b"j\0edge.test\0", b"{daemon_name}\0smtp\0", b"{client_addr}\x00127.0.0.1\0", b"{mail_addr}\0"):
            self.assertIn(name, macros)
        eventually(lambda: puppet.heard("Q"), "it hears the end")

    def test_a_large_body_goes_in_portions(self):
        puppet = self.puppet()
        body = b"0123456789abcde\r\n" * 200_000
        content = self.send(letter(body))
        self.assertTrue(self.only() == content)
        portions = puppet.heard("B")
        self.assertTrue(b"".join(portions) == body)
        self.assertTrue(max(map(len, portions)) <= 65535)

    def test_every_change(self):
        more, gone = self.address("more"), self.address("gone")
        self.puppet(
            {
                "E": field("h", "X-Last", "added\n\tfolded")
                + field("i", "X-First", "inserted", 1)
                + field("m", "Subject", "changed", 1)
                + field("m", "Message-ID", "", 1)
                + packet("e", f"<other@{DOMAIN}>\0".encode())
                + packet("+", f"<{more}>\0".encode())
                + packet("-", f"<{gone}>\0".encode())
                + packet("b", b"another ")
                + packet("p")
                + packet("b", b"body\r\n")
                + CONTINUE
            }
        )
        self.send(None, [self.address(), gone])
        eventually(self.nothing_is_left, "all is delivered")
        expected = (
            f"X-First: inserted\r\nFrom: <someone@{DOMAIN}>\r\nTo: <user@{DOMAIN}>\r\nSubject: changed\r\n"
            "Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nX-Last: added\r\n\tfolded\r\n\r\nanother body\r\n"
        )
        for address in (self.address(), more):
            self.assertEqual(self.only(address).decode(), expected)
        path, _, _ = take_apart(self.mailbox(more)[0].read_bytes())
        self.assertEqual(path.decode(), f"other@{DOMAIN}")
        self.assertEqual(self.mailbox(gone), [])

    def test_one_sees_what_another_changed(self):
        first = Puppet({"E": field("h", "X-One", "1") + packet("b", b"new\r\n") + CONTINUE})
        second = Puppet({"E": field("i", "X-Two", "2", 0) + CONTINUE})
        for puppet in (first, second):
            self.addCleanup(puppet.stop)
        self.serve(*(table(f"127.0.0.1:{puppet.port}") for puppet in (first, second)))
        self.send()
        self.assertIn(b"X-One\x001\0", second.heard("L"))
        self.assertEqual(second.heard("B"), [b"new\r\n"])
        held = self.only()
        self.assertTrue(held.startswith(b"X-Two: 2\r\n") and held.endswith(b"X-One: 1\r\n\r\nnew\r\n"), held)

    def test_quarantine_waits_for_the_operator(self):
        puppet = self.puppet({"E": packet("q", b"looks odd\0") + CONTINUE})
        content = self.send()
        config = str(self.server.config)
        queue = lambda *words: subprocess.run(
            [harness.BINARY, "queue", *words, "--config", config], capture_output=True, text=True, check=True
        ).stdout
        listed = queue("list")
        self.assertIn("held", listed)
        # What comes later is delivered, that is not.
        puppet.answers = {}
        self.send(None, [self.address("later")])
        self.only(self.address("later"))
        self.assertEqual(self.mailbox(self.address()), [])
        queue("release", "--all")
        self.assertEqual(self.only(), content)

    def test_discarded_for_all(self):
        for step in ("M", "R", "B", "E"):
            with self.subTest(step):
                self.puppet({step: packet("d")})
                self.send()
                eventually(lambda: "milter=\"discarded\"" in self.server.log(), "the log says so")
                eventually(self.nothing_is_left, "the spool is empty")
                self.assertEqual(self.mailbox(self.address()), [])

    def nothing_is_left(self):
        """Is no message in the queue?"""
        listed = subprocess.run(
            [harness.BINARY, "queue", "list", "--config", str(self.server.config)],
            capture_output=True, text=True, check=True,
        )
        return listed.stdout == "nothing waits\n"

    def test_its_own_words(self):
        words = packet("y", b"550-5.7.1 I do not like it\r\n550 5.7.1 at 100%% all\0")
        puppet = self.puppet({"E": words})
        self.assertEqual(self.refused(), (550, "5.7.1 I do not like it\n5.7.1 at 100% all"))
        puppet.answers = {"R": words}
        with self.smtp() as client:
            client.ehlo()
            client.mail(f"someone@{DOMAIN}")
            self.assertEqual(client.rcpt(self.address())[0], 550)
            puppet.answers = {"R": packet("t")}
            self.assertEqual(client.rcpt(self.address()), (451, b"4.7.1 Service unavailable, try again later"))
            puppet.answers = {}
            self.assertEqual(client.rcpt(self.address())[0], 250)
            self.assertEqual(client.data(letter(b"fine\r\n"))[0], 250)
        self.assertTrue(self.only().endswith(b"fine\r\n"))
        for step in ("C", "H", "M", "T", "L", "N", "B"):
            with self.subTest(step):
                puppet.answers = {step: packet("r")}
                with self.assertRaises((smtplib.SMTPSenderRefused, smtplib.SMTPDataError)) as caught:
                    self.send()
                self.assertEqual((caught.exception.smtp_code, caught.exception.smtp_error), (550, b"5.7.1 Rejected"))

    def test_shutdown_ends_the_session(self):
        self.puppet({"E": packet("4")})
        code, text = self.refused()
        self.assertEqual((code, text), (421, "4.7.0 edge.test takes nothing from you now, closing"))

    def test_misbehaviour_at_every_step(self):
        wrong = {
            "hangs": "hang",
            "closes": "close",
            "says no packet": b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "says nothing known": packet("Z"),
            "changes too early": field("h", "X-Early", "1") + CONTINUE,
            "smuggles a field": field("h", "X-A", "1\r\nEvil: 2"),
        }
        everywhere = [(what, step) for what in wrong for step in "OCHMRTLNBE"]
        everywhere.remove(("changes too early", "E"))  # they have their place there
        # Whoever hangs takes time, and does it elsewhere too; the others are given all the time there is.
        slow = [("hangs", step) for step in "ORE"]
        quick = [(what, step) for what, step in everywhere if what != "hangs"]
        for policy in ("tempfail", "accept"):
            for seconds, cases in ((1, slow), (DEADLINE_SECONDS, quick)):
                patience = (f"timeout_seconds = {seconds}", f"message_seconds = {2 * seconds}")
                puppet = self.puppet(None, milters.OFFER, f'on_failure = "{policy}"', *patience)
                for what, step in cases:
                    with self.subTest(f"{policy}: {what} at {step}"):
                        puppet.answers = {step: wrong[what]}
                        address = self.address(f"{policy}-{what}-{step}".replace(" ", "").lower())
                        self.send_to_broken(policy, address)
                eventually(self.nothing_is_left, "what was taken is delivered")
                held = [path for path in self.server.mail.glob("*/new/*")]
                self.assertEqual(len(held), len(cases) if policy == "accept" else 0)
                # One line each, and no more.
                log = self.server.last_words()
                self.assertEqual(log.count("a milter failed"), len(cases), log[-2000:])

    def send_to_broken(self, policy, address):
        """One message whose milter fails: refused for now, or taken as it is."""
        if policy == "accept":
            content = self.send(None, [address])
            self.assertEqual(self.only(address), content)
            return
        errors = (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)
        with self.assertRaises(errors) as caught:
            self.send(None, [address])
        error = caught.exception
        code = error.recipients[address][0] if hasattr(error, "recipients") else error.smtp_code
        self.assertEqual(code, 451)

    def test_nobody_is_there(self):
        gone = harness.Port()
        self.addCleanup(gone.close)
        self.serve(table(f"127.0.0.1:{gone.number}", 'on_failure = "accept"'), table("unix:gone.sock", 'on_failure = "accept"'))
        content = self.send()
        self.assertEqual(self.only(), content)
        eventually(lambda: self.server.log().count("a milter failed") == 2, "both are in the log")

    def test_a_kept_connection_that_ended(self):
        puppet = self.puppet()
        with self.smtp() as client:
            for number in range(3):
                client.sendmail(f"someone@{DOMAIN}", [self.address(f"n{number}")], letter(b"x\r\n"))
                for one in puppet._open:
                    one.shutdown(2)
                puppet._open.clear()
        for number in range(3):
            self.only(self.address(f"n{number}"))
        self.assertNotIn("a milter failed", self.server.last_words())

    def test_silent_steps(self):
        steps = 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x80 | 0x40000 | 0x80000 | 0x100000
        agreed = struct.pack(">III", 6, 0x1FF, steps)
        quiet = {letter: b"" for letter in "CHMRTLNB"}
        puppet = self.puppet({**quiet, "E": field("i", "X-Exact", "  two", 0) + CONTINUE}, agreed)
        content = self.send()
        self.assertEqual(self.only(), b"X-Exact:  two\r\n" + content)
        self.assertEqual(puppet.heard("L")[0], b"From\0 <someone@box.test>\0")

    def test_users_and_others(self):
        puppet = self.puppet(None, milters.OFFER, "authenticated = true")
        content = self.send()
        self.assertEqual(self.only(), content)
        self.assertEqual(puppet.told, [])
