"""One message with every awkward property at once – long lines, eight bits, dots, SMTPUTF8, 1,000 recipients, 50 MB –
through two hops: it arrives octet for octet, by way of Postfix, of Exim and of a second sluicegate."""

import functools
import random
import socket

import exim
import postfix
from harness import DEADLINE_SECONDS
from mailharness import AWKWARD, EIGHT_BITS, letter
from relaying import FAR, RelayCase, route

OCTETS = 50_000_000
RECIPIENTS = 1000
LONG_LINE = 5000
EVERYBODY = "everybody"


@functools.lru_cache
def awkward():
    """The message. Its lines are of any octets but those that mail cannot carry, and many begin with dots."""
    chance = random.Random(50)
    octets = bytes(set(range(1, 256)) - set(b"\r\n"))
    block = bytearray()
    while len(block) < 1 << 20:
        line = bytes(chance.choices(octets, k=chance.choice((0, 1, 2, 3, 60, 78, 997, 998))))
        block += b"." * chance.choice((0, 0, 0, 1, 2)) + line[:996] + b"\r\n"
    body = AWKWARD + EIGHT_BITS + "ü".encode() * (LONG_LINE // 2) + b"\r\n" + bytes(block) * (OCTETS // len(block))
    rest = OCTETS - len(body)
    body += b"x" * (rest % 70) + b"\r\n" + (b"." * 68 + b"\r\n") * (rest // 70)
    return letter(body, subject="Grüße " + "ß" * 400)


def give(port, sender, recipients, message):
    """The message as chunks (RFC 3030), because DATA has no lines so long; all commands in a row."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as connection:
        replies = connection.makefile("rb")
        said = [replies.readline()]
        commands = ["EHLO client.test", f"MAIL FROM:<{sender}> BODY=8BITMIME SMTPUTF8 SIZE={len(message)}"]
        commands += [f"RCPT TO:<{recipient}>" for recipient in recipients] + [f"BDAT {len(message)} LAST", ""]
        connection.sendall("\r\n".join(commands).encode())
        try:
            connection.sendall(message + b"QUIT\r\n")
        except OSError:
            pass  # what it said to that follows
        said += [line for line in replies if line[3:4] == b" "]
    wrong = [line for line in said[:-1] if not line.startswith((b"220", b"250"))]
    if wrong or len(said) != len(recipients) + 5:
        raise AssertionError(f"{len(said)} replies, among them {wrong[:3]}, the last {said[-1:]}")


class Awkward(postfix.PostfixCase, RelayCase):
    stored = True
    # One mailbox for all: it gets one copy.
    boxes = f'catch_all = "{EVERYBODY}@{FAR}"\n'
    size = "max_message_bytes = 104857600\n"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store.add_user(EVERYBODY, "x", "none")

    def through(self, port, *trace):
        """Sends it to an edge before a hop, and looks for it in the store."""
        own = self.edge(route("*", f"relay:127.0.0.1:{port}"), smtp=self.size + 'relay_from = ["127.0.0.1"]\n')
        recipients = [f"jürgen{number}.{self.tag}@{FAR}" for number in range(RECIPIENTS)]
        give(own.port, self.sender, recipients, awkward())
        self.arrived(awkward(), EVERYBODY + "@", (*trace, b"by edge.test"))
        own.settled()
        for path in self.files(self.store, EVERYBODY + "@"):
            path.unlink()

    def test_postfix(self):
        more = "smtp_line_length_limit = 0\ndefault_destination_recipient_limit = 1000\n"
        hop = self.postfix(self.folder(), self.store.port, more)
        self.through(hop.port, b"from relay.test", b"by relay.test (Postfix)")

    def test_exim(self):
        hop = self.started(exim.Exim(exim.program(), self.room("exim"), self.store.port))
        self.through(hop.port, b"from exim.test", b"by exim.test")

    def test_sluicegate(self):
        hop = self.edge(route(f"*@{FAR}", f"relay:127.0.0.1:{self.store.port}"), smtp=self.size, hostname="second.test")
        self.through(hop.port, b"from second.test", b"by second.test")
