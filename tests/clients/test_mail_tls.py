"""Mail clients with TLS: STARTTLS, implicit TLS and submission, each with the ways it can log in.

The mailbox must hold exactly what the client had to send, and the trace must tell how it came: ESMTPS, or
ESMTPSA from somebody who had logged in (RFC 3848).
"""

import os

from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, letter
from secure import SecureMailCase

WITH_TLS, LOGGED_IN = b"ESMTPS", b"ESMTPSA"
WAYS = {"smtp": ["--tls"], "smtps": ["--tls-on-connect"], "submission": ["--tls"]}


class SwaksTls(SecureMailCase):
    needs = "swaks"

    def swaks(self, listener, *arguments, content=None, by=WITH_TLS):
        """Sends a letter, checking the server's certificate, and compares. swaks ends the last line itself."""
        content = content or letter(AWKWARD, sender=self.sender)
        (self.local / "message").write_bytes(content.removesuffix(b"\r\n"))
        words = ["swaks", "--server", "localhost", "--port", self.server.port(listener)]
        words += ["--tls-verify", "--tls-ca-path", self.server.ca, "--timeout", "30", "--helo", "client.test"]
        words += ["--from", self.sender, "--to", self.address(), "--data", "@message"]
        said = self.command([*words, *WAYS[listener], *arguments])
        self.delivered(content, by=by)
        return said

    def login(self, mechanism):
        return ["--auth", mechanism, "--auth-user", self.account, "--auth-password", self.password]

    def test_starttls_1_2(self):
        self.assertIn("TLSv1.2", self.swaks("smtp", "--tls-protocol", "tlsv1_2"))

    def test_starttls_1_3(self):
        self.assertIn("TLSv1.3", self.swaks("smtp", "--tls-protocol", "tlsv1_3"))

    def test_implicit(self):
        self.swaks("smtps", *self.login("LOGIN"), by=LOGGED_IN)

    def test_plain(self):
        self.swaks("submission", *self.login("PLAIN"), by=LOGGED_IN)

    def test_login(self):
        self.swaks("submission", *self.login("LOGIN"), by=LOGGED_IN)

    def test_implicit_with_plain(self):
        self.swaks("smtps", *self.login("PLAIN"), by=LOGGED_IN)

    def test_pipelining(self):
        self.swaks("smtp", "--pipeline")

    def test_a_wrong_password(self):
        words = ["swaks", "--server", "localhost", "--port", self.server.port("submission"), "--tls"]
        words += ["--from", self.sender, "--to", self.address(), "--timeout", "30"]
        for mechanism in ("PLAIN", "LOGIN"):
            login = ["--auth", mechanism, "--auth-user", self.account, "--auth-password", "wrong"]
            said = self.refused([*words, *login])
            self.assertIn(" 535 5.7.8 ", said)
        self.assertEqual(self.mailbox(self.address()), [])

    def test_submission_without_a_login(self):
        words = ["swaks", "--server", "localhost", "--port", self.server.port("submission"), "--tls"]
        said = self.refused([*words, "--from", self.sender, "--to", self.address(), "--timeout", "30"])
        self.assertIn("530 5.7.0", said)

    def test_no_login_in_clear(self):
        """Neither offered nor taken."""
        words = ["swaks", "--server", "localhost", "--port", self.server.port("submission")]
        words += ["--from", self.sender, "--to", self.address(), "--timeout", "30"]
        said = self.refused([*words, *self.login("PLAIN")])
        self.assertNotRegex(said, r"250.AUTH")
        self.assertNotRegex(said, r"(?m)^<.. +235")

    def refused(self, words):
        """Runs a client that must not succeed."""
        with self.assertRaises(AssertionError) as caught:
            self.command(words)
        return str(caught.exception)


class MsmtpTls(SecureMailCase):
    needs = "msmtp"

    def msmtp(self, listener, *arguments, content=None, by=WITH_TLS):
        content = content or letter(AWKWARD, sender=self.sender)
        (self.local / "empty").write_text("")
        starttls = "off" if listener == "smtps" else "on"
        words = ["msmtp", "--file=empty", "--host=localhost", f"--port={self.server.port(listener)}"]
        words += [f"--from={self.sender}", "--domain=client.test", "--tls=on", f"--tls-starttls={starttls}"]
        words += [f"--tls-trust-file={self.server.ca}", *arguments, "--", self.address()]
        self.command(words, stdin=content.replace(b"\r\n", b"\n"))
        self.delivered(content, by=by)

    def login(self, mechanism):
        (self.local / "password").write_text(self.password)
        secret = f"--passwordeval=cat {self.local}/password"
        return [f"--auth={mechanism}", f"--user={self.account}", secret]

    def test_starttls(self):
        self.msmtp("smtp", "--auth=off")

    def test_implicit(self):
        self.msmtp("smtps", *self.login("scram-sha-256"), by=LOGGED_IN)

    def test_eight_bits(self):
        self.msmtp("smtp", "--auth=off", content=letter(EIGHT_BITS, sender=self.sender))

    def test_versions(self):
        for number, version in enumerate(("1.2", "1.3")):
            priorities = f"--tls-priorities=NORMAL:-VERS-ALL:+VERS-TLS{version}"
            self.tag = f"version{number}"
            self.msmtp("smtp", "--auth=off", priorities)

    def test_plain(self):
        self.msmtp("submission", *self.login("plain"), by=LOGGED_IN)

    def test_login(self):
        self.msmtp("submission", *self.login("login"), by=LOGGED_IN)

    def test_scram(self):
        """By GNU SASL, which checks the server's proof too."""
        self.msmtp("submission", *self.login("scram-sha-256"), by=LOGGED_IN)

    def test_whatever_it_likes_best(self):
        self.msmtp("submission", *self.login("on"), by=LOGGED_IN)

    def test_a_large_message(self):
        content = letter(b"0123456789" * 7 + b"\r\n", sender=self.sender) + b"abcdefgh\r\n" * 300_000
        self.msmtp("smtps", *self.login("plain"), content=content, by=LOGGED_IN)


class CurlMailTls(SecureMailCase):
    needs = "curl"

    def curl(self, listener, *arguments, content=None, by=WITH_TLS):
        content = content or letter(AWKWARD, sender=self.sender)
        (self.local / "message").write_bytes(content)
        scheme = "smtps" if listener == "smtps" else "smtp"
        words = ["curl", "-q", "--silent", "--show-error", "--max-time", "50", "--ssl-reqd"]
        words += ["--cacert", self.server.ca, f"{scheme}://localhost:{self.server.port(listener)}/client.test"]
        words += ["--upload-file", "message", "--mail-from", self.sender, "--mail-rcpt", self.address()]
        self.command([*words, *arguments])
        self.delivered(content, by=by)

    def login(self, mechanism):
        # curl takes the part before the first colon as the name.
        return ["--user", f"{self.account}:{self.password}", "--login-options", f"AUTH={mechanism}"]

    def test_starttls_1_2(self):
        self.curl("smtp", "--tlsv1.2", "--tls-max", "1.2")

    def test_starttls_1_3(self):
        self.curl("smtp", "--tlsv1.3")

    def test_implicit_1_2(self):
        self.curl("smtps", "--tlsv1.2", "--tls-max", "1.2", *self.login("PLAIN"), by=LOGGED_IN)

    def test_implicit_1_3(self):
        self.curl("smtps", "--tlsv1.3", *self.login("LOGIN"), by=LOGGED_IN)

    def test_plain(self):
        self.curl("submission", *self.login("PLAIN"), by=LOGGED_IN)

    def test_plain_with_initial_response(self):
        self.curl("submission", "--sasl-ir", *self.login("PLAIN"), by=LOGGED_IN)

    def test_login(self):
        self.curl("submission", *self.login("LOGIN"), by=LOGGED_IN)

    def test_a_large_message(self):
        content = letter(b"curl sends this line again and again\r\n" * 100_000, sender=self.sender)
        self.curl("smtp", content=content)


class Gsasl(SecureMailCase):
    """GNU SASL's own client, the strictest there is about SCRAM: it logs in and says no more."""

    needs = "gsasl"

    def test_scram(self):
        words = ["gsasl", "--client", "--smtp", "--mechanism=SCRAM-SHA-256", "--no-cb"]
        words += [f"--authentication-id={self.account}", f"--password={self.password}", "--quality-of-protection=qop-auth"]
        words += [f"--x509-ca-file={self.server.ca}", f"--connect=localhost:{self.server.port('submission')}"]
        said = self.command(words, environment=dict(os.environ, LC_ALL="C.UTF-8"))
        self.assertIn("235 2.7.0", said)
        self.assertNotIn(DOMAIN, said)
