"""Postfix: its generator `smtp-source`, and a whole private Postfix that relays to us.

Postfix adds a Received line of its own (and what a header lacks): the wiretap stands behind it, so that is
part of what was sent.
"""

import random
import smtplib

import postfix
from harness import DEADLINE_SECONDS, eventually
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, Wiretap, letter


class SmtpSource(MailCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = postfix.programs()
        super().setUpClass()

    def source(self, *arguments, messages):
        """Runs smtp-source."""
        self.command(
            [self.programs.commands / "smtp-source", "-c", "-m", messages, *arguments]
            + ["-f", f"someone@{DOMAIN}", "-t", self.address(), "-M", "client.test"]
            + [f"inet:127.0.0.1:{self.wire.port}"],
            environment=self.programs.environment,
        )
        return self.arrived(messages)

    def test_one_connection_each(self):
        self.source("-s", 5, "-l", 4096, messages=40)

    def test_kept_connections(self):
        self.source("-d", "-s", 5, "-l", 4096, messages=60)

    def test_several_recipients(self):
        self.source("-r", 5, "-l", 500, messages=6)

    def test_large(self):
        self.source("-d", "-s", 2, "-l", 2_500_000, messages=4)


class PrivatePostfix(postfix.PostfixCase, MailCase):
    def setUp(self):
        super().setUp()
        self.relay = self.postfix(self.folder(), self.wire.port)

    def through(self, *letters, options=(), recipients=None, copies=1):
        """Gives letters to Postfix and waits until it has got rid of them, each in so many transactions.
        What it sent on."""
        with smtplib.SMTP("127.0.0.1", self.relay.port, "client.test", timeout=30) as smtp:
            for one in letters:
                smtp.sendmail(f"someone@{DOMAIN}", recipients or [self.address()], one, list(options))
        eventually(self.relay.idle, f"Postfix relays\n{self.relay.log()}", DEADLINE_SECONDS)
        return self.arrived(len(letters) * copies)

    def body_of(self, sent):
        """Below the header."""
        return sent.content.partition(b"\r\n\r\n")[2]

    def test_one_message(self):
        [sent] = self.through(letter(AWKWARD))
        self.assertTrue(self.body_of(sent) == AWKWARD)
        self.assertIn(b"by relay.test (Postfix)", sent.content)

    def test_eight_bits(self):
        [sent] = self.through(letter(EIGHT_BITS), options=["BODY=8BITMIME"])
        self.assertTrue(self.body_of(sent) == EIGHT_BITS)

    def test_smtputf8(self):
        [sent] = self.through(
            letter(EIGHT_BITS, subject="Grüße"),
            options=["BODY=8BITMIME", "SMTPUTF8"],
            recipients=[self.address("jürgen")],
        )
        self.assertEqual(self.body_of(sent), EIGHT_BITS, self.relay.log())

    def test_many_messages_and_sizes(self):
        chance = random.Random(11)
        letters = [
            letter(chance.randbytes(chance.randint(0, 40_000)).hex().encode()[:900] + b"\r\n")
            + b"line\r\n" * chance.randint(0, 20_000)
            for _ in range(40)
        ]
        self.through(*letters)

    def test_many_recipients(self):
        """Postfix takes 50 at a time."""
        everybody = [self.address(f"r{n}") for n in range(60)]
        self.through(letter(b"to all\r\n"), recipients=everybody, copies=2)

    def test_waits_while_we_are_away(self):
        """A relay keeps the message and comes again when the server is back."""
        self.wire.close()
        with smtplib.SMTP("127.0.0.1", self.relay.port, "client.test", timeout=30) as smtp:
            smtp.sendmail(f"someone@{DOMAIN}", [self.address()], letter(b"patience\r\n"))
        deferred = self.relay.folder / "queue" / "deferred"
        eventually(
            lambda: any(path.is_file() for path in deferred.rglob("*")), "it waits", DEADLINE_SECONDS
        )
        self.wire = Wiretap(self.server.port, self.wire.port)
        self.addCleanup(self.wire.close)
        eventually(self.relay.idle, f"it comes again\n{self.relay.log()}", DEADLINE_SECONDS)
        self.arrived()
