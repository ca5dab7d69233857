"""Next servers that no program of good faith is: endless, garbled, too early, broken off. Each message ends delivered,
deferred or bounced, as the last whole reply says; what is deferred arrives, once, at a server that behaves."""

import socket
import struct
import threading

import aiohop
import harness
from mailharness import AWKWARD, DOMAIN, letter
from relaying import FAR, RelayCase, route

DELIVERED, DEFERRED, BOUNCED = "delivered", "deferred", "bounced"
PART_BYTES = 100_000


class Peer:
    """One connection of a rogue."""

    def __init__(self, connection):
        connection.settimeout(harness.DEADLINE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.lines = connection, connection.makefile("rb")

    def say(self, *lines):
        """Lines, each in a segment of its own."""
        for line in lines:
            self.socket.sendall(line + b"\r\n")

    def until(self, *verbs, replies=b"250 ok"):
        """Answers commands until the first of these, and not that."""
        while line := self.lines.readline():
            if line.upper().startswith(verbs):
                return
            self.say(replies)

    def to_data(self):
        """Greets, and grants DATA."""
        self.say(b"220 rogue")
        self.until(b"DATA")
        self.say(b"354 go on")

    def body(self):
        """Reads the message to its end."""
        while self.lines.readline() not in (b".\r\n", b""):
            pass

    def reset(self):
        """RST, whatever is on its way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.lines.close()
        self.socket.close()


def endless_banner(peer):
    while True:
        peer.say(b"220-welcome, and")


def banner_without_end_of_line(peer):
    while True:
        peer.socket.sendall(b"220 welcome ")


def endless_hello(peer):
    peer.say(b"220 rogue")
    peer.lines.readline()
    while True:
        peer.say(b"250-ANOTHER")


def garbage(peer):
    peer.say(b"220 rogue")
    peer.until(b"MAIL")
    peer.say(b"\x00\xff of course")
    peer.until(b"QUIT")


def wrong_code(peer):
    peer.say(b"220 rogue")
    peer.until(b"MAIL")
    peer.say(b"354 go on")
    peer.until(b"QUIT")


def all_at_once(peer):
    """Every reply before there was a command."""
    replies = [b"220 rogue", b"250 ok", b"250 ok", b"250 ok", b"354 go on", b"250 taken", b"221 bye", b""]
    peer.socket.sendall(b"\r\n".join(replies))
    peer.until(b"QUIT")


def octet_by_octet(peer):
    def say(line):
        for octet in line + b"\r\n":
            peer.socket.sendall(bytes([octet]))

    say(b"220-rogue")
    say(b"220 rogue")
    for line in iter(peer.lines.readline, b""):
        if line.startswith(b"DATA"):
            say(b"354 go on")
            peer.body()
        say(b"250-ok")
        say(b"250 ok")


def reset_amid_the_message(peer):
    peer.to_data()
    peer.lines.read(PART_BYTES)
    peer.reset()


def refusal_amid_the_message(peer):
    peer.to_data()
    peer.lines.read(PART_BYTES)
    peer.say(b"552 5.3.4 that is enough")
    peer.socket.shutdown(socket.SHUT_WR)
    peer.body()


def refusal_amid_the_message_and_gone(peer):
    """What is not read makes RST of the end: the client's sending fails while it has not read the refusal."""
    peer.to_data()
    peer.lines.read(PART_BYTES)
    peer.say(b"552 5.3.4 that is enough")


def closed_before_the_answer(peer):
    peer.to_data()
    peer.body()


def half_an_answer(peer):
    peer.to_data()
    peer.body()
    peer.socket.sendall(b"250 2.0.0 o")


def nonsense_for_an_answer(peer):
    peer.to_data()
    peer.body()
    peer.say(b"200000 ok")
    peer.until(b"QUIT")


def reset_after_the_answer(peer):
    peer.to_data()
    peer.body()
    peer.say(b"250 2.0.0 taken")
    peer.lines.readline()
    peer.reset()


def injected_behind_starttls(peer):
    peer.say(b"220 rogue")
    peer.lines.readline()
    peer.say(b"250-rogue", b"250 STARTTLS")
    peer.lines.readline()
    peer.socket.sendall(b"220 go on\r\n250-rogue\r\n250 8BITMIME\r\n")
    peer.until(b"QUIT")


ROGUES = {
    endless_banner: (DEFERRED, "does not end"),
    banner_without_end_of_line: (DEFERRED, "4."),
    endless_hello: (DEFERRED, "does not end"),
    garbage: (DEFERRED, "no reply of SMTP"),
    wrong_code: (DEFERRED, "does not fit"),
    all_at_once: (DEFERRED, "nothing was asked"),
    octet_by_octet: (DELIVERED, ""),
    reset_amid_the_message: (DEFERRED, "4.4.2"),
    refusal_amid_the_message: (BOUNCED, "552 5.3.4 that is enough"),
    refusal_amid_the_message_and_gone: (BOUNCED, "552 5.3.4 that is enough"),
    closed_before_the_answer: (DEFERRED, "4.4.2"),
    half_an_answer: (DEFERRED, "4.4.2"),
    nonsense_for_an_answer: (DEFERRED, "no reply of SMTP"),
    reset_after_the_answer: (DELIVERED, ""),
    injected_behind_starttls: (DEFERRED, "4."),
}


class Rogue:
    """A listener, each of whose connections goes through a script."""

    def __init__(self, script):
        self.script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection:
                self.script(Peer(connection))
        except (OSError, ValueError):
            pass  # the client has gone

    def stop(self):
        """No new connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Rogues(RelayCase):
    def test_every_rogue(self):
        rogues = {script.__name__.replace("_", "-"): Rogue(script) for script in ROGUES}
        for rogue in rogues.values():
            self.addCleanup(rogue.stop)
        own = self.edge(*(route(f"*@{name}.{FAR}", f"relay:127.0.0.1:{it.port}") for name, it in rogues.items()))
        message = letter(AWKWARD + (b"x" * 900 + b"\r\n") * 1500, subject=self.tag)
        for name in rogues:
            self.send(own, message, [self.address(domain=f"{name}.{FAR}")], sender=self.address(name, DOMAIN))
        waiting = own.all_tried()
        for name, rogue in rogues.items():
            fate, said = ROGUES[rogue.script]
            with self.subTest(name):
                sender = self.address(name, DOMAIN)
                reason, reports = waiting.get(sender), self.files(own, sender)
                self.assertEqual(DEFERRED if reason else BOUNCED if reports else DELIVERED, fate, reason)
                if reports:
                    [(_, _, reason)] = self.report(own, sender=sender).status.values()
                self.assertIn(said, reason or "")
        hop = aiohop.Hop()
        self.addCleanup(hop.stop)
        own.reroute(route(f"*@{FAR}", f"relay:127.0.0.1:{hop.port}"), *(
            route(f"*@{name}.{FAR}", f"relay:127.0.0.1:{hop.port}") for name in rogues
        ))
        own.retry()
        own.settled()
        self.assertEqual(sorted(one[0] for one in hop.taken), sorted(waiting))
        for one in hop.taken:
            self.assertTrue(one[2].endswith(message), one[:2])
