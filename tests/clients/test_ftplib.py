"""Python's ftplib: the plainest client there is, so the one that shows replies best."""

import ftplib
import io

from harness import PASSWORD, USER, ClientCase


class Ftplib(ClientCase):
    def client(self, family=4, passive=True, anonymous=False):
        """A logged-in client, closed at the end of the test."""
        ftp = ftplib.FTP(timeout=30)
        ftp.encoding = "utf-8"
        if family == 4:
            ftp.connect("127.0.0.1", self.server.port4)
        else:
            ftp.connect("::1", self.server.port6)
        self.addCleanup(ftp.close)
        ftp.login() if anonymous else ftp.login(USER, PASSWORD)
        ftp.set_pasv(passive)
        return ftp

    def fetch(self, ftp, path, rest=None):
        """The contents of a remote file."""
        parts = []
        ftp.retrbinary(f"RETR {path}", parts.append, rest=rest)
        return b"".join(parts)

    def everything(self, family, passive):
        """Down, up, resume both ways, lists, rename, delete."""
        ftp = self.client(family, passive)
        whole = (self.pub / "big.bin").read_bytes()
        self.assertEqual(self.fetch(ftp, "/pub/big.bin"), whole)
        self.assertEqual(self.fetch(ftp, "/pub/big.bin", rest=4_000_000), whole[4_000_000:])
        self.assertEqual(self.fetch(ftp, "/pub/empty"), b"")
        ftp.cwd(self.remote)
        self.assertEqual(ftp.pwd(), self.remote)
        self.assertRegex(ftp.storbinary("STOR up", io.BytesIO(whole)), "^226")
        self.same(self.work / "up", self.pub / "big.bin")
        (self.work / "part").write_bytes(whole[:1000])
        ftp.storbinary("STOR part", io.BytesIO(whole[1000:]), rest=1000)
        self.same(self.work / "part", self.pub / "big.bin")
        self.assertEqual(sorted(ftp.nlst()), ["part", "up"])
        lines = []
        ftp.dir(lines.append)
        self.assertEqual(len(lines), 2)
        facts = {name: fact for name, fact in ftp.mlsd() if fact["type"] == "file"}
        self.assertEqual(sorted(facts), ["part", "up"])
        self.assertEqual(int(facts["up"]["size"]), len(whole))
        ftp.voidcmd("TYPE I")  # a listing leaves TYPE A, in which SIZE counts line ends as two
        self.assertEqual(ftp.size("up"), len(whole))
        ftp.rename("up", "renamed")
        self.same(self.work / "renamed", self.pub / "big.bin")
        ftp.delete("renamed")
        ftp.delete("part")
        self.assertEqual(ftp.nlst(), [])
        self.assertEqual(ftp.mkd("sub"), f"{self.remote}/sub")
        ftp.rmd("sub")
        self.assertEqual(list(self.work.iterdir()), [])
        self.assertRegex(ftp.quit(), "^221")

    def test_ipv4_passive(self):
        self.everything(4, True)

    def test_ipv4_active(self):
        self.everything(4, False)

    def test_ipv6_passive(self):
        self.everything(6, True)

    def test_ipv6_active(self):
        self.everything(6, False)

    def test_anonymous(self):
        ftp = self.client(anonymous=True)
        self.assertEqual(self.fetch(ftp, "/pub/small.bin"), (self.pub / "small.bin").read_bytes())
        ftp.storbinary("STOR /incoming/anonymous-ftplib", io.BytesIO(b"contents"))
        self.assertEqual((self.server.root / "incoming/anonymous-ftplib").read_bytes(), b"contents")
        with self.assertRaises(ftplib.error_perm):
            ftp.storbinary("STOR /pub/refused", io.BytesIO(b"contents"))
        for line in ("DELE /pub/one", "RNFR /pub/one", "MKD /pub/refused", "RMD /pub/deep"):
            with self.assertRaisesRegex(ftplib.error_perm, "^550"):
                ftp.voidcmd(line)
        self.assertEqual(ftp.pwd(), "/")

    def test_text(self):
        ftp = self.client()
        lines = []
        ftp.retrlines("RETR /pub/text.txt", lines.append)
        self.assertEqual(lines, (self.pub / "text.txt").read_text().splitlines())
        ftp.storlines(f"STOR {self.remote}/text.txt", io.BytesIO(b"one\ntwo\nthree\n"))
        self.assertEqual((self.work / "text.txt").read_bytes(), b"one\ntwo\nthree\n")

    def test_abort(self):
        ftp = self.client()
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd("RETR /pub/big.bin")
        data.recv(1000)
        ftp.putcmd("ABOR")
        # 426 then 226; or 226 twice when the transfer had already ended.
        first = ftp.getmultiline()
        self.assertIn(first[:3], ("426", "226"))
        self.assertEqual(ftp.getmultiline()[:3], "226")
        data.close()
        self.assertEqual(ftp.voidcmd("NOOP")[:3], "200")

    def test_names(self):
        ftp = self.client()
        for name in ("with space", " leading", "trailing ", "日本語", 'quo"te', "a;b=c", "-l", "*", "[x]", "~"):
            path = f"{self.remote}/{name}"
            ftp.storbinary(f"STOR {path}", io.BytesIO(name.encode()))
            self.assertEqual((self.work / name).read_bytes(), name.encode())
            self.assertEqual(self.fetch(ftp, path), name.encode())
        self.assertEqual(
            sorted(name for name, facts in ftp.mlsd(self.remote) if facts["type"] == "file"),
            sorted(path.name for path in self.work.iterdir()),
        )
        ftp.mkd(f'{self.remote}/di"r')
        ftp.cwd(f'{self.remote}/di"r')
        self.assertEqual(ftp.pwd(), f'{self.remote}/di"r')
