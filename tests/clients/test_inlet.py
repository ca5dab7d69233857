"""Servers of one's own: LMTP from Python, swaks and Postfix; headers of proxies from curl and swaks; XCLIENT from
swaks; XFORWARD from Postfix."""

import smtplib
import socket

import harness
import postfix
from harness import DEADLINE_SECONDS, eventually
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, MailCase, Wiretap, letter, take_apart


class InletCase(MailCase):
    """A server that also has LMTP, and believes everybody on this machine what they say of others."""

    smtp = (
        'listen_lmtp = ["127.0.0.1:0", "unix:lmtp.sock"]\n'
        'xclient_from = ["127.0.0.1"]\nxforward_from = ["127.0.0.1"]\n'
    )

    def setUp(self):
        super().setUp()
        self.wire.close()
        line = [line for line in self.server.log().splitlines() if line.startswith("listening lmtp 127.")][0]
        self.wire = Wiretap(int(line.rsplit(":", 1)[1]))
        self.addCleanup(self.wire.close)
        self.unix = self.server.data / "lmtp.sock"

    def received(self):
        """The Received line of the only message of this test's user."""
        eventually(lambda: self.mailbox(self.address()), f"the message\n{self.server.log()[-3000:]}")
        [path] = self.mailbox(self.address())
        return take_apart(path.read_bytes())[1]


class Lmtp(smtplib.LMTP):
    """Python's own reads one reply to a message, however many recipients were accepted; this reads the others."""

    accepted = 0

    def mail(self, *arguments, **named):
        self.accepted = 0
        return super().mail(*arguments, **named)

    def rcpt(self, *arguments, **named):
        answer = super().rcpt(*arguments, **named)
        self.accepted += answer[0] == 250
        return answer

    def data(self, message):
        answer = super().data(message)
        others = [self.getreply()[0] for _ in range(self.accepted - 1)]
        assert others == [answer[0]] * len(others), others
        return answer


class Lmtplib(InletCase):
    """Python's smtplib.LMTP."""

    def test_one_message(self):
        message = letter(AWKWARD)
        with Lmtp("127.0.0.1", self.wire.port, "client.test") as lmtp:
            lmtp.sendmail(f"someone@{DOMAIN}", [self.address("a"), self.address("b")], message)
            self.assertEqual(lmtp.noop()[0], 250)
        self.arrived()

    def test_some_recipients_refused(self):
        with socket.create_connection(("127.0.0.1", self.wire.port), DEADLINE_SECONDS) as connection:
            lines = connection.makefile("rwb")
            self.assertTrue(lines.readline().startswith(b"220 "))
            everybody = [self.address("a"), "x@elsewhere.test", self.address("b")]
            said = [b"LHLO client.test", f"MAIL FROM:<someone@{DOMAIN}>".encode()]
            said += [f"RCPT TO:<{one}>".encode() for one in everybody] + [b"DATA"]
            lines.write(b"\r\n".join(said) + b"\r\n")
            lines.write(letter(AWKWARD).replace(b"\r\n.", b"\r\n..") + b".\r\nQUIT\r\n")
            lines.flush()
            codes = [line[:3] for line in lines.read().splitlines() if line[3:4] == b" "]
        self.assertEqual(codes, b"250 250 250 550 250 354 250 250 221".split())
        eventually(lambda: self.mailbox(self.address("b")), "the last recipient has it")

    def test_by_the_unix_socket(self):
        message = letter(AWKWARD)
        with Lmtp(str(self.unix), local_hostname="client.test") as lmtp:
            for _ in range(3):
                lmtp.sendmail(f"someone@{DOMAIN}", [self.address(), self.address("b")], message)
        for address in (self.address(), self.address("b")):
            eventually(lambda: len(self.mailbox(address)) == 3, f"three messages for {address}")
        for path in self.mailbox(self.address()):
            _, received, content = take_apart(path.read_bytes())
            self.assertIn(b"with LMTP", received)
            self.assertTrue(content == message)

    def test_large_to_many(self):
        everybody = [self.address(f"r{number}") for number in range(300)]
        with Lmtp("127.0.0.1", self.wire.port, "client.test") as lmtp:
            lmtp.sendmail(f"someone@{DOMAIN}", everybody, letter(b"line of text\r\n" * 100_000))
        self.arrived()


class SwaksInlet(InletCase):
    needs = "swaks"

    def swaks(self, *arguments, port=None):
        """Runs swaks against a listener."""
        return self.command(
            ["swaks", "--server", "127.0.0.1", "--port", port or self.wire.port, "--helo", "client.test"]
            + ["--from", f"someone@{DOMAIN}", "--to", self.address(), "--timeout", "30", *arguments]
        )

    def test_lmtp(self):
        self.swaks("--protocol", "LMTP")
        self.arrived()
        self.assertIn(b"with LMTP", self.received())

    def test_lmtp_by_the_unix_socket(self):
        self.command(
            ["swaks", "--socket", self.unix, "--protocol", "LMTP", "--helo", "client.test"]
            + ["--from", f"someone@{DOMAIN}", "--to", self.address()]
        )
        self.assertIn(b"with LMTP", self.received())

    def test_xclient(self):
        said = self.swaks(
            *["--xclient-name", "mx.client.test", "--xclient-addr", "203.0.113.9", "--xclient-helo", "inner.test"],
            port=self.server.port,
        )
        self.assertIn("XCLIENT ", said)
        self.assertIn(b"from client.test ([203.0.113.9])", self.received())

    def test_xclient_ipv6(self):
        self.swaks("--xclient-addr", "IPV6:2001:db8::9", port=self.server.port)
        self.assertIn(b"([IPv6:2001:db8::9])", self.received())


class Proxied(MailCase):
    """Every connection from this machine must begin with a header."""

    smtp = 'proxy_from = ["127.0.0.0/8", "::1"]\n'

    def received(self):
        eventually(lambda: self.mailbox(self.address()), f"the message\n{self.server.log()[-3000:]}")
        [path] = self.mailbox(self.address())
        return take_apart(path.read_bytes())[1]

    def swaks(self, *arguments):
        """Runs swaks as a proxy."""
        harness.need("swaks")
        self.command(
            ["swaks", "--server", "127.0.0.1", "--port", self.server.port, "--helo", "client.test"]
            + ["--from", f"someone@{DOMAIN}", "--to", self.address(), "--timeout", "30", *arguments]
        )

    def test_swaks_version_1(self):
        self.swaks("--proxy-version", 1, "--proxy-family", "TCP4", "--proxy-source", "203.0.113.9",
                   "--proxy-source-port", 4711, "--proxy-dest", "198.51.100.1", "--proxy-dest-port", 25)
        self.assertIn(b"([203.0.113.9])", self.received())

    def test_swaks_version_2(self):
        self.swaks("--proxy-version", 2, "--proxy-family", "AF_INET6", "--proxy-protocol", "STREAM",
                   "--proxy-command", "PROXY", "--proxy-source", "2001:db8::9", "--proxy-source-port", 4711,
                   "--proxy-dest", "2001:db8::1", "--proxy-dest-port", 25)
        self.assertIn(b"([IPv6:2001:db8::9])", self.received())

    def test_swaks_unknown(self):
        self.swaks("--proxy", "UNKNOWN")
        self.assertIn(b"([127.0.0.1])", self.received())

    def test_curl(self):
        harness.need("curl")
        (self.local / "message").write_bytes(letter(AWKWARD))
        self.command(
            ["curl", "-q", "--silent", "--show-error", "--max-time", "50", "--haproxy-protocol"]
            + [f"smtp://127.0.0.1:{self.server.port}/client.test", "--upload-file", "message"]
            + ["--mail-from", f"someone@{DOMAIN}", "--mail-rcpt", self.address()]
        )
        self.assertIn(b"from client.test ([127.0.0.1])", self.received())

    def test_without_a_header(self):
        with socket.create_connection(("127.0.0.1", self.server.port), DEADLINE_SECONDS) as connection:
            connection.sendall(b"EHLO client.test\r\n")
            try:
                self.assertEqual(connection.recv(100), b"")
            except ConnectionResetError:
                pass
        eventually(lambda: "no PROXY header comes first" in self.server.log(), "the reason in the log")


class PostfixLmtp(postfix.PostfixCase, InletCase):
    """Postfix as the client: `lmtp:` by TCP and by the socket, and what it forwards of the client it has it from."""

    def start(self, transport):
        more = f"default_transport = {transport}\nlmtp_send_xforward_command = yes\n"
        return self.postfix(self.folder(), self.wire.port, more)

    def send(self, relay, message, recipients):
        with smtplib.SMTP("127.0.0.1", relay.port, "origin.test", timeout=30) as smtp:
            smtp.sendmail(f"someone@{DOMAIN}", recipients, message)
        eventually(relay.idle, f"Postfix has sent it\n{relay.log()}", DEADLINE_SECONDS)

    def test_by_tcp(self):
        relay = self.start(f"lmtp:inet:127.0.0.1:{self.wire.port}")
        self.send(relay, letter(AWKWARD), [self.address(), self.address("b"), self.address("c")])
        [sent] = self.arrived()
        self.assertEqual(len(sent.recipients), 3)
        self.assertIn(b"with LMTP", self.received())
        eventually(lambda: "helo=origin.test" in self.server.log(), f"what was forwarded is in\n{self.server.log()[-2000:]}")

    def test_by_the_unix_socket(self):
        # Postfix runs as a user of its own.
        for folder in (self.server.directory, self.server.data):
            folder.chmod(0o755)
        relay = self.start(f"lmtp:unix:{self.unix}")
        self.send(relay, letter(EIGHT_BITS), [self.address(), self.address("b")])
        self.assertIn(b"with LMTP", self.received())
        eventually(lambda: self.mailbox(self.address("b")), "the second recipient has it")
