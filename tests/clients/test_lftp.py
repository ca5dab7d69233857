"""lftp: mirrors in both directions, in parallel and resumed, and its own way to pipeline commands."""

import os

from harness import PASSWORD, USER, ClientCase

SETTINGS = (
    "set cmd:fail-exit yes; set net:max-retries 2; set net:timeout 20; set net:reconnect-interval-base 1; "
    "set ftp:ssl-allow no; set xfer:clobber yes; set net:persist-retries 0; "
)


class Lftp(ClientCase):
    needs = "lftp"

    def lftp(self, script, settings="", family=4, anonymous=False, expect=0):
        """Runs a script of lftp commands in one session."""
        host = f"127.0.0.1 -p {self.server.port4}" if family == 4 else f"::1 -p {self.server.port6}"
        login = "" if anonymous else f"-u {USER},'{PASSWORD}' "
        return self.command(
            ["lftp", "--norc", "-c", f"{SETTINGS}{settings}; open {login}{host}; {script}"], expect=expect
        )

    def mirror_down(self, settings="", options="", **how):
        self.lftp(f"mirror {options} /pub got", settings, **how)
        self.same_tree(self.local / "got", self.pub)
        self.assertEqual((self.local / "got/big.bin").stat().st_mtime, 1_600_000_000)
        self.assertTrue((self.local / "got/deep/link").exists())

    def test_mirror_down(self):
        self.mirror_down()

    def test_mirror_down_anonymous(self):
        self.mirror_down(anonymous=True)

    def test_mirror_down_ipv6(self):
        self.mirror_down(family=6)

    def test_mirror_down_active(self):
        self.mirror_down("set ftp:passive-mode off")

    # Not active over IPv6: on the loopback interface lftp 4.9.2 announces `EPRT |2|::|port|`, which is refused,
    # and lftp connects anew for every file.

    def test_mirror_down_pasv(self):
        self.mirror_down("set ftp:prefer-epsv no")

    def test_mirror_down_epsv(self):
        self.mirror_down("set ftp:prefer-epsv yes")

    def test_mirror_down_without_mlsd(self):
        self.mirror_down("set ftp:use-mlsd no")

    def test_mirror_down_with_mlsd(self):
        self.mirror_down("set ftp:use-mlsd yes")

    def test_mirror_down_synchronous(self):
        self.mirror_down("set ftp:sync-mode yes")

    def test_mirror_down_pipelined(self):
        self.mirror_down("set ftp:sync-mode no")

    def test_mirror_down_parallel(self):
        self.mirror_down(options="--parallel=6 --use-pget-n=3")

    def test_mirror_down_resumed(self):
        for name, size in (("big.bin", 2_000_000), ("deep/a/b/c/leaf.bin", 123), ("many/file-039", 1)):
            path = self.local / "got" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((self.pub / name).read_bytes()[:size])
            os.utime(path, (1_600_000_000, 1_600_000_000))
        self.mirror_down(options="-c")

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

    def test_mirror_up(self):
        self.mirror_up()

    def test_mirror_up_ipv6(self):
        self.mirror_up(family=6)

    def test_mirror_up_parallel(self):
        self.mirror_up(options="--parallel=6")

    def test_mirror_up_active(self):
        self.mirror_up("set ftp:passive-mode off")

    def test_mirror_up_pipelined(self):
        self.mirror_up("set ftp:sync-mode no", "--parallel=3")

    def test_mirror_up_resumed(self):
        big = self.write_local("source/big", 4_000_000)
        (self.work / "up").mkdir()
        (self.work / "up/big").write_bytes(big.read_bytes()[:1_500_000])
        self.mirror_up(options="-c")

    def test_mirror_up_deletes(self):
        self.write_local("source/keep", 100)
        (self.work / "up/gone/deep").mkdir(parents=True)
        (self.work / "up/gone/deep/file").write_bytes(b"x")
        self.lftp(f"mirror -R --delete source {self.remote}/up")
        self.same_tree(self.local / "source", self.work / "up")
        self.assertFalse((self.work / "up/gone").exists())

    def test_get_and_put_resumed(self):
        whole = (self.pub / "big.bin").read_bytes()
        (self.local / "got").write_bytes(whole[:777_777])
        self.lftp("get -c /pub/big.bin -o got")
        self.same(self.local / "got", self.pub / "big.bin")
        (self.work / "up").write_bytes(whole[:999_999])
        self.lftp(f"put -c got -o {self.remote}/up")
        self.same(self.local / "got", self.work / "up")

    def test_pget(self):
        self.lftp("pget -n 5 /pub/big.bin -o got")
        self.same(self.local / "got", self.pub / "big.bin")

    def test_list_rename_delete(self):
        (self.work / "old").write_bytes(b"contents")
        names = self.lftp(f"cd {self.remote}; mv old new; nlist; cls -1; ls; mkdir -p a/b/c; chmod 600 new")
        self.assertEqual(names.split()[:2], ["new", "new"])
        self.assertEqual((self.work / "new").read_bytes(), b"contents")
        self.assertEqual((self.work / "new").stat().st_mode & 0o777, 0o600)
        self.lftp(f"cd {self.remote}; rm new; rm -r a")
        self.assertEqual(list(self.work.iterdir()), [])

    def test_find_and_du(self):
        found = self.lftp("find /pub/deep").split("\n")
        self.assertIn("/pub/deep/a/b/c/leaf.bin", found)
        self.lftp("du -s /pub")

    def test_ascii(self):
        self.lftp("get -a /pub/text.txt -o got")
        self.same(self.local / "got", self.pub / "text.txt")

    def test_anonymous_upload(self):
        source = self.write_local("source", 60_000)
        self.lftp("put source -o /incoming/anonymous-lftp", anonymous=True)
        self.same(source, self.server.root / "incoming/anonymous-lftp")
        self.lftp("put source -o /pub/refused", anonymous=True, expect=1)
        self.assertFalse((self.pub / "refused").exists())
