"""Every policy for data connections: a hundred in a row, twelve sessions at once, resumed with both versions."""

import ftplib
import ssl
import threading

from harness import PASSWORD, USER
from secure import SecureCase

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
IN_A_ROW = 110
AT_ONCE = 12


class Policy:
    """What holds under every policy; the classes below say what differs."""

    needs = "curl"
    unresumed = True  # may a data connection do without resumption

    def fetch(self, ftp, path):
        parts = []
        ftp.retrbinary(f"RETR {path}", parts.append)
        return b"".join(parts)

    def test_in_a_row(self):
        names = sorted((self.pub / "many").iterdir())
        for version in VERSIONS:
            ftp = self.connect(version)
            for number in range(IN_A_ROW):
                path = names[number % len(names)]
                self.assertEqual(self.fetch(ftp, f"/pub/many/{path.name}"), path.read_bytes())
                self.assertTrue(ftp.resumed, f"connection {number} of {version!r}")

    def test_at_once(self):
        whole = (self.pub / "big.bin").read_bytes()
        for version in VERSIONS:
            sessions = [self.connect(version) for _ in range(AT_ONCE)]
            begin, problems = threading.Barrier(AT_ONCE), []

            def one(ftp):
                try:
                    begin.wait(30)
                    for _ in range(2):
                        if self.fetch(ftp, "/pub/big.bin") != whole:
                            raise AssertionError("other contents")
                        if not ftp.resumed:
                            raise AssertionError("not resumed")
                except Exception as error:  # noqa: BLE001 - shown below
                    problems.append(error)

            threads = [threading.Thread(target=one, args=(ftp,)) for ftp in sessions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(problems, [])

    def test_without_resumption(self):
        for version in VERSIONS:
            ftp = self.connect(version, reuse=False)
            if self.unresumed:
                for _ in range(3):
                    self.assertEqual(self.fetch(ftp, "/pub/one"), (self.pub / "one").read_bytes())
                    self.assertFalse(ftp.resumed)
            else:
                with self.assertRaisesRegex(ftplib.Error, "^(522|425)"):
                    self.fetch(ftp, "/pub/one")
                # Only that transfer: the session goes on, and does what it may.
                ftp.reuse = True
                self.assertEqual(self.fetch(ftp, "/pub/one"), (self.pub / "one").read_bytes())

    def test_the_session_of_somebody_else(self):
        """A ticket of another control connection proves nothing about this one."""
        for version in VERSIONS:
            one, other = self.connect(version), self.connect(version)
            self.fetch(one, "/pub/one")  # and its ticket has been read
            # A session belongs to a context of Python's: both clients must use the same one.
            connection, _ = ftplib.FTP.ntransfercmd(other, "RETR /pub/one")
            try:
                data = one.context.wrap_socket(
                    connection, server_hostname="127.0.0.1", session=one.sock.session
                )
                octets, resumed = b"", data.session_reused
                while part := data.recv(1000):
                    octets += part
                data.unwrap().close()
            except OSError:
                connection.close()
                octets, resumed = b"", False
            self.assertFalse(resumed)
            if self.unresumed:
                self.assertEqual(octets, (self.pub / "one").read_bytes())
                other.voidresp()
            else:
                self.assertEqual(octets, b"")
                with self.assertRaisesRegex(ftplib.Error, "^(522|425)"):
                    other.voidresp()


class Curl:
    """A client that keeps its own counsel about sessions."""

    def curl(self, *arguments):
        words = ["curl", "-q", "--silent", "--show-error", "--max-time", "50", "--ssl-reqd", "--tlsv1.3"]
        words += ["--cacert", self.server.ca, "--user", f"{USER}:{PASSWORD}", "--create-dirs"]
        self.command(words + list(arguments))

    def test_curl_at_once(self):
        """Not under `require`: curl shares tickets between its connections, and with TLS 1.2 takes none."""
        url, arguments = self.server.url(), ["--parallel", "--parallel-max", str(AT_ONCE)]
        names = [f"file-{number:03}" for number in range(1, 40)]
        for name in names:
            arguments += ["-o", f"got/{name}", f"{url}/pub/many/{name}"]
        self.curl(*arguments)
        for name in names:
            self.same(self.local / "got" / name, self.pub / "many" / name)


class Require(Policy, SecureCase):
    ftp = 'data_tls = "require"\n'
    unresumed = False


class ResumeOrSameAddress(Curl, Policy, SecureCase):
    """The default."""


class SameAddress(Curl, Policy, SecureCase):
    ftp = 'data_tls = "same-ip"\n'


class Off(Curl, Policy, SecureCase):
    ftp = 'data_tls = "off"\n'
