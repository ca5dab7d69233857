"""msmtp: what users have as their sendmail; asks for DSNs."""

from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, letter


class Msmtp(MailCase):
    needs = "msmtp"

    def msmtp(self, message, *arguments, recipients=None):
        """Runs msmtp; it reads lines that end in LF."""
        (self.local / "empty").write_text("")
        self.command(
            ["msmtp", "--file=empty", "--host=127.0.0.1", f"--port={self.wire.port}"]
            + [f"--from=someone@{DOMAIN}", "--domain=client.test", "--auth=off", "--tls=off"]
            + [*arguments, "--", *(recipients or [self.address()])],
            stdin=message.replace(b"\r\n", b"\n"),
        )

    def test_one_message(self):
        message = letter(AWKWARD)
        self.msmtp(message)
        [sent] = self.arrived()
        self.assertTrue(sent.content == message)

    def test_eight_bits(self):
        message = letter(EIGHT_BITS)
        self.msmtp(message)
        [sent] = self.arrived()
        self.assertTrue(sent.content == message)

    def test_dsn(self):
        self.msmtp(letter(b"dsn\r\n"), "--dsn-notify=failure,delay", "--dsn-return=hdrs")
        self.arrived()

    def test_many_recipients(self):
        self.msmtp(letter(b"x\r\n"), recipients=[self.address(f"r{n}") for n in range(30)])
        self.arrived()

    def test_a_large_message(self):
        self.msmtp(letter(b"0123456789" * 7 + b"\r\n") + b"abcdefgh\r\n" * 300_000)
        self.arrived()

    def test_sendmail_mode(self):
        message = letter(b"to the header's recipients\r\n").replace(
            f"user@{DOMAIN}".encode(), self.address().encode()
        )
        (self.local / "empty").write_text("")
        self.command(
            ["msmtp", "--file=empty", "--host=127.0.0.1", f"--port={self.wire.port}"]
            + [f"--from=someone@{DOMAIN}", "--auth=off", "--tls=off", "-t"],
            stdin=message.replace(b"\r\n", b"\n"),
        )
        self.arrived()
