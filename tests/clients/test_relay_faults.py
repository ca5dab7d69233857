"""Next servers with faults: `smtp-sink` with each of its options, and a few that are worse.

Every message ends delivered, deferred or bounced, as RFC 5321 says; what was deferred arrives when the server is
well again; nothing is lost, and nothing delivered twice.
"""

import os
import pathlib
import pwd
import subprocess

import harness
import postfix
from mailharness import AWKWARD, DOMAIN, letter
from relaying import FAR, RelayCase, route

DELIVERED, DEFERRED, BOUNCED = "delivered", "deferred", "bounced"
# What smtp-sink says when it is told to fail.
SOFT, HARD = "450 4.3.0 Error: command failed", "500 5.3.0 Error: command failed"
# Options of smtp-sink: what becomes of a message, and what is said of it.
SINKS = {
    # A command is refused for good (-f), for now (-r); the connection ends instead of a reply (-q), or after 421 (-Q).
    "-f connect": (BOUNCED, HARD),
    "-r connect": (DEFERRED, SOFT),
    "-q connect": (DEFERRED, "4.4.2"),
    "-Q connect": (DEFERRED, "421"),
    "-f ehlo": (DELIVERED, ""),
    "-r ehlo": (DEFERRED, SOFT),
    "-q ehlo": (DEFERRED, "4.4.2"),
    "-Q ehlo": (DEFERRED, "421"),
    "-f mail": (BOUNCED, HARD),
    "-r mail": (DEFERRED, SOFT),
    "-q mail": (DEFERRED, "4.4.2"),
    "-Q mail": (DEFERRED, "421"),
    "-f rcpt": (BOUNCED, HARD),
    "-r rcpt": (DEFERRED, SOFT),
    "-q rcpt": (DEFERRED, "4.4.2"),
    "-Q rcpt": (DEFERRED, "421"),
    "-f data": (BOUNCED, HARD),
    "-r data": (DEFERRED, SOFT),
    "-q data": (DEFERRED, "4.4.2"),
    "-Q data": (DEFERRED, "421"),
    "-f .": (BOUNCED, HARD),
    "-r .": (DEFERRED, SOFT),
    "-q .": (DEFERRED, "4.4.2"),
    "-Q .": (DEFERRED, "421"),
    "-f rset,quit": (DELIVERED, ""),
    "-q rset,quit": (DELIVERED, ""),
    # Other words for no.
    "-B 553_5.1.8_who_are_you -f mail": (BOUNCED, "553 5.1.8 who are you"),
    "-b 452_4.5.3_too_many -r rcpt": (DEFERRED, "452 4.5.3 too many"),
    "-B 599_what -f data": (BOUNCED, "599 what"),
    # 550 while it does not read what it granted.
    "-A 0": (BOUNCED, "550"),
    "-A 1": (BOUNCED, "550"),
    # Less than others offer, and slower.
    "-e": (DELIVERED, ""),
    "-P": (DELIVERED, ""),
    "-p": (DELIVERED, ""),
    "-E": (DELIVERED, ""),
    "-a -C -F": (DELIVERED, ""),
    "-w 1": (DELIVERED, ""),
    "-m 1": (DELIVERED, ""),
    "-8": (DELIVERED, ""),
    "-L": (DELIVERED, ""),
}


class Sink:
    """A running smtp-sink that keeps what it takes, one message a file."""

    def __init__(self, programs, folder, options, port):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        words = [word.replace("_", " ") for word in options.split()]
        if os.geteuid() == 0:
            os.chown(self.folder, pwd.getpwnam("nobody").pw_uid, -1)
            words += ["-u", "nobody"]
        self.port = port
        self._log = open(self.folder.with_suffix(".log"), "ab")
        self.process = subprocess.Popen(
            [programs.commands / "smtp-sink", "-d", f"{self.folder}/m.", *words, f"127.0.0.1:{port}", "64"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=programs.environment,
        )

    def listens(self):
        """Says whether it does; without a connection, which would be one of those it counts."""
        with open("/proc/net/tcp") as table:
            return any(f" 0100007F:{self.port:04X} 00000000:0000 0A " in line for line in table)

    def taken(self):
        """The messages."""
        return [path.read_bytes() for path in self.folder.iterdir()]

    def log(self):
        """What it said."""
        return self.folder.with_suffix(".log").read_text()

    def stop(self):
        """Ends it, once or again."""
        self.process.kill()
        self.process.wait()
        self._log.close()


class Sinks(RelayCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = postfix.programs()
        super().setUpClass()
        cls.sinks = {}
        for number, options in enumerate(SINKS):
            cls.sinks[options] = cls.sink(f"s{number}", options, cls.free_port())
        for sink in cls.sinks.values():
            harness.eventually(sink.listens, f"smtp-sink listens: {sink.log()}")
        cls.own = cls.edge(*(
            route(f"*@{sink.folder.name}.{FAR}", f"{'lmtp' if options == '-L' else 'relay'}:127.0.0.1:{sink.port}")
            for options, sink in cls.sinks.items()
        ))

    @classmethod
    def sink(cls, name, options, port):
        sink = Sink(cls.programs, cls.place / name, options, port)
        cls.addClassCleanup(sink.stop)
        return sink

    def names(self, sink):
        """The sender and the recipient of a message to a sink."""
        return self.address(sink.folder.name, DOMAIN), self.address(domain=f"{sink.folder.name}.{FAR}")

    def test_every_fault(self):
        message = letter(AWKWARD + b"line of text\r\n" * 20_000, subject=self.tag)
        for sink in self.sinks.values():
            sender, to = self.names(sink)
            self.send(self.own, message, [to], sender=sender)
        waiting = self.own.all_tried()
        for options, (fate, said) in SINKS.items():
            with self.subTest(options):
                sender, to = self.names(self.sinks[options])
                reason = waiting.pop(sender, None)
                reports = self.files(self.own, sender)
                found = DEFERRED if reason else BOUNCED if reports else DELIVERED
                self.assertEqual(found, fate, reason)
                if reports:
                    [(action, _, reason)] = self.report(self.own, sender=sender).status.values()
                    self.assertEqual((action, len(reports)), ("failed", 1))
                self.assertIn(said, reason or "")
                if fate == DELIVERED:
                    self.whole(self.sinks[options], message)
        self.assertEqual(waiting, {})
        self.get_well(message)

    def get_well(self, message):
        """Where a message is deferred, a server without faults takes the place of the one there was."""
        wells = []
        for options, (fate, _) in SINKS.items():
            if fate == DEFERRED:
                sick = self.sinks[options]
                sick.stop()
                wells.append(self.sink(f"well-{sick.folder.name}", "", sick.port))
        for well in wells:
            harness.eventually(well.listens, f"smtp-sink listens: {well.log()}")
        self.own.retry()
        self.own.settled()
        for well in wells:
            self.whole(well, message)

    def whole(self, sink, message):
        """Once, octet for octet; what smtp-sink keeps has bare newlines, and a head of its own."""
        [content] = sink.taken()
        self.assertTrue(content.rstrip(b"\n").endswith(message.replace(b"\r\n", b"\n").rstrip(b"\n")), content[:1000])
