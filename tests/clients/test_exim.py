"""A private Exim that relays to us, in clear and in TLS with a certificate that it verifies.

Exim adds a Received line of its own, above which everything is as the client gave it.
"""

import re
import shutil
import smtplib

import exim
from harness import DEADLINE_SECONDS, eventually
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, letter
from secure import WITH, SecureMailCase, take_apart

OWN = re.compile(rb"Received: from .*?by exim\.test .*?\r\n(?![ \t])", re.DOTALL)


def letters():
    """Some of each kind."""
    kinds = [letter(AWKWARD), letter(EIGHT_BITS), letter(b"a line of many\r\n" * 40_000)]
    return [one.replace(b"From: <", b"X-Number: %d\r\nFrom: <" % n, 1) for n in range(4) for one in kinds]


class Exim:
    """For cases with an Exim; before the case."""

    def exim(self, target, ca=None):
        """One that relays to a port, started, until the end of the test."""
        program, folder = exim.program(), self.folder()
        if ca is not None:
            # It reads as its own user.
            ca = shutil.copy(ca, folder / "ca.pem")
        relay = exim.Exim(program, folder, target, ca=ca)
        self.addCleanup(relay.stop)
        return relay.start()

    def folder(self):
        """One that its user may enter."""
        folder = self.local / "exim"
        self.local.chmod(0o755)
        folder.mkdir()
        return folder

    def through(self, relay, messages, recipients, options=()):
        """Gives letters to Exim and waits until it has got rid of them."""
        with smtplib.SMTP("127.0.0.1", relay.port, "client.test", timeout=30) as smtp:
            for one in messages:
                smtp.sendmail(f"someone@{DOMAIN}", recipients, one, ["BODY=8BITMIME", *options])
        eventually(relay.idle, f"Exim relays\n{relay.log()}", DEADLINE_SECONDS)


class InClear(Exim, MailCase):
    # What stands between us and Exim takes no TLS.
    smtp = 'tls = "off"\n'

    def test_letters(self):
        messages = letters()
        self.through(self.exim(self.wire.port), messages, [self.address()])
        for sent in self.arrived(len(messages)):
            self.assertIn(b"by exim.test ", sent.content)
            self.assertIn(sent.content[OWN.match(sent.content).end() :], messages)

    def test_smtputf8_and_many_recipients(self):
        everybody = [self.address(f"jürgen{number}") for number in range(300)]
        self.through(self.exim(self.wire.port), [letter(EIGHT_BITS, subject="Grüße")], everybody, ["SMTPUTF8"])
        [sent] = self.arrived()
        self.assertEqual(len(sent.recipients), len(everybody))


class InTls(Exim, SecureMailCase):
    def test_verified(self):
        messages = letters()
        relay = self.exim(self.server.port("smtp"), self.server.ca)
        self.through(relay, messages, [self.address()])
        eventually(lambda: len(self.mailbox(self.address())) >= len(messages), "all are there", DEADLINE_SECONDS)
        held = []
        for path in self.mailbox(self.address()):
            _, received, octets = take_apart(path.read_bytes())
            self.assertEqual(WITH.search(received)[1], b"ESMTPS")
            held.append(octets[OWN.match(octets).end() :])
        self.assertTrue(sorted(held) == sorted(messages), relay.log())
        self.assertIn("CV=yes", relay.log())
