"""lftp with TLS (GnuTLS): mirrors both ways, explicit and implicit, both versions."""

import os

from harness import PASSWORD, USER
from secure import SecureCase

SETTINGS = (
    "set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 20; set net:reconnect-interval-base 1; "
    "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes; set xfer:clobber yes; "
    "set net:persist-retries 0; set ssl:verify-certificate yes; set ssl:check-hostname yes; "
)
PRIORITIES = {
    "1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2",
    "1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3",
}


class LftpTls(SecureCase):
    needs = "lftp"

    def lftp(self, script, settings="", implicit=False, version=None):
        """Runs a script of lftp commands in one session."""
        if version is not None:
            settings += f"set ssl:priority {PRIORITIES[version]}; "
        settings += f"set ssl:ca-file {self.server.ca}; "
        url = self.server.url(implicit=implicit)
        script = f"{SETTINGS}{settings}open -u {USER},'{PASSWORD}' {url}; {script}"
        return self.command(["lftp", "--norc", "-c", script])

    def mirror_down(self, settings="", options="", **how):
        self.lftp(f"mirror {options} /pub got", settings, **how)
        self.same_tree(self.local / "got", self.pub)
        self.assertEqual((self.local / "got/big.bin").stat().st_mtime, 1_600_000_000)

    def mirror_up(self, settings="", options="", **how):
        source = self.local / "source"
        for number in range(30):
            self.write_local(f"source/d{number % 3}/sub/file {number}", number * 3001, seed=number)
        self.write_local("source/big", 4_000_000)
        self.write_local("source/empty", 0)
        os.utime(source / "big", (1_500_000_000, 1_500_000_000))
        self.lftp(f"mirror -R {options} source {self.remote}/up", settings, **how)
        self.same_tree(source, self.work / "up")
        self.assertEqual((self.work / "up/big").stat().st_mtime, 1_500_000_000)

    def test_down_1_2(self):
        self.mirror_down(version="1.2")

    def test_down_1_3(self):
        self.mirror_down(version="1.3")

    def test_down_implicit(self):
        self.mirror_down(implicit=True)

    def test_down_active(self):
        self.mirror_down("set ftp:passive-mode off; ")

    def test_down_parallel(self):
        self.mirror_down(options="--parallel=10 --use-pget-n=3")

    def test_down_pipelined(self):
        self.mirror_down("set ftp:sync-mode no; ")

    def test_down_clear_data(self):
        self.mirror_down("set ftp:ssl-protect-data no; set ftp:ssl-protect-list no; ")

    def test_up_1_2(self):
        self.mirror_up(version="1.2")

    def test_up_1_3(self):
        self.mirror_up(version="1.3")

    def test_up_implicit(self):
        self.mirror_up(implicit=True)

    def test_up_parallel(self):
        self.mirror_up(options="--parallel=10")

    def test_up_active(self):
        self.mirror_up("set ftp:passive-mode off; ")
