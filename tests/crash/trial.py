"""One trial of `faults`: a server, clients that send to it, and what is asked of both."""

import ftplib
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import load
import mailboxes
import onward
import servers

SESSIONS = 6
OTHERS = 8  # more than shards: some land on each
# At once, on a slow machine with other things to do; far from as long as a disk hangs.
OTHERS_SECONDS = 10.0
WAIT_SECONDS = 60
DELIVERED_WITHIN_SECONDS = 60
WHIMS = onward.Whims(drop_share=0.05, defer_share=0.05)


class Failed(Exception):
    """What a trial asked for did not hold."""


def expect(condition, what):
    """Fails unless it is true."""
    if not condition:
        raise Failed(what)


def fill(path, leave):
    """A file that takes all room but `leave` octets."""
    status = os.statvfs(path.parent)
    wanted = status.f_bavail * status.f_frsize - leave
    with open(path, "wb") as file:
        try:
            while wanted > 0:
                step = min(wanted, 1 << 20)
                file.write(bytes(step))
                file.flush()
                wanted -= step
            os.fsync(file.fileno())
        except OSError:
            # Full to the last block; the buffered rest would fail again when closed.
            os.ftruncate(file.fileno(), file.seek(0, os.SEEK_CUR) & ~4095)


def file_size_limit(octets):
    """Starts a program that may not make files longer, and is told so by an error, not by a signal."""
    shell = f"trap '' XFSZ; exec prlimit --fsize={octets}:unlimited \"$@\""
    return ["sh", "-c", shell, "sh"]


def memory_while(server, work):
    """Resident octets, some readings a second, while `work()` goes on."""
    readings, failures = [], []

    def run():
        try:
            work()
        except Exception as error:  # noqa: BLE001 – raised below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        readings.append(server.memory())
        thread.join(0.1)
    if failures:
        raise failures[0]
    return readings


class Trial:
    """A server whose spool or mailboxes may lie elsewhere, and sessions that send."""

    def __init__(
        self,
        options,
        directory,
        disk=None,
        *,
        spool=None,
        mail=None,
        smtp="",
        mix=None,
        wrapper=(),
        sessions=SESSIONS,
    ):
        self._disk = disk
        data = pathlib.Path(directory) / "data"
        (data / "ftp" / "pub").mkdir(parents=True)
        (data / "ftp" / "pub" / "file").write_text("here\n")
        self.mail = pathlib.Path(mail or data / "mail")
        self.mail.mkdir(parents=True, exist_ok=True)
        if spool is not None:
            pathlib.Path(spool).mkdir()
            smtp += f'spool = "{spool}"\n'
        self.directory = pathlib.Path(directory)
        self.ledger = load.Ledger(options.seed)
        self.sink = onward.Sink(self.ledger, WHIMS)
        self._ends = []
        text = servers.config(
            data,
            smtp=smtp,
            mail=f'root = "{self.mail}"\n',
            more='[ftp]\nlisten = ["127.0.0.1:0"]\nanonymous = "read"\n' + onward.RETRIES,
            routes=onward.route(self.sink.port),
        )
        self.server = servers.Server(
            servers.newest_binary(options.binary), directory, text, wrapper=wrapper
        )
        mix = mix or load.Mix(pause_seconds=0.003)
        self.clients = load.Load(self.ledger, sessions, mix)

    def __enter__(self):
        self.sink.__enter__()
        self.server.start()
        self.clients.start()
        self.clients.port = self.server.port
        return self

    def __exit__(self, *_):
        self.clients.signal_end()
        if self._disk is not None:
            # Nobody can be killed while he waits for a disk.
            self._disk.heal()
            self._disk.go_on()
        self.server.end()
        self.sink.__exit__()

    # ------------------------------------------------------------ waiting

    def wait_acked(self, more):
        """Until so many more are acknowledged."""
        self._wait(lambda: len(self.ledger.of("acked")), more, f"{more} more 250")

    def wait_arrived(self, more):
        """Until so many more are with the other server."""
        self._wait(lambda: len(self.sink.arrivals), more, f"{more} more relayed")

    def wait_refused(self, more, codes):
        """Until so many more are refused; all of them with one of these codes."""
        self._wait(lambda: len(self.told()), more, f"{more} more refusals")
        expect(self.only_codes(codes), f"refused otherwise: {self.refusals()}")

    def _wait(self, count, more, what):
        wanted = count() + more
        deadline = time.monotonic() + WAIT_SECONDS
        while count() < wanted:
            log = self.server.log()
            if time.monotonic() > deadline:
                raise Failed(f"not within {WAIT_SECONDS} s: {what}; {self.refusals()}; {log}")
            if self.server.process.poll() is not None:
                raise Failed(f"the server ended with {self.server.process.returncode}: {log}")
            time.sleep(0.02)

    # ------------------------------------------------------------ refusals

    def told(self):
        """What clients were told who did not hang up themselves."""
        return [one.answer for one in self.ledger.of("refused") if one.answer != load.BROKEN_OFF]

    def refusals(self):
        """What clients were told, each text once."""
        return sorted(set(self.told()))

    def refused_with(self, codes):
        """Was somebody told that?"""
        return any(text.startswith(tuple(codes)) for text in self.refusals())

    def only_codes(self, codes):
        """Was nobody told anything else?"""
        return all(text.startswith(tuple(codes)) for text in self.refusals())

    # ------------------------------------------------------------ others

    def connect(self):
        """A connection that says nothing."""
        return socket.create_connection(("127.0.0.1", self.server.port), WAIT_SECONDS)

    def others_go_on(self):
        """New connections, commands and a listing are answered at once, on every shard."""
        for _ in range(OTHERS):
            self._promptly("SMTP", self._noop)
        for _ in range(OTHERS // 2):
            self._promptly("FTP", self._listing)

    def _promptly(self, name, action):
        began = time.monotonic()
        try:
            action()
        except (OSError, load.Gone, ftplib.Error) as error:
            raise Failed(f"{name} did not go on: {error!r}") from error
        took = time.monotonic() - began
        expect(took <= OTHERS_SECONDS, f"{name} took {took:.1f} s")

    def _noop(self):
        session = load.Session(self.server.port, timeout=2 * OTHERS_SECONDS)
        expect(session.ask("NOOP")[0] == 250, "NOOP")
        expect(session.ask("QUIT")[0] == 221, "QUIT")
        session.close()

    def _listing(self):
        with ftplib.FTP(timeout=2 * OTHERS_SECONDS) as ftp:
            ftp.connect("127.0.0.1", self.server.ports["ftp"])
            ftp.login()
            expect([name.split("/")[-1] for name in ftp.nlst("/pub")] == ["file"], "NLST")

    def send_large(self, clients, size):
        """So many clients at once, each with one message of that size, most of them thrown away."""
        failures = []
        body = load.octets(self.ledger.seed, 0, size)
        on_the_wire = load.stuffed(body)

        def one(index):
            try:
                address = f"u0@{load.LOCAL}" if index % 20 == 0 else f"x@{load.DISCARDED}"
                session = load.Session(self.server.port, timeout=600)
                message, head = self.ledger.adopt(body, [address])
                expect(session.envelope([address]) is None, "the envelope was refused")
                expect(session.ask("DATA")[0] == 354, "DATA was refused")
                session.send(head)
                session.send(on_the_wire)
                code, text = session.reply()
                self.ledger.settle(message, "acked" if code == 250 else "refused", text)
                expect(code == 250, text)
                session.close()
            except Exception as error:  # noqa: BLE001 – raised below
                failures.append(error)

        threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
        expect(not failures, f"{len(failures)} failed: {failures[:2]}")

    # ------------------------------------------------------------ ends

    def limit_files(self, octets):
        """Changes the limit of `file_size_limit` while the server runs."""
        subprocess.run(
            ["prlimit", f"--pid={self.server.process.pid}", f"--fsize={octets}:unlimited"], check=True
        )

    def end_of_life(self):
        """The clients stop and the server ends – its disk may be broken, but it must."""
        self.clients.stop()
        began = time.monotonic()
        self.server.process.send_signal(signal.SIGTERM)
        try:
            self.server.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed("it does not end: " + self.server.log()) from None
        self._ends.append((began, time.monotonic()))

    def all_is_there(self):
        """Everything acknowledged, after a restart if the server has ended."""
        self.clients.stop()
        expect(not self.clients.problems, f"clients stumbled: {self.clients.problems[:3]}")
        if self.server.process.poll() is not None:
            self.server.start()
        deadline = time.monotonic() + DELIVERED_WITHIN_SECONDS
        while True:
            survey = mailboxes.Survey(self.ledger, self.mail)
            missing = mailboxes.lost(self.ledger, survey, arrived=self.sink.arrived())
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        told = [(one.number, one.size, address, one.answer) for one, address in missing[:3]]
        expect(not missing, f"{len(missing)} lost: {told}; {self.server.log()}")
        expect(not survey.damage, f"{len(survey.damage)} damaged: {survey.damage[:3]}")
        expect(not survey.duplicates(), f"delivered twice: {survey.duplicates()[:5]}")
        wrong = self.sink.faults()
        expect(not wrong, f"relayed, and not as it should be: {wrong[:3]}")
        again, wrong = onward.Notes(self.ledger, self._ends).doubled(self.sink.arrived())
        expect(not wrong, f"relayed twice though the answer was not lost: {wrong[:5]}")
        self.server.stop()
        export = mailboxes.Export(self.ledger, self.server, self.directory / "export")
        expect(not export.damage, f"{export.damage[:3]}")
        status, said = self.server.command("spool", "verify")
        expect(status == 0, f"spool verify ended with {status}: {said}")
        return f"{len(self.sink.arrivals)} relayed, {again} again, as the answer was lost"
