"""Clients that send mail and remember exactly what was promised to them.

Every message has a number, in its `X-Load` line, and can be made again from seed and number. The ledger
knows of each what became of it: `acked` (250), `refused` (4yz or 5yz: must never appear anywhere) or
`open` (the connection went away before the answer: may appear, but only whole).
"""

import base64
import dataclasses
import hashlib
import itertools
import json
import random
import re
import socket
import threading
import time

TIMEOUT_SECONDS = 60
LOCAL = "box.test"
DISCARDED = "void.test"
FAR = "far.test"  # goes on to another server
BROKEN_OFF = "broken off by the client"
NUMBER = re.compile(rb"^X-Load: (\d+)\r?$", re.MULTILINE)


@dataclasses.dataclass
class Message:
    """One message and its fate."""

    number: int
    size: int
    digest: str
    recipients: list
    state: str = "open"
    answer: str = ""
    entries: int = 0  # of the disk's log, right after the 250
    epoch: int = 0  # which life of the server
    begun: float = 0.0  # by the monotonic clock, before anything of it was sent
    settled: float = 0.0  # when the answer was read

    @property
    def mailboxes(self):
        """Those whose mailbox must get it."""
        return [one for one in self.recipients if one.endswith("@" + LOCAL)]

    @property
    def remote(self):
        """Those that another server must get it for."""
        return [one for one in self.recipients if one.endswith("@" + FAR)]


def octets(seed, number, size):
    """The message itself: about `size` octets, lines with leading dots and some of 8 bits."""
    chance = random.Random(f"{seed}/{number}")
    head = (
        f"From: <sender@{LOCAL}>\r\nSubject: load {number}\r\nX-Load: {number}\r\n\r\n".encode()
    )
    wanted = max(0, size - len(head))
    body = base64.encodebytes(chance.randbytes(wanted * 3 // 4 + 3)).replace(b"\n", b"\r\n")[:wanted]
    body = body[: body.rfind(b"\n") + 1]
    tail = [b"..\r\n", b".\r\n", b".x\r\n", b"\r\n", "Grüße\r\n".encode(), b"last\r\n"]
    return head + body + b"".join(chance.sample(tail, 3))


def stuffed(message):
    """As DATA carries it, with the end."""
    if message.startswith(b"."):
        message = b"." + message
    return message.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class Ledger:
    """What was sent and what was answered."""

    def __init__(self, seed):
        self.seed = seed
        self.messages = {}
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self._numbers = itertools.count(1)

    def new(self, size, recipients, epoch):
        """A message that is about to be sent. Itself and its octets."""
        with self.lock:
            number = next(self._numbers)
        content = octets(self.seed, number, size)
        digest = hashlib.sha256(content).hexdigest()
        message = Message(number, len(content), digest, recipients, epoch=epoch)
        message.begun = time.monotonic()
        with self.lock:
            self.messages[number] = message
        return message, content

    def adopt(self, body, recipients):
        """Like `new`, with a body that many share below a header of their own. Itself and that header."""
        with self.lock:
            number = next(self._numbers)
        head = f"Subject: large\r\nX-Load: {number}\r\n\r\n".encode()
        digest = hashlib.sha256(head)
        digest.update(body)
        message = Message(number, len(head) + len(body), digest.hexdigest(), recipients)
        with self.lock:
            self.messages[number] = message
        return message, head

    def settle(self, message, state, answer, entries=0):
        """The answer has come."""
        with self.changed:
            message.state, message.answer, message.entries = state, answer, entries
            message.settled = time.monotonic()
            self.changed.notify_all()

    def of(self, state):
        """All messages in that state."""
        with self.lock:
            return [one for one in self.messages.values() if one.state == state]

    def wait_acked(self, count, seconds=120):
        """Until so many are acknowledged."""
        with self.changed:
            if not self.changed.wait_for(
                lambda: sum(m.state == "acked" for m in self.messages.values()) >= count, seconds
            ):
                raise RuntimeError(f"fewer than {count} messages were taken within {seconds} s")

    def save(self, path):
        """Writes it down."""
        with self.lock, open(path, "w", encoding="utf-8") as file:
            json.dump([dataclasses.asdict(one) for one in self.messages.values()], file)


class Gone(Exception):
    """The connection ended."""


class Session:
    """One SMTP connection."""

    def __init__(self, port, timeout=TIMEOUT_SECONDS):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.input = self.socket.makefile("rb")
            self.expect(self.reply(), 220)
            self.expect(self.ask("EHLO load.test"), 250)
        except OSError as error:
            raise Gone(str(error)) from error

    def close(self):
        """Hangs up."""
        self.input.close()
        self.socket.close()

    def reply(self):
        """The next reply: its code and its text."""
        lines = []
        while True:
            try:
                line = self.input.readline()
            except OSError as error:
                raise Gone(str(error)) from error
            if not line.endswith(b"\n"):
                raise Gone("closed")
            lines.append(line.decode("utf-8", "replace").rstrip())
            if line[3:4] != b"-":
                return int(line[:3]), "\n".join(lines)

    def send(self, data):
        """Octets."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def ask(self, command):
        """A command and its reply."""
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def expect(self, reply, code):
        """Anything else is the end of this connection."""
        if reply[0] != code:
            raise Gone(reply[1])

    def envelope(self, recipients):
        """MAIL and RCPT in turn; the first reply that is not 250, or None."""
        for command in (f"MAIL FROM:<sender@{LOCAL}>", *(f"RCPT TO:<{one}>" for one in recipients)):
            reply = self.ask(command)
            if reply[0] != 250:
                return reply
        return None

    def transfer(self, style, recipients, content):
        """A whole message; the reply that decides about it."""
        if style == "pipelined":
            return self._pipelined(recipients, content)
        refusal = self.envelope(recipients)
        if refusal is not None:
            return refusal
        if style == "bdat":
            half = len(content) // 2
            self.send(b"BDAT %d\r\n" % half + content[:half])
            self.send(b"BDAT %d LAST\r\n" % (len(content) - half) + content[half:])
            first = self.reply()
            last = self.reply()
            return last if first[0] == 250 else first
        reply = self.ask("DATA")
        if reply[0] != 354:
            return reply
        self.send(stuffed(content))
        return self.reply()

    def _pipelined(self, recipients, content):
        commands = [f"MAIL FROM:<sender@{LOCAL}>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA"]
        self.send("".join(command + "\r\n" for command in commands).encode())
        replies = [self.reply() for _ in commands]
        if replies[-1][0] == 354:
            self.send(stuffed(content))
            last = self.reply()
        else:
            last = replies[-1]
        refusals = [reply for reply in replies[:-1] if reply[0] != 250]
        return refusals[0] if refusals else last


@dataclasses.dataclass
class Mix:
    """What is sent: sizes in octets, shares between 0 and 1."""

    small: tuple = (300, 12_000)
    large: tuple = (1_100_000, 2_200_000)
    large_share: float = 0.015
    discard_share: float = 0.1
    far_share: float = 0.0  # for another server; a few of those it refuses
    two_share: float = 0.15
    users: int = 6
    pause_seconds: float = 0.0


class Load:
    """Sessions that send until they are told to stop; they come back when the server does."""

    def __init__(self, ledger, sessions, mix, entries=lambda: 0):
        self.ledger = ledger
        self.mix = mix
        self.port = None  # set before `start` and after a restart; None: wait
        self.epoch = 0
        self._entries = entries
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(sessions)
        ]
        self.problems = []

    def start(self):
        """Begins."""
        for thread in self._threads:
            thread.start()
        return self

    def signal_end(self):
        """Ends soon."""
        self._stop.set()

    def stop(self):
        """Ends; waits for messages under way."""
        self.signal_end()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS * 2)
            if thread.is_alive():
                raise RuntimeError("a client hangs")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.signal_end()

    def _run(self, index):
        chance = random.Random(f"{self.ledger.seed}/session {index}")
        while not self._stop.is_set():
            if self.port is None:
                time.sleep(0.005)
                continue
            try:
                session = Session(self.port)
            except Gone:
                time.sleep(0.01)
                continue
            try:
                for _ in range(chance.randint(1, 60)):
                    if self._stop.is_set():
                        break
                    self._one(session, chance)
                else:
                    session.ask("QUIT")
            except Gone:
                pass
            except Exception as error:  # noqa: BLE001 – shown by the caller
                self.problems.append(repr(error))
            finally:
                session.close()

    def _one(self, session, chance):
        mix = self.mix
        if chance.random() < mix.large_share:
            size = chance.randint(*mix.large)
        else:
            size = chance.randint(*mix.small)
        recipients = [f"u{chance.randrange(mix.users)}@{LOCAL}"]
        if chance.random() < mix.discard_share:
            recipients = [f"nobody@{DISCARDED}"]
        elif mix.far_share and chance.random() < mix.far_share:
            recipients = self._far(chance)
        elif chance.random() < mix.two_share:
            recipients += [f"second@{LOCAL}"]
        if chance.random() < 0.03:
            self._break_off(session, chance)
        style = chance.choice(["plain", "plain", "pipelined", "bdat"])
        message, content = self.ledger.new(size, recipients, self.epoch)
        code, text = session.transfer(style, recipients, content)
        if code == 250:
            self.ledger.settle(message, "acked", text, self._entries())
        else:
            self.ledger.settle(message, "refused", text)
            if code == 421:
                raise Gone(text)
            session.ask("RSET")
            time.sleep(0.01)
        if mix.pause_seconds:
            time.sleep(chance.random() * 2 * mix.pause_seconds)

    def _far(self, chance):
        """Recipients elsewhere: one, two of one server, one here and one there, one that is refused there."""
        recipients = [f"f{chance.randrange(self.mix.users)}@{FAR}"]
        kind = chance.random()
        if kind < 0.1:
            recipients += [f"second@{FAR}"]
        elif kind < 0.2:
            recipients += [f"second@{LOCAL}"]
        elif kind < 0.3:
            recipients += [f"refused@{FAR}"]
        elif kind < 0.35:
            recipients = [f"refused@{FAR}"]
        return recipients

    def _break_off(self, session, chance):
        """A message that ends in the middle of its data: it must not appear anywhere."""
        message, content = self.ledger.new(9000, [f"u0@{LOCAL}"], self.epoch)
        self.ledger.settle(message, "refused", BROKEN_OFF)
        if session.envelope(message.recipients) is None and session.ask("DATA")[0] == 354:
            session.send(stuffed(content)[: chance.randrange(8000)])
        raise Gone(BROKEN_OFF)
