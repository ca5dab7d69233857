"""wget: recursive retrieval, which reads `ls -l` lines and nothing else."""


from harness import PASSWORD, USER, ClientCase, tree_digests


class Wget(ClientCase):
    needs = "wget"

    def wget(self, path, *arguments, family=4, anonymous=True, expect=0):
        host = f"127.0.0.1:{self.server.port4}" if family == 4 else f"[::1]:{self.server.port6}"
        login = [] if anonymous else [f"--ftp-user={USER}", f"--ftp-password={PASSWORD}"]
        return self.command(
            ["wget", "--no-config", "-nv", "--tries=2", "--timeout=20", *login, *arguments, f"ftp://{host}{path}"],
            expect=expect,
        )

    def recursive(self, *arguments, **how):
        self.wget("/pub/", "-r", "-l", "inf", "-nH", "--no-parent", *arguments, **how)
        got = tree_digests(self.local / "pub")
        got.pop("deep/link", None)  # fetched as the file it leads to, or made as a link
        expected = tree_digests(self.pub)
        expected.pop("deep/link")
        self.assertEqual(got, expected)

    def test_recursive(self):
        self.recursive()

    def test_recursive_ipv6(self):
        self.recursive(family=6)

    def test_recursive_active(self):
        self.recursive("--no-passive-ftp")

    def test_recursive_active_ipv6(self):
        self.recursive("--no-passive-ftp", family=6)

    def test_recursive_user(self):
        self.recursive(anonymous=False)

    def test_mirror_twice(self):
        self.recursive("-N")
        (self.local / "pub/one").unlink()
        self.recursive("-N")

    def test_follow_links(self):
        self.wget("/pub/deep/", "-r", "-nH", "--no-parent", "--retr-symlinks")
        self.same(self.local / "pub/deep/link", self.pub / "deep/README")

    def test_resume(self):
        (self.local / "big.bin").write_bytes((self.pub / "big.bin").read_bytes()[:3_333_333])
        self.wget("/pub/big.bin", "-c")
        self.same(self.local / "big.bin", self.pub / "big.bin")

    def test_start_position(self):
        self.wget("/pub/big.bin", "--start-pos=5000000", "-O", "tail")
        self.assertEqual((self.local / "tail").read_bytes(), (self.pub / "big.bin").read_bytes()[5_000_000:])

    def test_glob(self):
        self.wget("/pub/many/file-03?", "-P", "many")
        self.assertEqual(len(list((self.local / "many").iterdir())), 10)

    def test_missing(self):
        self.wget("/pub/no-such-file", expect=1)
