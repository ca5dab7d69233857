"""swaks: the tester's client, with and without pipelining, with attachments."""

from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, letter


class Swaks(MailCase):
    needs = "swaks"

    def swaks(self, *arguments, recipients=None):
        """Runs swaks."""
        return self.command(
            ["swaks", "--server", "127.0.0.1", "--port", self.wire.port, "--helo", "client.test"]
            + ["--from", f"someone@{DOMAIN}", "--to", ",".join(recipients or [self.address()])]
            + ["--timeout", "30", *arguments]
        )

    def test_default_message(self):
        said = self.swaks()
        self.assertIn("250", said)
        self.arrived()

    def test_pipelining(self):
        self.swaks("--pipeline", recipients=[self.address("a"), self.address("b")])
        self.arrived()

    def test_a_file(self):
        message = letter(AWKWARD)
        (self.local / "message").write_bytes(message)
        self.swaks("--data", "@message", "--no-data-fixup")
        self.arrived()

    def test_eight_bits(self):
        (self.local / "message").write_bytes(letter(EIGHT_BITS))
        self.swaks("--data", "@message")
        self.arrived()

    def test_attachment(self):
        (self.local / "blob").write_bytes(bytes(range(256)) * 2000)
        self.swaks("--attach", "@blob", "--body", "see attachment")
        self.arrived()

    def test_helo_and_null_sender(self):
        self.swaks("--protocol", "SMTP", "--from", "<>")
        self.arrived()
        [path] = self.mailbox(self.address())
        self.assertTrue(path.read_bytes().startswith(b"Return-Path: <>\r\n"))

    def test_quit_after_rcpt_delivers_nothing(self):
        self.swaks("--quit-after", "RCPT")
        # Only what comes later is there.
        self.swaks()
        self.arrived()
