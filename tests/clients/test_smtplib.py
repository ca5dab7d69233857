"""Python's smtplib: sessions of several messages, 8BITMIME, SMTPUTF8, large messages."""

import email.message
import email.policy
import random
import smtplib
import threading

from harness import eventually
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, letter


class Smtplib(MailCase):
    def client(self):
        """A connected client."""
        smtp = smtplib.SMTP("127.0.0.1", self.wire.port, "client.test", timeout=30)
        self.addCleanup(smtp.close)
        return smtp

    def test_one_message(self):
        message = letter(AWKWARD)
        with self.client() as smtp:
            self.assertEqual(smtp.sendmail(f"someone@{DOMAIN}", [self.address()], message), {})
        [sent] = self.arrived()
        self.assertTrue(sent.content == message)

    def test_helo_only(self):
        with self.client() as smtp:
            smtp.helo("old.test")
            smtp.sendmail(f"someone@{DOMAIN}", [self.address()], letter(b"old\r\n"))
        self.arrived()
        [path] = self.mailbox(self.address())
        self.assertRegex(path.read_bytes(), rb"\bwith SMTP\b")

    def test_null_sender_and_empty_body(self):
        with self.client() as smtp:
            smtp.sendmail("", [self.address()], b"Subject: empty\r\n\r\n")
        self.arrived()

    def test_many_messages_in_one_session(self):
        with self.client() as smtp:
            for number in range(25):
                smtp.sendmail(f"s{number}@{DOMAIN}", [self.address()], letter(b"%d\r\n" % number))
                if number % 5 == 0:
                    smtp.rset()
                    smtp.noop()
        self.arrived(25)

    def test_many_recipients(self):
        everybody = [self.address(f"r{number}") for number in range(120)]
        with self.client() as smtp:
            smtp.sendmail(f"someone@{DOMAIN}", everybody, letter(AWKWARD))
        [sent] = self.arrived()
        self.assertEqual(len(sent.recipients), 120)

    def test_some_recipients_refused(self):
        with self.client() as smtp:
            refused = smtp.sendmail(
                f"someone@{DOMAIN}", [self.address(), "x@elsewhere.test"], letter(b"half\r\n")
            )
        self.assertEqual(list(refused), ["x@elsewhere.test"])
        self.assertEqual(refused["x@elsewhere.test"][0], 550)
        message = letter(b"half\r\n")
        eventually(lambda: self.mailbox(self.address()), "the message")
        [path] = self.mailbox(self.address())
        self.assertTrue(path.read_bytes().endswith(b"\r\n" + message))

    def test_8bitmime(self):
        message = letter(EIGHT_BITS, extra=b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n")
        with self.client() as smtp:
            smtp.sendmail(f"a@{DOMAIN}", [self.address()], message, ["BODY=8BITMIME"])
        [sent] = self.arrived()
        self.assertTrue(sent.content == message)

    def test_smtputf8(self):
        message = email.message.EmailMessage(policy=email.policy.SMTPUTF8)
        message["From"] = f"jörg@{DOMAIN}"
        message["To"] = self.address("jürgen")
        message["Subject"] = "Grüße 日本"
        message.set_content("Schöne Grüße\n", cte="8bit")
        with self.client() as smtp:
            smtp.send_message(message)
        self.arrived()
        [path] = self.mailbox(self.address("jürgen"))
        self.assertRegex(path.read_bytes(), rb"\bwith UTF8SMTP\b")

    def test_dsn_parameters(self):
        with self.client() as smtp:
            smtp.sendmail(
                f"a@{DOMAIN}",
                [self.address()],
                letter(b"dsn\r\n"),
                mail_options=["RET=HDRS", "ENVID=abc+2Bdef"],
                rcpt_options=["NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;user@{DOMAIN}"],
            )
        self.arrived()

    def test_a_large_message(self):
        text = random.Random(5).randbytes(6_000_000).hex().encode()
        lines = b"\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))
        with self.client() as smtp:
            smtp.sendmail(f"a@{DOMAIN}", [self.address()], letter(lines + b"\r\n"))
        self.arrived()

    def test_twenty_at_once(self):
        problems = []

        def one(number):
            try:
                with smtplib.SMTP("127.0.0.1", self.wire.port, timeout=30) as smtp:
                    for part in range(3):
                        body = letter(b"%d %d\r\n" % (number, part) * 400)
                        smtp.sendmail(f"s{number}@{DOMAIN}", [self.address()], body)
            except (OSError, smtplib.SMTPException) as error:
                problems.append(error)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.arrived(60)
