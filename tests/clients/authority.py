"""A certificate authority for the tests, made on the fly with openssl, and the server's certificate from it.

The server's certificate is of P-256 and names `localhost`, `edge.test` and both loopback addresses, so that
clients can check it as they check any other. Nothing here is ever the same twice, and nothing is kept.
"""

import pathlib
import subprocess

LIFE_DAYS = 90
SERVER = """\
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
crlDistributionPoints = URI:http://ca.test/list.crl
"""
AUTHORITY = ["-addext", "basicConstraints = critical, CA:true", "-addext", "keyUsage = critical, keyCertSign, cRLSign"]
NAMES = ("DNS:localhost", "DNS:edge.test", "IP:127.0.0.1", "IP:::1")


class Authority:
    """An authority in a folder: `ca`, and pairs of certificate and key that it vouches for."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.ca = self.folder / "ca.pem"
        self._key = self._new_key("ca.key")
        words = ["req", "-x509", "-new", "-key", self._key, "-sha256", "-days", str(LIFE_DAYS)]
        self._openssl(*words, "-subj", "/CN=Authority of the tests", *AUTHORITY, "-out", self.ca)

    def issue(self, name, names=NAMES, kind="P-256"):
        """A new certificate (with its chain) and its key, as paths."""
        key = self._new_key(f"{name}.key", kind)
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        certificate = self.folder / f"{name}.pem"
        common = names[0].partition(":")[2]
        self._openssl("req", "-new", "-key", key, "-sha256", "-subj", f"/CN={common}", "-out", request)
        extensions.write_text(SERVER.format(names=", ".join(names)))
        words = ["x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"]
        words += ["-sha256", "-days", str(LIFE_DAYS), "-extfile", extensions, "-out", certificate]
        self._openssl(*words)
        return certificate, key

    def _new_key(self, name, kind="P-256"):
        path = self.folder / name
        if kind == "RSA":
            words = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        else:
            words = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
        self._openssl("genpkey", *words, "-out", path)
        path.chmod(0o600)
        return path

    @staticmethod
    def _openssl(*words):
        done = subprocess.run(
            ["openssl", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise AssertionError(f"openssl {words[0]}: {done.stderr}")
