"""Python's ftplib.FTP_TLS, as it is (it never resumes) and resuming; what the other clients cannot show."""

import ftplib
import io
import socket
import ssl

from harness import PASSWORD, USER
from secure import HOST, SecureCase, context

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class FtplibTls(SecureCase):
    def fetch(self, ftp, path, rest=None):
        """The contents of a remote file."""
        parts = []
        ftp.retrbinary(f"RETR {path}", parts.append, rest=rest)
        return b"".join(parts)

    def everything(self, version, reuse, passive=True):
        """Down, up, resumed both ways, lists."""
        ftp = self.connect(version, reuse)
        ftp.set_pasv(passive)
        whole = (self.pub / "big.bin").read_bytes()
        self.assertEqual(self.fetch(ftp, "/pub/big.bin"), whole)
        self.assertEqual(ftp.resumed, reuse)
        self.assertEqual(ftp.version, ftp.sock.version())
        self.assertEqual(self.fetch(ftp, "/pub/big.bin", rest=4_000_000), whole[4_000_000:])
        self.assertEqual(self.fetch(ftp, "/pub/empty"), b"")
        ftp.cwd(self.remote)
        self.assertRegex(ftp.storbinary("STOR up", io.BytesIO(whole)), "^226")
        self.same(self.work / "up", self.pub / "big.bin")
        (self.work / "part").write_bytes(whole[:1000])
        ftp.storbinary("STOR part", io.BytesIO(whole[1000:]), rest=1000)
        self.same(self.work / "part", self.pub / "big.bin")
        ftp.storbinary("APPE part", io.BytesIO(b"more"))
        self.assertEqual((self.work / "part").read_bytes(), whole + b"more")
        ftp.storbinary("STOR none", io.BytesIO(b""))
        self.assertEqual((self.work / "none").read_bytes(), b"")
        self.assertEqual(sorted(ftp.nlst()), ["none", "part", "up"])
        lines = []
        ftp.dir(lines.append)
        self.assertEqual(len(lines), 3)
        self.assertEqual(sorted(n for n, f in ftp.mlsd() if f["type"] == "file"), ["none", "part", "up"])
        self.assertEqual(ftp.resumed, reuse)
        self.assertRegex(ftp.quit(), "^221")

    def test_1_2(self):
        self.everything(V1_2, reuse=False)

    def test_1_3(self):
        self.everything(V1_3, reuse=False)

    def test_1_2_resumed(self):
        self.everything(V1_2, reuse=True)

    def test_1_3_resumed(self):
        self.everything(V1_3, reuse=True)

    def test_active(self):
        self.everything(V1_2, reuse=True, passive=False)
        for path in self.work.iterdir():
            path.unlink()
        self.everything(V1_3, reuse=True, passive=False)

    def test_implicit(self):
        plain = socket.create_connection(("127.0.0.1", self.server.port("ftps")), 30)
        ftp = ftplib.FTP_TLS(context=context(self.server.ca), timeout=30)
        self.addCleanup(ftp.close)
        ftp.host, ftp.af = "127.0.0.1", socket.AF_INET
        ftp.sock = ftp.context.wrap_socket(plain, server_hostname=HOST)
        ftp.file = ftp.sock.makefile("r", encoding="utf-8")
        self.assertRegex(ftp.getresp(), "^220")
        ftp.login(USER, PASSWORD, secure=False)
        # Data are protected without a word about it; PBSZ and PROT are answered all the same.
        ftp._prot_p = True
        self.assertEqual(self.fetch(ftp, "/pub/big.bin"), (self.pub / "big.bin").read_bytes())
        ftp.prot_p()
        self.assertEqual(self.fetch(ftp, "/pub/small.bin"), (self.pub / "small.bin").read_bytes())

    def test_clear_again_and_protected_again(self):
        ftp = self.connect()
        small = (self.pub / "small.bin").read_bytes()
        for _ in range(3):
            ftp.prot_c()
            self.assertEqual(self.fetch(ftp, "/pub/small.bin"), small)
            ftp.prot_p()
            self.assertEqual(self.fetch(ftp, "/pub/small.bin"), small)

    def test_clear_command_channel_is_refused(self):
        ftp = self.connect()
        with self.assertRaisesRegex(ftplib.error_perm, "^534"):
            ftp.voidcmd("CCC")
        self.assertEqual(ftp.voidcmd("NOOP")[:3], "200")

    def test_everything_is_forgotten_by_auth(self):
        """RFC 4217 §4.2: after AUTH one has to log in again."""
        ftp = ftplib.FTP_TLS(context=context(self.server.ca), timeout=30)
        ftp.connect("127.0.0.1", self.server.port("ftp"))
        self.addCleanup(ftp.close)
        ftp.login(USER, PASSWORD, secure=False)
        self.assertEqual(ftp.pwd(), "/")
        ftp.auth()
        with self.assertRaisesRegex(ftplib.error_perm, "^530"):
            ftp.pwd()
        ftp.login(USER, PASSWORD, secure=False)
        self.assertEqual(ftp.pwd(), "/")

    def test_application_protocol(self):
        ftp = self.connect(alpn=["ftp"])
        self.assertEqual(ftp.sock.selected_alpn_protocol(), "ftp")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.connect(alpn=["http/1.1"])

    def test_truncated_upload(self):
        """A STOR that ends without close_notify has been cut off: the old file stays (RFC 4217 §15)."""
        for version in (V1_2, V1_3):
            (self.work / "kept").write_bytes(b"the old contents")
            ftp = self.connect(version)
            ftp.voidcmd("TYPE I")
            data = ftp.transfercmd(f"STOR {self.remote}/kept")
            data.sendall(b"x" * 100_000)
            with socket.socket(fileno=data.detach()):  # closed below TLS
                pass
            with self.assertRaisesRegex(ftplib.error_temp, "^4(26|51)"):
                ftp.voidresp()
            self.assertEqual((self.work / "kept").read_bytes(), b"the old contents")
            self.assertEqual([path.name for path in self.work.iterdir()], ["kept"])
            self.assertEqual(ftp.voidcmd("NOOP")[:3], "200")

    def test_a_download_ends_with_close_notify(self):
        """Without suppress_ragged_eofs Python raises at a truncated end."""
        for version in (V1_2, V1_3):
            ftp = self.connect(version)
            ftp.voidcmd("TYPE I")
            data = ftp.transfercmd("RETR /pub/small.bin")
            data.suppress_ragged_eofs = False
            octets = b""
            while part := data.recv(5000):
                octets += part
            data.close()
            self.assertEqual(octets, (self.pub / "small.bin").read_bytes())
            self.assertEqual(ftp.voidresp()[:3], "226")

    def test_abort(self):
        ftp = self.connect()
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd("RETR /pub/big.bin")
        data.recv(1000)
        ftp.putcmd("ABOR")
        self.assertIn(ftp.getmultiline()[:3], ("426", "226"))
        self.assertEqual(ftp.getmultiline()[:3], "226")
        data.close()
        self.assertEqual(self.fetch(ftp, "/pub/one"), (self.pub / "one").read_bytes())

    def test_who_never_shakes_hands(self):
        """A data connection that stays silent or speaks no TLS; the session goes on."""
        ftp = self.connect()
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00", b""):
            plain, _ = ftplib.FTP.ntransfercmd(ftp, "RETR /pub/big.bin")
            plain.sendall(said)
            plain.shutdown(socket.SHUT_WR)
            with self.assertRaisesRegex((ftplib.error_temp, ftplib.error_perm), "^(42[56]|522)"):
                ftp.voidresp()
            plain.close()
        self.assertEqual(self.fetch(ftp, "/pub/one"), (self.pub / "one").read_bytes())


class Required(SecureCase):
    """`tls = "required"`: no name and no password in clear."""

    ftp = 'tls = "required"\n'

    def test_login_in_clear_is_refused(self):
        ftp = ftplib.FTP(timeout=30)
        ftp.connect("127.0.0.1", self.server.port("ftp"))
        self.addCleanup(ftp.close)
        with self.assertRaisesRegex(ftplib.error_perm, "^53[04]"):
            ftp.sendcmd(f"USER {USER}")
        with self.assertRaisesRegex(ftplib.error_perm, "^5"):
            ftp.sendcmd(f"PASS {PASSWORD}")

    def test_login_in_tls(self):
        ftp = self.connect()
        parts = []
        ftp.retrbinary("RETR /pub/small.bin", parts.append)
        self.assertEqual(b"".join(parts), (self.pub / "small.bin").read_bytes())

    def test_data_stay_private(self):
        ftp = self.connect()
        with self.assertRaisesRegex(ftplib.error_perm, "^534"):
            ftp.prot_c()
        self.assertEqual(ftp.voidcmd("NOOP")[:3], "200")


class Off(SecureCase):
    """`tls = "off"`: nothing about it is announced."""

    ftp = 'tls = "off"\n'

    def test_nothing_is_announced(self):
        ftp = ftplib.FTP(timeout=30)
        ftp.connect("127.0.0.1", self.server.port("ftp"))
        self.addCleanup(ftp.close)
        features = ftp.sendcmd("FEAT")
        for word in ("AUTH", "PBSZ", "PROT"):
            self.assertNotIn(word, features)
        with self.assertRaisesRegex(ftplib.error_perm, "^5(0|3)"):
            ftp.sendcmd("AUTH TLS")
