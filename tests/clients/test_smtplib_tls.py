"""Python's smtplib with TLS: sessions of many messages, every way to log in, and SCRAM spelled out."""

import base64
import hashlib
import hmac
import secrets
import smtplib
import ssl
import threading

from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, letter
from secure import HOST, SecureMailCase, context

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Scram:
    """RFC 5802 §3 and RFC 7677 as a client, word by word."""

    def __init__(self, user, password):
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._password = password.encode()
        self._first = f"n={name},r={secrets.token_hex(12)}"
        self.proven = False

    def first(self):
        return "n,," + self._first

    def answer(self, challenge):
        """What to say to the server's first and last message."""
        if challenge.startswith("v="):
            self.proven = hmac.compare_digest(base64.b64decode(challenge[2:]), self._server)
            return ""
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        if not fields["r"].startswith(self._first.rpartition("r=")[2]):
            raise AssertionError("the server's nonce is not made of ours")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        final = f"c={base64.b64encode(b'n,,').decode()},r={fields['r']}"
        said = f"{self._first},{challenge},{final}".encode()
        client = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client).digest(), said, "sha256")
        self._server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256")
        proof = bytes(a ^ b for a, b in zip(client, signature))
        return f"{final},p={base64.b64encode(proof).decode()}"


class SmtplibTls(SecureMailCase):
    def starttls(self, listener="smtp", version=None):
        """A client after STARTTLS."""
        smtp = smtplib.SMTP(HOST, self.server.port(listener), "client.test", timeout=30)
        self.addCleanup(smtp.close)
        self.assertEqual(smtp.starttls(context=context(self.server.ca, version))[0], 220)
        return smtp

    def implicit(self, version=None):
        """A client on the port with implicit TLS."""
        safe = context(self.server.ca, version)
        smtp = smtplib.SMTP_SSL(HOST, self.server.port("smtps"), "client.test", timeout=30, context=safe)
        self.addCleanup(smtp.close)
        return smtp

    def send(self, smtp, by=b"ESMTPS", content=None):
        content = content or letter(AWKWARD, sender=self.sender)
        self.assertEqual(smtp.sendmail(self.sender, [self.address()], content), {})
        self.delivered(content, by=by)

    def test_starttls(self):
        for number, version in enumerate((V1_2, V1_3)):
            self.tag = f"starttls{number}"
            self.send(self.starttls(version=version))

    def test_implicit(self):
        for number, version in enumerate((V1_2, V1_3)):
            self.tag = f"implicit{number}"
            smtp = self.implicit(version)
            smtp.ehlo()
            self.assertFalse(smtp.has_extn("starttls"))
            self.assertEqual(self.plain_by_hand(smtp, True)[0], 235)
            self.send(smtp, by=b"ESMTPSA")

    def test_what_is_offered(self):
        """STARTTLS before, AUTH behind; and nothing twice (RFC 3207 §4.2)."""
        smtp = smtplib.SMTP(HOST, self.server.port("submission"), "client.test", timeout=30)
        self.addCleanup(smtp.close)
        smtp.ehlo()
        self.assertTrue(smtp.has_extn("starttls"))
        self.assertFalse(smtp.has_extn("auth"))
        smtp.starttls(context=context(self.server.ca))
        self.assertIn(smtp.docmd("MAIL", f"FROM:<{self.sender}>")[0], (503, 530))
        smtp.ehlo()
        self.assertFalse(smtp.has_extn("starttls"))
        self.assertLessEqual({"PLAIN", "LOGIN", "SCRAM-SHA-256"}, set(smtp.esmtp_features["auth"].split()))
        self.assertEqual(smtp.docmd("STARTTLS")[0], 503)

    def test_each_login(self):
        for how in (self.plain_by_hand, self.login_by_hand):
            for initial in (True, False):
                for listener in ("submission", "smtps"):
                    self.tag = f"{how.__name__[:5]}{initial}{listener}".lower()
                    smtp = self.implicit() if listener == "smtps" else self.starttls(listener)
                    smtp.ehlo()
                    code, said = how(smtp, initial)
                    self.assertEqual((code, said[:5]), (235, b"2.7.0"))
                    self.assertEqual(smtp.docmd("AUTH", "PLAIN")[0], 503)
                    self.send(smtp, by=b"ESMTPSA")

    # By hand, because smtplib encodes passwords in ASCII only.
    def plain_by_hand(self, smtp, initial):
        words = base64.b64encode(f"\0{self.account}\0{self.password}".encode()).decode()
        if initial:
            return smtp.docmd("AUTH", f"PLAIN {words}")
        self.assertEqual(smtp.docmd("AUTH", "PLAIN")[0], 334)
        return smtp.docmd(words)

    def login_by_hand(self, smtp, initial):
        user, word = (base64.b64encode(text.encode()).decode() for text in (self.account, self.password))
        code, _ = smtp.docmd("AUTH", f"LOGIN {user}" if initial else "LOGIN")
        self.assertEqual(code, 334)
        if not initial:
            self.assertEqual(smtp.docmd(user)[0], 334)
        return smtp.docmd(word)

    def scram(self, smtp, user, password):
        """AUTH SCRAM-SHA-256; the last reply, and whether the server proved itself."""
        client = Scram(user, password)
        first = base64.b64encode(client.first().encode()).decode()
        code, said = smtp.docmd("AUTH", f"SCRAM-SHA-256 {first}")
        while code == 334:
            answer = client.answer(base64.b64decode(said).decode())
            code, said = smtp.docmd(base64.b64encode(answer.encode()).decode())
        return code, said, client.proven

    def test_scram(self):
        for listener in ("submission", "smtps"):
            self.tag = f"scram{listener}"
            smtp = self.implicit() if listener == "smtps" else self.starttls(listener)
            smtp.ehlo()
            code, said, proven = self.scram(smtp, self.account, self.password)
            self.assertEqual((code, said[:5], proven), (235, b"2.7.0", True))
            self.send(smtp, by=b"ESMTPSA")

    def test_scram_tells_nothing_about_who_exists(self):
        """The same answers, and the same salt each time, whether the account exists or not."""
        for user in (self.account, "nobody-at-all"):
            salts = set()
            for _ in range(2):
                smtp = self.starttls("submission")
                smtp.ehlo()
                client = Scram(user, "wrong")
                first = base64.b64encode(client.first().encode()).decode()
                code, said = smtp.docmd("AUTH", f"SCRAM-SHA-256 {first}")
                self.assertEqual(code, 334)
                challenge = base64.b64decode(said).decode()
                fields = dict(part.split("=", 1) for part in challenge.split(","))
                salts.add((fields["s"], fields["i"]))
                answer = client.answer(challenge)
                code, said = smtp.docmd(base64.b64encode(answer.encode()).decode())
                self.assertEqual((code, said[:5]), (535, b"5.7.8"))
            self.assertEqual(len(salts), 1, user)

    def test_cancelled_login(self):
        smtp = self.starttls("submission")
        smtp.ehlo()
        for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
            self.assertEqual(smtp.docmd("AUTH", mechanism)[0], 334)
            self.assertEqual(smtp.docmd("*")[0], 501)
        self.assertEqual(smtp.docmd("NOOP")[0], 250)

    def test_only_ones_own_addresses(self):
        smtp = self.starttls("submission")
        smtp.ehlo()
        code, said = self.scram(smtp, self.account, self.password)[:2]
        self.assertEqual(code, 235, said)
        code, said = smtp.docmd("MAIL", f"FROM:<somebody-else@{DOMAIN}>")
        self.assertEqual((code, said[:5]), (553, b"5.7.1"))
        self.send(smtp, by=b"ESMTPSA")

    def test_many_messages_in_one_session(self):
        smtp = self.starttls()
        content = letter(EIGHT_BITS, sender=self.sender)
        for _ in range(25):
            smtp.sendmail(self.sender, [self.address()], content)
        self.delivered(content, messages=25)

    def test_a_large_message(self):
        content = letter(b"x" * 998 + b"\r\n", sender=self.sender) + b"some line of it\r\n" * 400_000
        smtp = self.implicit()
        smtp.ehlo()
        self.assertEqual(self.login_by_hand(smtp, True)[0], 235)
        self.send(smtp, content=content, by=b"ESMTPSA")

    def test_twenty_at_once(self):
        problems = []
        content = letter(AWKWARD * 20, sender=self.sender)

        def one(number):
            try:
                with self.starttls(version=(V1_2, V1_3)[number % 2]) as smtp:
                    for _ in range(3):
                        smtp.sendmail(self.sender, [self.address()], content)
            except (OSError, smtplib.SMTPException) as error:
                problems.append(error)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.delivered(content, messages=60)


class Required(SecureMailCase):
    """`tls = "required"`: nothing but the way to it (RFC 3207 §4)."""

    smtp = 'tls = "required"\n'

    def test_mail_in_clear_is_refused(self):
        smtp = smtplib.SMTP(HOST, self.server.port("smtp"), "client.test", timeout=30)
        self.addCleanup(smtp.close)
        self.assertEqual(smtp.ehlo()[0], 250)
        code, said = smtp.docmd("MAIL", f"FROM:<a@{DOMAIN}>")
        self.assertEqual((code, said[:5]), (530, b"5.7.0"))
        self.assertEqual(smtp.docmd("NOOP")[0], 250)
        smtp.starttls(context=context(self.server.ca))
        content = letter(b"in private\r\n")
        smtp.sendmail(f"a@{DOMAIN}", [self.address()], content)
        self.delivered(content)


class Off(SecureMailCase):
    """`tls = "off"`: not offered, not taken."""

    smtp = 'tls = "off"\n'
    submission = False

    def test_nothing_is_offered(self):
        smtp = smtplib.SMTP(HOST, self.server.port("smtp"), "client.test", timeout=30)
        self.addCleanup(smtp.close)
        smtp.ehlo()
        self.assertFalse(smtp.has_extn("starttls"))
        self.assertIn(smtp.docmd("STARTTLS")[0] // 100, (4, 5))
