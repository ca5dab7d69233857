"""One server, one tree, and checks that every client's test shares.

The server binds port 0 and is ready when it says so; every file is compared by SHA-256. Nothing here
sleeps to wait for something else: it reads until a line comes, or polls a condition up to a deadline.
"""

import hashlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = None  # set by `run`
STRICT = False  # set by `run`: a client that is not installed is a failure
PEERS = None  # set by `run`: where other servers are unpacked

USER = "mirror"
PASSWORD = "correct horse"
# How long anything may take that should take no time at all, on a slow machine with other things to do.
DEADLINE_SECONDS = 60


def lacking(reason):
    """Skips, or fails where every client has to be there, if there is a reason."""
    if reason is not None:
        if STRICT:
            raise AssertionError(reason)
        raise unittest.SkipTest(reason)


def need(*programs):
    """Skips the test, or fails it if every client has to be there."""
    for program in programs:
        lacking(f"{program} is not installed" if shutil.which(program) is None else None)


def digest(path):
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digests(root):
    """Relative path -> SHA-256 of every file below `root`."""
    root = pathlib.Path(root)
    return {
        str(path.relative_to(root)): digest(path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def greets(server, name):
    """Does a mail server of others greet at its port? That it ended is a failure, with what it logged."""
    if server.process.poll() is not None:
        raise AssertionError(f"{name} ended with {server.process.returncode}:\n{server.log()}")
    try:
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


def eventually(condition, what, seconds=DEADLINE_SECONDS):
    """Polls until `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Port:
    """A free port of 127.0.0.1, until it is closed: nobody is given it who asks for any, and nobody listens on it
    but those who are told its number (and set SO_REUSEADDR, as servers do)."""

    def __init__(self):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]

    def close(self):
        """It is no longer kept."""
        self._socket.close()


class Server:
    """A running `sluicegate serve` over a fresh data directory."""

    environment = None  # of the process, where it is not ours

    def __init__(self, ftp=""):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-clients-"))
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        self.root = self.data / "ftp"
        self.root.mkdir(parents=True)
        self.config = self.directory / "sluicegate.toml"
        self.config.write_text(
            "[server]\n"
            f'data_dir = "{self.data}"\n'
            "shards = 2\n"
            'metrics_listen = ""\n'
            "[ftp]\n"
            'listen = ["127.0.0.1:0", "[::1]:0"]\n'
            'anonymous = "upload"\n'
            'upload_dirs = ["/incoming"]\n'
            "durable_uploads = false\n" + ftp
        )
        self._lines = []
        self._changed = threading.Condition()
        self.process = None

    def add_user(self, name, password, rights="write", root=None):
        """`sluicegate user add`."""
        command = [BINARY, "user", "add", name, "--password-stdin", "--ftp", rights]
        if root is not None:
            command += ["--ftp-root", root]
        command += ["--data", str(self.data)]
        subprocess.run(
            command, input=password + "\n", text=True, check=True, timeout=DEADLINE_SECONDS
        )

    def start(self):
        """Starts the server and waits until it says `ready`."""
        self.launch()
        listeners = [line.split()[2] for line in self._lines if line.startswith("listening ftp ")]
        ports = {address.rsplit(":", 1)[0]: int(address.rsplit(":", 1)[1]) for address in listeners}
        self.port4 = ports["127.0.0.1"]
        self.port6 = ports["[::1]"]
        return self

    def launch(self):
        """The process, until it says `ready`; what one before it said is forgotten."""
        self._lines = []
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self.environment,
        )
        self._collector = threading.Thread(target=self._collect, args=(self.process, self._lines), daemon=True)
        self._collector.start()
        with self._changed:
            ready = self._changed.wait_for(
                lambda: "ready" in self._lines or self.process.poll() is not None, DEADLINE_SECONDS
            )
            if not ready or "ready" not in self._lines:
                raise AssertionError("the server did not start:\n" + self.log())

    def _collect(self, process, lines):
        for line in process.stderr:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        process.wait()
        with self._changed:
            self._changed.notify_all()

    def log(self):
        """What the server said so far. Lines come after what they tell of: wait for one with `eventually`, and say that
        there is none of `last_words`."""
        return "\n".join(self._lines)

    def last_words(self):
        """Ends the server: all that it said."""
        self.end()
        self._collector.join()
        return self.log()

    def stop(self):
        """SIGTERM; the exit status must be 0 and nothing may be left behind."""
        self.end()
        shutil.rmtree(self.directory)

    def end(self):
        """SIGTERM; the exit status must be 0. What it keeps stays."""
        if self.process is not None:
            self.process.terminate()
            try:
                status = self.process.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("the server did not stop on SIGTERM:\n" + self.log())
            if status != 0:
                raise AssertionError(f"the server ended with {status}:\n" + self.log())


def fill(root, seed=20):
    """A small mirror: sizes that matter, names that hurt, directories, a link."""
    rng = random.Random(seed)
    pub = root / "pub"
    for name, size in [
        ("empty", 0),
        ("one", 1),
        ("small.bin", 16 * 1024),
        ("page-less-one.bin", 4095),
        ("big.bin", 5 * 1024 * 1024 + 17),
        ("with space.txt", 333),
        ("héllo-wörld-日本.dat", 2000),
        ("deep/a/b/c/leaf.bin", 70_000),
        ("deep/a/second", 10),
        ("deep/README", 1200),
    ]:
        path = pub / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    for number in range(40):
        path = pub / "many" / f"file-{number:03}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rng.randbytes(number * 97))
    (pub / "text.txt").write_text("".join(f"line {n}\n" for n in range(1000)))
    (pub / "deep" / "link").symlink_to("README")


class ClientCase(unittest.TestCase):
    """A server for the class, an empty local directory and an empty remote one for each test."""

    needs = None  # the program under test

    @classmethod
    def setUpClass(cls):
        if cls.needs is not None:
            need(cls.needs)
        cls.server = Server()
        fill(cls.server.root)
        cls.server.add_user(USER, PASSWORD)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.pub = cls.server.root / "pub"

    def setUp(self):
        self.local = pathlib.Path(tempfile.mkdtemp(prefix="sluicegate-local-"))
        self.addCleanup(shutil.rmtree, self.local)
        self.work = self.server.root / f"work-{self.id().rsplit('.', 1)[-1]}"
        self.work.mkdir()
        self.remote = "/" + self.work.name

    def command(self, arguments, stdin=None, expect=0):
        """Runs a client; its output is shown when the status is not the expected one."""
        environment = dict(
            os.environ, HOME=str(self.local.parent), LC_ALL="C.UTF-8", TERM="dumb", NETRC="/dev/null"
        )
        environment.pop("ftp_proxy", None)
        done = subprocess.run(
            [str(argument) for argument in arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self.local,
            env=environment,
            timeout=DEADLINE_SECONDS,
        )
        if expect is not None and (done.returncode == 0) != (expect == 0):
            self.fail(
                f"{arguments}\nended with {done.returncode}:\n{done.stdout}\n"
                f"--- server:\n{self.server.log()[-4000:]}"
            )
        return done.stdout

    def write_local(self, name, size, seed=1):
        """A local file with random contents."""
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(seed).randbytes(size))
        return path

    def same(self, one, other):
        """Both files exist and have the same contents."""
        one, other = pathlib.Path(one), pathlib.Path(other)
        self.assertTrue(one.is_file(), f"{one} is missing")
        self.assertTrue(other.is_file(), f"{other} is missing")
        self.assertEqual(one.stat().st_size, other.stat().st_size, f"{one} and {other}")
        self.assertEqual(digest(one), digest(other), f"{one} and {other}")

    def same_tree(self, one, other):
        """Both directories hold the same files with the same contents."""
        self.assertEqual(tree_digests(one), tree_digests(other))
