"""NcFTP's tools (IPv4 only): ncftpget, ncftpput, ncftpls, and ncftp itself for renaming and deleting."""

from harness import PASSWORD, USER, ClientCase

PASSIVE = "-F"
ACTIVE = "-E"


class Ncftp(ClientCase):
    needs = "ncftpget"

    def tool(self, name, *arguments, anonymous=False, expect=0):
        login = [] if anonymous else ["-u", USER, "-p", PASSWORD]
        return self.command(
            [name, "-P", self.server.port4, "-t", "20", "-r", "1", *login, *arguments], expect=expect
        )

    def get(self, *arguments, **how):
        return self.tool("ncftpget", "-V", *arguments, **how)

    def put(self, *arguments, **how):
        return self.tool("ncftpput", "-V", *arguments, **how)

    def everything(self, mode):
        self.get(mode, "127.0.0.1", ".", "/pub/big.bin", "/pub/empty", "/pub/small.bin")
        for name in ("big.bin", "empty", "small.bin"):
            self.same(self.local / name, self.pub / name)
        self.put(mode, "127.0.0.1", self.remote, "big.bin", "small.bin")
        for name in ("big.bin", "small.bin"):
            self.same(self.local / name, self.work / name)
        names = self.tool("ncftpls", mode, "-1", f"ftp://127.0.0.1{self.remote}/")
        self.assertEqual(sorted(names.split()), ["big.bin", "small.bin"])

    def test_passive(self):
        self.everything(PASSIVE)

    def test_active(self):
        self.everything(ACTIVE)

    def test_recursive_get(self):
        self.get("-R", "127.0.0.1", ".", "/pub/deep", "/pub/many")
        self.same_tree(self.local / "deep", self.pub / "deep")
        self.same_tree(self.local / "many", self.pub / "many")

    def test_recursive_put(self):
        for number in range(12):
            self.write_local(f"source/d{number % 3}/file {number}", number * 1001, seed=number)
        self.put("-R", "127.0.0.1", self.remote, "source")
        self.same_tree(self.local / "source", self.work / "source")

    def test_resume(self):
        whole = (self.pub / "big.bin").read_bytes()
        (self.local / "big.bin").write_bytes(whole[:2_000_000])
        self.get("-z", "127.0.0.1", ".", "/pub/big.bin")
        self.same(self.local / "big.bin", self.pub / "big.bin")
        # Upwards by APPE: `ncftpput -z` (3.2.6) gives REST but then sends its file from the beginning.
        (self.local / "tail").write_bytes(whole[1_000_000:])
        (self.work / "tail").write_bytes(whole[:1_000_000])
        self.put("-A", "127.0.0.1", self.remote, "tail")
        self.same(self.work / "tail", self.pub / "big.bin")

    def test_append_and_make_directory(self):
        self.write_local("log", 1000)
        (self.work / "log").write_bytes(b"before ")
        self.put("-A", "127.0.0.1", self.remote, "log")
        self.assertEqual((self.work / "log").read_bytes(), b"before " + (self.local / "log").read_bytes())
        self.put("-m", "127.0.0.1", f"{self.remote}/x/y", "log")
        self.same(self.local / "log", self.work / "x/y/log")

    def test_temporary_name_then_rename(self):
        source = self.write_local("source", 30_000)
        self.put("-T", "tmp-", "127.0.0.1", self.remote, "source")
        self.same(source, self.work / "source")
        self.assertEqual([path.name for path in self.work.iterdir()], ["source"])

    def test_get_and_delete(self):
        (self.work / "once").write_bytes(b"contents")
        self.get("-DD", "127.0.0.1", ".", f"{self.remote}/once")
        self.assertEqual((self.local / "once").read_bytes(), b"contents")
        self.assertFalse((self.work / "once").exists())

    def test_ascii(self):
        self.get("-a", "127.0.0.1", ".", "/pub/text.txt")
        self.same(self.local / "text.txt", self.pub / "text.txt")

    def test_anonymous(self):
        self.get("127.0.0.1", ".", "/pub/small.bin", anonymous=True)
        self.same(self.local / "small.bin", self.pub / "small.bin")
        self.write_local("anonymous-ncftp", 5000)
        self.put("127.0.0.1", "/incoming", "anonymous-ncftp", anonymous=True)
        self.same(self.local / "anonymous-ncftp", self.server.root / "incoming/anonymous-ncftp")
        self.put("127.0.0.1", "/pub", "anonymous-ncftp", anonymous=True, expect=1)
        self.assertFalse((self.pub / "anonymous-ncftp").exists())

    def test_interactive(self):
        (self.work / "old").write_bytes(b"contents")
        self.command(
            ["ncftp", "-u", USER, "-p", PASSWORD, "-P", self.server.port4, "127.0.0.1"],
            stdin=f"cd {self.remote}\nls -l\nrename old new\nmkdir sub\nchmod 640 new\nquit\n",
        )
        self.assertEqual((self.work / "new").read_bytes(), b"contents")
        self.assertTrue((self.work / "sub").is_dir())
        self.command(
            ["ncftp", "-u", USER, "-p", PASSWORD, "-P", self.server.port4, "127.0.0.1"],
            stdin=f"cd {self.remote}\nrm new\nrmdir sub\nquit\n",
        )
        self.assertEqual(list(self.work.iterdir()), [])
