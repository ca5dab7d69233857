"""The server that mail is relayed to, what arrived there, and which arrivals may be there twice.

RFC 5321 §6.1: who gets no answer to the end of a message sends it again. So a message may arrive twice where
the answer was lost – the sink dropped it, or whoever waited for it was killed before it was noted – and nowhere
else. The sink lives in the rig's own process, outside of every disk that fails.
"""

import dataclasses
import random
import re
import socketserver
import threading
import time

import load
import mailboxes

FAR = load.FAR
REFUSED = f"refused@{FAR}"
QUEUED = re.compile(r"queued as ([0-9A-Z]{13})")
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RETRIES = (
    "[relay]\nretry_first_seconds = 1\nretry_seconds = 1\nretry_seconds_max = 2\nidle_seconds = 1\n"
)


def route(port):
    """Everything for the far domain goes to the sink."""
    return (
        f'[[smtp.route]]\nrecipient = "*@{FAR}"\nto = "relay:127.0.0.1:{port}"\ntls = "none"\n'
        "max_connections = 8\nmax_messages_per_connection = 20\n"
    )


@dataclasses.dataclass
class Arrival:
    """One message that was whole, and the answer to it."""

    number: int
    recipients: list
    connected: float  # when its connection began, by the monotonic clock
    moment: float  # when it was whole
    entries: int  # of the disk's log, then
    dropped: bool  # it is not answered
    said: float = float("inf")  # when the answer was on its way


@dataclasses.dataclass
class Whims:
    """What a sink does beside taking mail, as shares between 0 and 1."""

    drop_share: float = 0.0  # it takes a message, and hangs up without a word
    defer_share: float = 0.0  # it says 451 the first time


class Handler(socketserver.StreamRequestHandler):
    """One session."""

    disable_nagle_algorithm = True

    def handle(self):
        self.connected = time.monotonic()
        self.recipients, self.chunks = [], b""
        try:
            self._session(self.server.sink)
        except OSError:
            pass  # whoever was killed says no goodbye

    def _say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def _session(self, sink):
        self._say("220 sink.test")
        while (line := self.rfile.readline()).endswith(b"\n"):
            verb = line[:4].upper()
            if verb == b"EHLO":
                chunking = "250-CHUNKING\r\n" if sink.is_odd_connection() else ""
                self._say(f"250-sink.test\r\n{chunking}250-PIPELINING\r\n250 8BITMIME")
            elif verb in (b"MAIL", b"RSET"):
                self.recipients, self.chunks = [], b""
                self._say("250 2.0.0 ok")
            elif verb == b"RCPT":
                address = line.split(b"<", 1)[1].split(b">", 1)[0].decode()
                if address == REFUSED:
                    self._say("550 5.1.1 nobody has that name here")
                else:
                    self.recipients.append(address)
                    self._say("250 2.1.5 ok")
            elif verb in (b"DATA", b"BDAT") and not self.recipients:
                if verb == b"BDAT":
                    self.rfile.read(int(line.split()[1]))
                self._say("503 5.5.1 for nobody")
            elif verb == b"DATA":
                self._say("354 go on")
                content = self._dotted()
                if content is None or not self._whole(sink, content):
                    return
            elif verb == b"BDAT":
                wanted = int(line.split()[1])
                chunk = self.rfile.read(wanted)
                if len(chunk) < wanted:
                    return
                self.chunks += chunk
                if not line.upper().split()[2:]:
                    self._say("250 2.0.0 more")
                elif not self._whole(sink, self.chunks):
                    return
            elif verb == b"QUIT":
                self._say("221 2.0.0 bye")
                return
            else:
                self._say("500 5.5.1 what?")

    def _dotted(self):
        """What DATA carries; None when it was cut off."""
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line.endswith(b"\r\n"):
                return None
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _whole(self, sink, content):
        """The end of a message; false when that is the end of the connection too."""
        answer, arrival = sink.take(content, self.recipients, self.connected)
        self.recipients, self.chunks = [], b""
        if arrival is not None and arrival.dropped:
            return False
        self._say(answer)
        if arrival is not None:
            arrival.said = time.monotonic()
        return True


class Service(socketserver.ThreadingTCPServer):
    """Threads that do not outlive the program."""

    daemon_threads = True
    request_queue_size = 128


class Sink:
    """Takes mail, and remembers all of it."""

    def __init__(self, ledger, whims=None, entries=lambda: 0):
        self.ledger = ledger
        self.arrivals = []
        self.damage = []
        self._whims = whims or Whims()
        self._entries = entries
        self._lock = threading.Lock()
        self._deferred = set()
        self._dropped = set()
        self._connections = 0
        self._service = Service(("127.0.0.1", 0), Handler)
        self._service.sink = self
        self.port = self._service.server_address[1]

    def __enter__(self):
        threading.Thread(target=self._service.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._service.shutdown()
        self._service.server_close()

    def is_odd_connection(self):
        """True for every other one."""
        with self._lock:
            self._connections += 1
            return self._connections % 2 == 1

    def forget(self):
        """As if nothing had arrived."""
        with self._lock:
            self.arrivals.clear()
            self.damage.clear()

    def take(self, content, recipients, connected):
        """A whole message: what is said to it, and what it is if it is kept."""
        moment, entries = time.monotonic(), self._entries()
        try:
            body = mailboxes.original(content, mailboxes.ADDED_AT_RECEIPT)
            number = mailboxes.verify(self.ledger, body, "the sink").number
        except mailboxes.Damaged as damage:
            self.damage.append(f"at the sink: {damage}")
            return "250 2.0.0 taken, such as it is", None
        chance = random.Random(f"{self.ledger.seed}/sink/{number}")
        drops = chance.random() < self._whims.drop_share
        defers = chance.random() < self._whims.defer_share
        with self._lock:
            if defers and number not in self._deferred:
                self._deferred.add(number)
                return "451 4.3.0 not now", None
            dropped = drops and number not in self._dropped
            self._dropped.add(number)
            arrival = Arrival(number, recipients, connected, moment, entries, dropped)
            self.arrivals.append(arrival)
        return "250 2.0.0 taken", arrival

    def arrived(self, entries=None):
        """(number, address) → arrivals in their order; with `entries`: when the log had at most so many."""
        found = {}
        with self._lock:
            for one in self.arrivals:
                if entries is None or one.entries <= entries:
                    for address in one.recipients:
                        found.setdefault((one.number, address), []).append(one)
        return found

    def faults(self):
        """Everything that arrived and should not have."""
        wrong = list(self.damage)
        for number, address in self.arrived():
            message = self.ledger.messages[number]
            if address not in message.recipients:
                wrong.append(f"at the sink: message {number} is not for {address}")
            if message.state == "refused":
                wrong.append(f"at the sink: message {number} had been refused: {message.answer}")
        return wrong


class Notes:
    """Which answers are noted for certain. A note goes with the next write of its shard's log, and so with any
    message of that shard that was begun after the answer and acknowledged in the same life of the server."""

    def __init__(self, ledger, ends):
        self._ledger = ledger
        self._ends = ends  # (first, last) moment of each kill or stop
        self._acked = {}
        for message in ledger.of("acked"):
            self._acked.setdefault(shard_of(message), []).append(message)

    def noted(self, arrival, entries=None, before=float("inf")):
        """Was that durable before this moment? With `entries`: when the disk's log had so many."""
        shard = shard_of(self._ledger.messages[arrival.number])
        # Of the life that its connection was of.
        ends = (last for _, last in self._ends if last >= arrival.connected)
        end = min(before, *ends, float("inf"))
        return shard is not None and any(
            one.begun > arrival.said
            and one.settled <= end
            and (entries is None or one.entries <= entries)
            for one in self._acked.get(shard, ())
        )

    def doubled(self, arrived):
        """How many arrivals followed another, and those of them that no lost answer explains."""
        again, wrong = 0, []
        for (number, address), copies in sorted(arrived.items(), key=lambda item: item[0]):
            for first, second in zip(copies, copies[1:]):
                again += 1
                ended = any(
                    first.connected <= last and begin <= second.moment for begin, last in self._ends
                )
                if not first.dropped and not (ended and not self.noted(first, before=second.moment)):
                    after = second.moment - first.moment
                    wrong.append(f"message {number} came to {address} again after {after:.1f} s")
        return again, wrong


def shard_of(message):
    """Whose log it is in, as its name says (`store::spool::QueueId`); None if it was not told."""
    found = QUEUED.search(message.answer)
    if found is None:
        return None
    value = 0
    for digit in found[1]:
        value = value << 5 | DIGITS.index(digit)
    return value >> 12 & 1023
