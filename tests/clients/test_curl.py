"""curl: every data-connection mode, both address families, resumption both ways."""

from harness import PASSWORD, USER, ClientCase

V4 = "v4"
V6 = "v6"


class Curl(ClientCase):
    needs = "curl"

    def curl(self, *arguments, family=V4, anonymous=False, expect=0):
        """Runs curl; `{}` in an argument stands for `ftp://host:port`."""
        host = f"127.0.0.1:{self.server.port4}" if family == V4 else f"[::1]:{self.server.port6}"
        login = [] if anonymous else ["--user", f"{USER}:{PASSWORD}"]
        return self.command(
            ["curl", "-q", "--silent", "--show-error", "--globoff", "--max-time", "50", *login]
            + [str(argument).replace("{}", f"ftp://{host}") for argument in arguments],
            expect=expect,
        )

    def round_trip(self, family, *mode):
        """Down, up, and a listing, in one data-connection mode."""
        self.curl(*mode, "-o", "got", "{}/pub/big.bin", family=family)
        self.same(self.local / "got", self.pub / "big.bin")
        self.curl(*mode, "-T", "got", f"{{}}{self.remote}/up.bin", family=family)
        self.same(self.local / "got", self.work / "up.bin")
        names = self.curl(*mode, "--list-only", f"{{}}{self.remote}/", family=family)
        self.assertEqual(names.split(), ["up.bin"])

    def test_epsv_ipv4(self):
        self.round_trip(V4)

    def test_epsv_ipv6(self):
        self.round_trip(V6)

    def test_pasv(self):
        self.round_trip(V4, "--disable-epsv")

    def test_eprt_ipv4(self):
        self.round_trip(V4, "--ftp-port", "-")

    def test_eprt_ipv6(self):
        self.round_trip(V6, "--ftp-port", "-")

    def test_port(self):
        self.round_trip(V4, "--ftp-port", "-", "--disable-eprt")

    def test_anonymous_download(self):
        self.curl("-o", "got", "{}/pub/small.bin", anonymous=True)
        self.same(self.local / "got", self.pub / "small.bin")

    def test_every_file_one_connection(self):
        names = sorted(path.name for path in self.pub.iterdir() if path.is_file())
        arguments = []
        for name in names:
            quoted = "".join(
                chr(byte) if chr(byte).isalnum() and byte < 128 or byte in b"-._" else f"%{byte:02X}"
                for byte in name.encode()
            )
            arguments += ["-o", name, "{}/pub/" + quoted]
        self.curl(*arguments)
        for name in names:
            self.same(self.local / name, self.pub / name)

    def test_parallel(self):
        arguments = ["--parallel", "--parallel-max", "8"]
        for number in range(40):
            arguments += ["-o", f"many/file-{number:03}", f"{{}}/pub/many/file-{number:03}"]
        self.curl("--create-dirs", *arguments)
        self.same_tree(self.local / "many", self.pub / "many")

    def test_resume_download(self):
        whole = (self.pub / "big.bin").read_bytes()
        (self.local / "got").write_bytes(whole[:1_234_567])
        self.curl("-C", "-", "-o", "got", "{}/pub/big.bin")
        self.same(self.local / "got", self.pub / "big.bin")

    def test_range(self):
        self.curl("-r", "1000-1999", "-o", "got", "{}/pub/big.bin")
        self.assertEqual((self.local / "got").read_bytes(), (self.pub / "big.bin").read_bytes()[1000:2000])
        self.curl("-r", "-100", "-o", "got", "{}/pub/big.bin")
        self.assertEqual((self.local / "got").read_bytes(), (self.pub / "big.bin").read_bytes()[-100:])

    def test_resume_upload(self):
        source = self.write_local("source", 3_000_000)
        (self.work / "up.bin").write_bytes(source.read_bytes()[:1_000_001])
        self.curl("-C", "-", "-T", "source", f"{{}}{self.remote}/up.bin")
        self.same(source, self.work / "up.bin")

    def test_append(self):
        source = self.write_local("source", 50_000)
        (self.work / "log").write_bytes(b"before ")
        self.curl("--append", "-T", "source", f"{{}}{self.remote}/log")
        self.assertEqual((self.work / "log").read_bytes(), b"before " + source.read_bytes())

    def test_create_directories(self):
        source = self.write_local("source", 100)
        self.curl("--ftp-create-dirs", "-T", "source", f"{{}}{self.remote}/x/y/z/new")
        self.same(source, self.work / "x/y/z/new")

    def test_working_directory_methods(self):
        for method in ("multicwd", "nocwd", "singlecwd"):
            self.curl("--ftp-method", method, "-o", method, "{}/pub/deep/a/b/c/leaf.bin")
            self.same(self.local / method, self.pub / "deep/a/b/c/leaf.bin")

    def test_list(self):
        listing = self.curl("{}/pub/")
        self.assertIn("big.bin", listing)
        self.assertIn(" 5242897 ", listing)
        self.assertIn("drwx", listing)

    def test_head(self):
        head = self.curl("-I", "{}/pub/big.bin")
        self.assertIn("Content-Length: 5242897", head)
        self.assertIn("Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT", head)

    def test_ascii(self):
        got = self.curl("--use-ascii", "{}/pub/text.txt")
        self.assertEqual(got.replace("\r\n", "\n"), (self.pub / "text.txt").read_text())

    def test_rename_and_delete(self):
        (self.work / "old").write_bytes(b"contents")
        self.curl(
            "--head", "-Q", f"RNFR {self.remote}/old", "-Q", f"RNTO {self.remote}/new", "{}/pub/"
        )
        self.assertEqual((self.work / "new").read_bytes(), b"contents")
        self.assertFalse((self.work / "old").exists())
        self.curl("--head", "-Q", f"DELE {self.remote}/new", "{}/pub/")
        self.assertFalse((self.work / "new").exists())

    def test_missing_and_forbidden(self):
        self.curl("-o", "got", "{}/pub/no-such-file", expect=1)
        self.curl("-o", "got", "{}/pub/../../../../etc/passwd", "--path-as-is", expect=1)
        self.curl("--user", "mirror:wrong", "-o", "got", "{}/pub/one", anonymous=True, expect=1)

    def test_anonymous_upload(self):
        source = self.write_local("source", 100_000)
        self.curl("-T", "source", "{}/incoming/anonymous-curl", anonymous=True)
        self.same(source, self.server.root / "incoming/anonymous-curl")
        for place in ("", "pub/"):
            self.curl("-T", "source", f"{{}}/{place}refused", anonymous=True, expect=1)
            self.assertFalse((self.server.root / place / "refused").exists())
        self.curl("--head", "-Q", "DELE /pub/one", "{}/pub/", anonymous=True, expect=1)
        self.assertTrue((self.pub / "one").exists())
