"""A private Postfix that relays to us and insists on TLS, with a certificate that it can verify.

Postfix adds a Received line of its own, above which everything is as the client gave it.
"""

import re
import shutil
import smtplib

import postfix
from harness import DEADLINE_SECONDS, eventually
from mailharness import AWKWARD, EIGHT_BITS, letter
from secure import WITH, SecureMailCase, take_apart

# `encrypt` takes any certificate; `secure` one that the authority vouches for, for the name of the server.
LEVELS = {
    "encrypt": "smtp_tls_security_level = encrypt\n",
    "secure": "smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = edge.test\nsmtp_tls_CAfile = {ca}\n",
}
COMMON = (
    "smtp_tls_loglevel = 1\n"
    "smtp_tls_protocols = {protocols}\n"
    "smtp_tls_mandatory_protocols = {protocols}\n"
    "smtp_tls_session_cache_database = btree:$data_directory/smtp_scache\n"
)
OWN = re.compile(rb"Received: from .*?by relay\.test \(Postfix\).*?\r\n(?![ \t])", re.DOTALL)


class PostfixTls(postfix.PostfixCase, SecureMailCase):
    def relay(self, level, protocols, *letters):
        """Gives letters to a Postfix of this level, and compares once it is rid of them. Its log."""
        folder = self.folder()
        shutil.copy(self.server.ca, folder / "ca.pem")
        more = (LEVELS[level] + COMMON).format(ca=folder / "ca.pem", protocols=protocols)
        relay = self.postfix(folder, self.server.port("smtp"), more)
        with smtplib.SMTP("127.0.0.1", relay.port, "client.test", timeout=30) as smtp:
            for one in letters:
                smtp.sendmail(self.sender, [self.address()], one, ["BODY=8BITMIME"])
        eventually(relay.idle, f"Postfix relays\n{relay.log()}", DEADLINE_SECONDS)
        eventually(lambda: len(self.mailbox(self.address())) >= len(letters), "all are delivered", DEADLINE_SECONDS)
        held = []
        for path in self.mailbox(self.address()):
            _, received, octets = take_apart(path.read_bytes())
            self.assertEqual(WITH.search(received)[1], b"ESMTPS", received)
            own = OWN.match(octets)
            self.assertIsNotNone(own, octets[:400])
            held.append(octets[own.end() :])
        self.assertTrue(sorted(held) == sorted(letters), relay.log())
        return relay.log()

    def letters(self):
        kinds = [letter(AWKWARD), letter(EIGHT_BITS), letter(b"a line of many\r\n" * 40_000)]
        return [one.replace(b"From: <", b"X-Number: %d\r\nFrom: <" % n, 1) for n in range(4) for one in kinds]

    def test_encrypt_1_3(self):
        log = self.relay("encrypt", ">=TLSv1.3", *self.letters())
        self.assertIn("TLS connection established", log)
        self.assertIn("TLSv1.3 with cipher TLS_AES_128_GCM_SHA256", log)

    def test_encrypt_1_2(self):
        log = self.relay("encrypt", "TLSv1.2", *self.letters())
        self.assertIn("TLSv1.2 with cipher ECDHE-ECDSA-AES128-GCM-SHA256", log)

    def test_secure(self):
        log = self.relay("secure", ">=TLSv1.2", *self.letters())
        self.assertRegex(log, "Verified TLS connection established")
