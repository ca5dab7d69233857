"""curl as a mail client: what scripts use."""

from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, letter


class CurlMail(MailCase):
    needs = "curl"

    def curl(self, message, *arguments, recipients=None):
        """Runs curl."""
        (self.local / "message").write_bytes(message)
        words = ["curl", "-q", "--silent", "--show-error", "--max-time", "50"]
        words += [f"smtp://127.0.0.1:{self.wire.port}/client.test", "--upload-file", "message"]
        words += ["--mail-from", f"someone@{DOMAIN}"]
        for recipient in recipients or [self.address()]:
            words += ["--mail-rcpt", recipient]
        self.command([*words, *arguments])

    def test_one_message(self):
        message = letter(AWKWARD)
        self.curl(message)
        [sent] = self.arrived()
        self.assertTrue(sent.content == message)

    def test_line_ends_converted(self):
        self.curl(letter(b"a\r\nb\r\n").replace(b"\r\n", b"\n"), "--crlf")
        [sent] = self.arrived()
        self.assertTrue(sent.content == letter(b"a\r\nb\r\n"))

    def test_eight_bits_and_many_recipients(self):
        message = letter(EIGHT_BITS)
        self.curl(message, recipients=[self.address(f"r{n}") for n in range(20)])
        [sent] = self.arrived()
        self.assertTrue(sent.content == message)

    def test_null_sender(self):
        self.curl(letter(b"bounce\r\n"), "--mail-from", "")
        self.arrived()

    def test_a_large_message(self):
        self.curl(letter(b"curl sends this line again and again\r\n" * 100_000))
        self.arrived()

    def test_two_messages_one_connection(self):
        (self.local / "message").write_bytes(letter(b"twice\r\n"))
        url = f"smtp://127.0.0.1:{self.wire.port}/client.test"
        one = [url, "--upload-file", "message", "--mail-from", f"a@{DOMAIN}"]
        one += ["--mail-rcpt", self.address()]
        self.command(["curl", "-q", "--silent", "--show-error", *one, "--next", "--silent", *one])
        self.arrived(2)

    def test_vrfy(self):
        self.command(
            ["curl", "-q", "--silent", f"smtp://127.0.0.1:{self.wire.port}", "--mail-rcpt", "somebody"]
        )
