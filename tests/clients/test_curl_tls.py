"""curl with TLS (OpenSSL): explicit, implicit, both versions, every data-connection mode, in parallel."""

from harness import PASSWORD, USER
from secure import SecureCase

VERSIONS = {"1.2": ["--tlsv1.2", "--tls-max", "1.2"], "1.3": ["--tlsv1.3"]}
# The commonest way of all, and it must work without a word about TLS 1.2 or 1.3.
EITHER = []


class CurlTls(SecureCase):
    needs = "curl"

    def curl(self, *arguments, family=4, implicit=False, version=None, anonymous=False, expect=0):
        """Runs curl; `{}` in an argument stands for `ftp://host:port` or `ftps://host:port`."""
        url = self.server.url(family, implicit)
        words = ["curl", "-q", "--silent", "--show-error", "--globoff", "--max-time", "50", "--ssl-reqd"]
        words += ["--cacert", self.server.ca, *(VERSIONS[version] if version else EITHER)]
        if not anonymous:
            words += ["--user", f"{USER}:{PASSWORD}"]
        return self.command(
            words + [str(argument).replace("{}", url) for argument in arguments], expect=expect
        )

    def round_trip(self, *mode, **how):
        """Down, up, and a listing, with one kind of data connection."""
        self.curl(*mode, "-o", "got", "{}/pub/big.bin", **how)
        self.same(self.local / "got", self.pub / "big.bin")
        self.curl(*mode, "-T", "got", f"{{}}{self.remote}/up.bin", **how)
        self.same(self.local / "got", self.work / "up.bin")
        names = self.curl(*mode, "--list-only", f"{{}}{self.remote}/", **how)
        self.assertEqual(names.split(), ["up.bin"])
        self.assertIn(" 5242897 ", self.curl(*mode, f"{{}}{self.remote}/", **how))

    def test_explicit_1_2(self):
        self.round_trip(version="1.2")

    def test_explicit_1_3(self):
        self.round_trip(version="1.3")

    def test_explicit_ipv6(self):
        self.round_trip(family=6)

    # Not active: curl 7.88 forgets the data connection's TLS (`sa_addr inet_ntop() failed`), with any server.

    def test_explicit_pasv(self):
        self.round_trip("--disable-epsv")

    def test_implicit_1_2(self):
        self.round_trip(implicit=True, version="1.2")

    def test_implicit_1_3(self):
        self.round_trip(implicit=True, version="1.3")

    def test_implicit_ipv6(self):
        self.round_trip(implicit=True, family=6)

    def test_anonymous(self):
        self.curl("-o", "got", "{}/pub/small.bin", anonymous=True)
        self.same(self.local / "got", self.pub / "small.bin")

    def test_clear_data(self):
        """`--ssl-reqd` for the login and clear data connections: curl's `--ftp-ssl-control`."""
        url = self.server.url()
        self.command(
            ["curl", "-q", "--silent", "--show-error", "--ftp-ssl-control", "--cacert", self.server.ca]
            + ["--user", f"{USER}:{PASSWORD}", "-o", "got", f"{url}/pub/big.bin"]
        )
        self.same(self.local / "got", self.pub / "big.bin")

    def test_parallel(self):
        for version in VERSIONS:
            arguments = ["--parallel", "--parallel-max", "12", "--create-dirs"]
            for number in range(40):  # number 0 is empty
                arguments += ["-o", f"{version}/file-{number:03}", f"{{}}/pub/many/file-{number:03}"]
            self.curl(*arguments, version=version)
            self.same_many(self.local / version)

    def test_parallel_implicit(self):
        arguments = ["--parallel", "--parallel-max", "12", "--create-dirs"]
        for number in range(40):  # number 0 is empty
            arguments += ["-o", f"many/file-{number:03}", f"{{}}/pub/many/file-{number:03}"]
        self.curl(*arguments, implicit=True)
        self.same_many(self.local / "many")

    def test_resume_both_ways(self):
        whole = (self.pub / "big.bin").read_bytes()
        (self.local / "got").write_bytes(whole[:1_234_567])
        self.curl("-C", "-", "-o", "got", "{}/pub/big.bin")
        self.same(self.local / "got", self.pub / "big.bin")
        (self.work / "up.bin").write_bytes(whole[:2_000_001])
        self.curl("-C", "-", "-T", "got", f"{{}}{self.remote}/up.bin")
        self.same(self.pub / "big.bin", self.work / "up.bin")

    def test_range_ends_a_transfer_early(self):
        self.curl("-r", "1000-1999", "-o", "one", "{}/pub/big.bin", "-o", "two", "{}/pub/small.bin")
        self.assertEqual((self.local / "one").read_bytes(), (self.pub / "big.bin").read_bytes()[1000:2000])

    def same_many(self, folder):
        for number in range(40):
            self.same(folder / f"file-{number:03}", self.pub / "many" / f"file-{number:03}")

    def test_an_empty_upload(self):
        self.write_local("none", 0)
        self.curl("-T", "none", f"{{}}{self.remote}/empty")
        self.assertEqual((self.work / "empty").read_bytes(), b"")

    def test_an_unknown_authority_is_noticed(self):
        self.command(
            ["curl", "-q", "--silent", "--ssl-reqd", "-o", "got", self.server.url() + "/pub/one"], expect=1
        )
