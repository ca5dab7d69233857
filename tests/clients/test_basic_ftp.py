"""basic-ftp on Node: the library behind most deployment scripts of its world.

It is fetched with npm into a folder of the run; nothing of it is installed.
"""

import json
import pathlib
import shutil
import subprocess
import tempfile

from harness import DEADLINE_SECONDS, PASSWORD, USER, tree_digests
from secure import SecureCase, need

SCRIPT = pathlib.Path(__file__).resolve().parent / "basic-ftp.mjs"
PACKAGE = "basic-ftp@6"


class BasicFtp(SecureCase):
    @classmethod
    def setUpClass(cls):
        need("node", "npm")
        folder = tempfile.mkdtemp(prefix="sluicegate-npm-")
        cls.addClassCleanup(shutil.rmtree, folder)
        words = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder]
        done = subprocess.run(
            [*words, "--cache", f"{folder}/cache", PACKAGE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * DEADLINE_SECONDS,
        )
        if done.returncode != 0:
            raise AssertionError(f"npm: {done.stdout}{done.stderr}")
        cls.library = f"{folder}/node_modules/basic-ftp"
        super().setUpClass()

    def both_ways(self, mode, version):
        port = self.server.port("ftps" if mode == "implicit" else "ftp")
        arguments = [self.library, "127.0.0.1", port, self.server.ca, USER, PASSWORD]
        said = self.command(["node", SCRIPT, *arguments, mode, version, self.local, self.remote])
        told = json.loads(said.splitlines()[-1])
        self.assertEqual(told["version"], version)
        # It does not follow links to files.
        wanted = tree_digests(self.pub)
        wanted.pop("deep/link")
        for folder in (self.local / "down", self.work / "up"):
            held = tree_digests(folder)
            held.pop("deep/link", None)
            self.assertEqual(held, wanted)
        self.assertEqual(told["names"], sorted(path.name for path in self.pub.iterdir()))
        whole = (self.pub / "big.bin").read_bytes() + (self.pub / "small.bin").read_bytes()
        self.assertEqual(told["size"], len(whole))
        self.assertEqual((self.work / "once").read_bytes(), whole)

    def test_explicit_1_2(self):
        self.both_ways("explicit", "TLSv1.2")

    def test_explicit_1_3(self):
        self.both_ways("explicit", "TLSv1.3")

    def test_implicit_1_2(self):
        self.both_ways("implicit", "TLSv1.2")

    def test_implicit_1_3(self):
        self.both_ways("implicit", "TLSv1.3")


class BasicFtpRequire(BasicFtp):
    """It resumes by itself, so that the strictest policy suits it too."""

    ftp = 'data_tls = "require"\n'
