"""The server under test: started over a data directory, stopped, killed, started again."""

import pathlib
import signal
import subprocess
import threading

import load

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60


def newest_binary(given):
    """The server to test: as given, else the newest build."""
    if given is not None:
        return pathlib.Path(given).resolve()
    built = [REPOSITORY / "target" / profile / "sluicegate" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        raise SystemExit("no server to test: run `cargo build --release` first, or give --binary FILE")
    return max(built, key=lambda path: path.stat().st_mtime)


def config(data, smtp="", mail="", more="", routes=""):
    """A configuration: small segments, every local part has a mailbox, one domain goes nowhere."""
    return (
        "[server]\n"
        f'data_dir = "{data}"\n'
        'hostname = "edge.test"\n'
        "shards = 2\n"
        'metrics_listen = ""\n'
        "drain_seconds = 1\n"
        "[smtp]\n"
        'listen = ["127.0.0.1:0"]\n'
        f'domains = ["{load.LOCAL}", "{load.DISCARDED}"]\n'
        + settings(
            {"spool_segment_bytes": 1 << 20, "spool_reserve_bytes": 4 << 20, "max_errors": 1000}, smtp
        )
        + f'[[smtp.route]]\nrecipient = "*@{load.DISCARDED}"\nto = "discard"\n'
        + routes
        + "[mail]\n"
        + settings({"unknown_local_part": "accept", "retry_seconds": 1, "retry_seconds_max": 2}, mail)
        + more
    )


def settings(defaults, given):
    """Lines of TOML: `given` ("key = value" lines) wins over the defaults."""
    chosen = {line.split("=")[0].strip() for line in given.splitlines() if "=" in line}
    lines = []
    for key, value in defaults.items():
        if key not in chosen:
            lines.append(f'{key} = "{value}"\n' if isinstance(value, str) else f"{key} = {value}\n")
    return "".join(lines) + given


class Server:
    """One life of the server at a time, over one configuration."""

    def __init__(self, binary, directory, text, environment=None, wrapper=()):
        self.binary = pathlib.Path(binary)
        self.config = pathlib.Path(directory) / "sluicegate.toml"
        self.config.write_text(text, encoding="utf-8")
        self._environment = environment
        self._wrapper = [str(word) for word in wrapper]
        self._lines = []
        self._changed = threading.Condition()
        self.process = None
        self.ports = {}

    def start(self):
        """Starts it and waits until it says `ready`."""
        self._lines = []
        self.process = subprocess.Popen(
            [*self._wrapper, str(self.binary), "serve", "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self._environment,
        )
        threading.Thread(
            target=self._collect, args=(self.process, self._lines), daemon=True
        ).start()
        with self._changed:
            self._changed.wait_for(
                lambda: "ready" in self._lines or self.process.poll() is not None, PATIENCE_SECONDS
            )
            if "ready" not in self._lines:
                raise RuntimeError("the server did not start:\n" + self.log())
            words = [line.split() for line in self._lines if line.startswith("listening ")]
        self.ports = {word[1]: int(word[2].rsplit(":", 1)[1]) for word in words}
        return self

    @property
    def port(self):
        """Where it takes mail."""
        return self.ports["smtp"]

    def _collect(self, process, lines):
        for line in process.stderr:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        process.wait()
        with self._changed:
            self._changed.notify_all()

    def log(self):
        """What it said in this life."""
        return "\n".join(self._lines[-60:])

    def said(self, text):
        """Has it said that?"""
        return any(text in line for line in self._lines)

    def memory(self):
        """Resident octets."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) << 10
        return 0

    def descriptors(self):
        """Open descriptors."""
        return len(list(pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def kill(self):
        """As a crash of the process would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; it must end with status 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("the server did not stop on SIGTERM:\n" + self.log()) from None
        if status != 0:
            raise RuntimeError(f"the server ended with {status}:\n" + self.log())

    def end(self):
        """Whatever it takes."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def command(self, *words):
        """Another command of the same program with the same configuration: status and standard output."""
        done = subprocess.run(
            [str(self.binary), *map(str, words), "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            env=self._environment,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
