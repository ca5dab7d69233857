"""tnftp, the BSD client: a script on its standard input, every reply on its standard output."""

import os

from harness import PASSWORD, USER, ClientCase

PASSIVE = "-p"
ACTIVE = "-A"


class Tnftp(ClientCase):
    needs = "tnftp"

    def tnftp(self, script, mode=PASSIVE, family=4, anonymous=False):
        """Runs a script in one session and returns everything the client printed."""
        host, port = ("127.0.0.1", self.server.port4) if family == 4 else ("::1", self.server.port6)
        login = "user anonymous guest@example.org" if anonymous else f'user {USER} "{PASSWORD}"'
        return self.command(
            ["tnftp", "-n", "-v", "-i", mode, host, port],
            stdin=f"{login}\nbinary\n{script}\nquit\n",
            expect=None,
        )

    def everything(self, mode, family):
        whole = (self.pub / "big.bin").read_bytes()
        (self.local / "part").write_bytes(whole[:1_000_000])
        said = self.tnftp(
            "get /pub/big.bin got\n"
            "reget /pub/big.bin part\n"
            "get /pub/empty empty\n"
            f"cd {self.remote}\n"
            "put got up\n"
            "append empty up\n"
            "size up\n"
            "modtime up\n"
            "ls\n"
            "nlist\n"
            "mlsd\n"
            "mlst up\n"
            "rename up renamed\n"
            "mkdir sub\n"
            "pwd\n",
            mode,
            family,
        )
        self.same(self.local / "got", self.pub / "big.bin")
        self.same(self.local / "part", self.pub / "big.bin")
        self.same(self.local / "empty", self.pub / "empty")
        self.same(self.work / "renamed", self.pub / "big.bin")
        self.assertTrue((self.work / "sub").is_dir(), said)
        self.assertIn("221", said)
        self.assertNotRegex(said, r"\n5\d\d[ -]", said)
        self.tnftp(f"cd {self.remote}\ndelete renamed\nrmdir sub\n", mode, family)
        self.assertEqual(list(self.work.iterdir()), [])

    def test_ipv4_passive(self):
        self.everything(PASSIVE, 4)

    def test_ipv4_active(self):
        self.everything(ACTIVE, 4)

    def test_ipv6_passive(self):
        self.everything(PASSIVE, 6)

    def test_ipv6_active(self):
        self.everything(ACTIVE, 6)

    def test_many(self):
        self.tnftp("cd /pub/many\nmget *")
        self.same_tree(self.local, self.pub / "many")

    def test_many_up(self):
        for number in range(20):
            self.write_local(f"m-{number}", number * 511, seed=number)
        self.tnftp(f"cd {self.remote}\nmput m-*\n")
        self.same_tree(self.local, self.work)

    def test_resume_upload(self):
        source = self.write_local("source", 300_000)
        (self.work / "up").write_bytes(source.read_bytes()[:100_000])
        self.tnftp(f"cd {self.remote}\nrestart 100000\nput source up\n")
        self.same(source, self.work / "up")

    def test_ascii(self):
        self.tnftp(f"ascii\nget /pub/text.txt text\nput text {self.remote}/text\n")
        self.same(self.local / "text", self.pub / "text.txt")
        self.same(self.work / "text", self.pub / "text.txt")

    def test_fetch_by_address(self):
        os.mkdir(self.local / "x")
        self.command(["tnftp", "-o", "x/got", f"ftp://127.0.0.1:{self.server.port4}/pub/small.bin"])
        self.same(self.local / "x/got", self.pub / "small.bin")

    def test_anonymous(self):
        source = self.write_local("source", 60_000)
        said = self.tnftp("put source /incoming/anonymous-tnftp\nput source /pub/refused\n", anonymous=True)
        self.same(source, self.server.root / "incoming/anonymous-tnftp")
        self.assertFalse((self.pub / "refused").exists())
        self.assertRegex(said, r"\n55[03] ")
