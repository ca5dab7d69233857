"""openssl s_client on every port: versions, ciphers, curves, application protocols, resumption."""

import re
import subprocess

from harness import DEADLINE_SECONDS
from secure import SecureCase

PORTS = {
    "ftp": ("ftp", ["-starttls", "ftp"]),
    "ftps": ("ftps", []),
    "smtp": ("smtp", ["-starttls", "smtp"]),
    "smtps": ("smtps", []),
    "submission": ("submission", ["-starttls", "smtp"]),
}


class OpenSsl(SecureCase):
    needs = "openssl"
    mirror = False

    def s_client(self, name, *options, expect=0):
        """Connects, and returns all that was said once the handshake is over."""
        listener, starttls = PORTS[name]
        address = f"127.0.0.1:{self.server.port(listener)}"
        words = ["openssl", "s_client", "-connect", address, *starttls, "-CAfile", str(self.server.ca)]
        words += ["-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost"]
        done = subprocess.run(
            [*words, *map(str, options)],
            input="Q\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=DEADLINE_SECONDS,
        )
        if (done.returncode == 0) != (expect == 0):
            self.fail(f"{name} {options}: {done.returncode}\n{done.stdout}\n{self.server.log()[-3000:]}")
        return done.stdout

    def everywhere(self, *options, expect=0):
        for name in PORTS:
            yield name, self.s_client(name, *options, expect=expect)

    def test_1_3(self):
        for name, said in self.everywhere("-tls1_3"):
            self.assertIn("New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256", said, name)
            self.assertIn("Verification: OK", said)
            self.assertIn("X25519", said)

    def test_1_2(self):
        for name, said in self.everywhere("-tls1_2"):
            self.assertIn("New, TLSv1.2, Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", said, name)
            self.assertIn("Secure Renegotiation IS supported", said)
            self.assertIn("Compression: NONE", said)
            self.assertIn("Extended master secret: yes", said)

    def test_the_servers_order_counts(self):
        """AES-128-GCM, though the client would rather have another."""
        ciphers = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
        for _, said in self.everywhere("-tls1_3", "-ciphersuites", ciphers):
            self.assertIn("Cipher is TLS_AES_128_GCM_SHA256", said)
        ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
        for _, said in self.everywhere("-tls1_2", "-cipher", ciphers):
            self.assertIn("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256", said)

    def test_each_cipher_and_curve_that_is_left(self):
        for cipher in ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
            self.assertIn(f"Cipher is {cipher}", self.s_client("ftps", "-tls1_3", "-ciphersuites", cipher))
        for cipher in ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"):
            self.assertIn(f"Cipher is {cipher}", self.s_client("smtps", "-tls1_2", "-cipher", cipher))
        for curve in ("P-256", "P-384", "X25519"):
            self.assertIn("Verification: OK", self.s_client("smtp", "-curves", curve))

    def test_old_versions_are_refused(self):
        for version in ("-tls1", "-tls1_1"):
            for name, said in self.everywhere(version, "-cipher", "ALL:@SECLEVEL=0", expect=1):
                self.assertIn("alert protocol version", said, name)

    def test_old_ciphers_are_refused(self):
        for cipher in ("ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256", "NULL", "aNULL"):
            words = ["-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"]
            for name, said in self.everywhere(*words, expect=1):
                self.assertRegex(said, "alert handshake failure", name)

    def test_resumed_1_2(self):
        """`-reconnect` connects five times more with the same session."""
        said = self.s_client("smtps", "-tls1_2", "-reconnect")
        self.assertEqual(said.count("Reused, TLSv1.2"), 5, said)

    def test_resumed_1_3(self):
        for name in ("smtp", "smtps", "submission"):
            session = self.local / f"{name}.session"
            self.resume(name, session)
            said = self.s_client(name, "-tls1_3", "-sess_in", session)
            self.assertIn("Reused, TLSv1.3", said, name)

    def test_control_connections_of_ftp_begin_anew(self):
        """A session of theirs is for their own data connections; who comes with one is taken all the same."""
        self.assertEqual(self.s_client("ftps", "-tls1_2", "-reconnect").count("Reused"), 0)
        for name in ("ftp", "ftps"):
            session = self.local / f"{name}.session"
            self.resume(name, session)
            self.assertIn("New, TLSv1.3", self.s_client(name, "-tls1_3", "-sess_in", session), name)

    def resume(self, name, session):
        """Leaves a session in a file, once a ticket has come."""
        listener, starttls = PORTS[name]
        address = f"127.0.0.1:{self.server.port(listener)}"
        words = ["openssl", "s_client", "-connect", address, *starttls, "-CAfile", str(self.server.ca)]
        client = subprocess.Popen(
            [*words, "-servername", "localhost", "-tls1_3", "-sess_out", str(session), "-quiet"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said, _ = client.communicate("QUIT\r\n", timeout=DEADLINE_SECONDS)
        self.assertRegex(said, r"(?m)^221", name)
        self.assertTrue(session.is_file(), f"{name}: no ticket")

    def test_the_name_of_the_protocol(self):
        self.assertIn("ALPN protocol: ftp", self.s_client("ftps", "-alpn", "ftp"))
        self.assertIn("ALPN protocol: ftp", self.s_client("ftp", "-alpn", "h2,ftp"))
        for name in ("ftps", "ftp"):
            said = self.s_client(name, "-alpn", "http/1.1,h2", expect=1)
            self.assertIn("alert no application protocol", said)

    def test_renegotiation_is_refused(self):
        """`R` asks for it: the session ends and nothing else does."""
        for name in ("ftps", "smtps"):
            address = f"127.0.0.1:{self.server.port(name)}"
            done = subprocess.run(
                ["openssl", "s_client", "-connect", address, "-tls1_2", "-CAfile", str(self.server.ca)],
                input="R\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE_SECONDS,
            )
            self.assertIn("RENEGOTIATING", done.stdout)
            self.assertRegex(done.stdout, r"no renegotiation|unexpected message|alert|:error:")
            self.assertIsNotNone(re.search("TLSv1.2, Cipher is", self.s_client(name, "-tls1_2")))

    def test_chain_and_key_of_every_size(self):
        said = self.s_client("ftps", "-showcerts")
        self.assertIn("Server Temp Key", said)
        self.assertIn("Peer signature type: ECDSA", said)
