"""Octets in clear behind AUTH TLS and STARTTLS: never interpreted, whatever the segments they come in.

If they are there before the server has said yes, the connection ends without a yes. If they come later they
are a broken handshake. No reply to them may ever be seen, in clear or inside TLS.
"""

from harness import USER
from secure import RawCase

FTP = (b"AUTH TLS\r\n", b"234")
SMTP = (b"STARTTLS\r\n", b"220")
INJECTED = {
    "ftp": (b"USER " + USER.encode() + b"\r\n", b"NOOP\r\n", b"N", b"\r\n"),
    "smtp": (b"MAIL FROM:<a@b.test>\r\n", b"NOOP\r\n", b"N", b"\r\n"),
}


class Injection(RawCase):
    def greeted(self, listener):
        """A connection that only has to ask for TLS."""
        connection = self.reach(self.server, listener)
        self.addCleanup(connection.close)
        self.greet(connection, listener)
        return connection

    def every_split(self, listener, command, yes):
        for injected in INJECTED["ftp" if listener == "ftp" else "smtp"]:
            whole = command + injected
            for split in range(len(whole)):
                connection = self.greeted(listener)
                for part in (whole[:split], whole[split:]):
                    try:
                        connection.sendall(part)
                    except (BrokenPipeError, ConnectionResetError):
                        pass  # it has already closed
                if split < len(command):
                    # The last octet of the command and what is behind it were there at once.
                    self.assertEqual(self.rest(connection), b"", f"{injected!r} split at {split}")
                else:
                    self.over(connection)
                    said = self.rest(connection)
                    self.only_a_yes(said, yes, f"{injected!r} split at {split}")
                connection.close()

    def only_a_yes(self, said, yes, what):
        """At most the reply to the command itself and an alert."""
        reply, _, behind = said.partition(b"\r\n")
        if said:
            self.assertEqual(reply[:3], yes, what)
        self.assertTrue(behind == b"" or behind[:1] == b"\x15", f"{what}: {said!r}")

    def test_ftp(self):
        self.every_split("ftp", *FTP)

    def test_smtp(self):
        self.every_split("smtp", *SMTP)

    def test_submission(self):
        self.every_split("submission", *SMTP)

    def test_handshake_too_early(self):
        """Even a right ClientHello has to wait for the yes: nothing tells it from other octets."""
        for listener, (command, _) in {"ftp": FTP, "smtp": SMTP}.items():
            connection = self.greeted(listener)
            connection.sendall(command + b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03")
            self.assertEqual(self.rest(connection), b"")

    def test_injected_after_the_yes_then_a_handshake(self):
        """A real handshake behind injected octets fails: they were not taken out of the way for it."""
        for listener, (command, yes) in {"ftp": FTP, "smtp": SMTP}.items():
            connection = self.greeted(listener)
            connection.sendall(command)
            self.assertEqual(self.reply(connection)[:3], yes)
            connection.sendall(b"NOOP\r\n" + b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03")
            self.over(connection)
            said = self.rest(connection)
            self.assertTrue(said == b"" or said[:1] == b"\x15", said)
