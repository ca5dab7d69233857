"""Who does not mean it: broken, old, endless and slow handshakes, on every way into TLS.

Each must end – by an alert or a reply, and by closing – within a deadline, leave nothing behind, and be no
burden to anybody else. What needs the keys of a session is in the tests beside the code.
"""

import random
import socket
import ssl
import threading
import time

from harness import eventually
from secure import RawCase, context

# The server's own deadline for a handshake is 30 s; the rest is for slow machines.
DEADLINE = 30 + 30
SLOW_STEP = 0.5
HALF_OPEN = 200
WAYS = ("ftps", "smtps", "ftp", "smtp", "submission")
HELLO_1_3 = ssl.TLSVersion.TLSv1_3
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ALERT = 21
PROTOCOL_VERSION, DECODE_ERROR, RECORD_OVERFLOW, UNEXPECTED_MESSAGE = 70, 50, 22, 10


def client_hello(version=None):
    """The first flight of Python's ssl, as octets."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if version is not None:
        made.minimum_version = made.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        made.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def record(kind, body, version=0x0303):
    """One TLS record in clear."""
    return bytes([kind]) + version.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def old_hello(version):
    """A ClientHello that knows nothing newer than `version`: without the extension that would say so."""
    ciphers = bytes.fromhex("c00ac009c013c014002f0035")
    body = version.to_bytes(2, "big") + bytes(range(32)) + b"\0" + len(ciphers).to_bytes(2, "big") + ciphers + b"\1\0"
    return record(22, b"\1" + len(body).to_bytes(3, "big") + body, 0x0301)


def with_early_data(hello):
    """The same ClientHello announcing 0-RTT data (RFC 8446 §4.2.10), which its records are put behind."""
    body = bytearray(hello[9:])  # behind the headers of record and message
    at = 34
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extra = bytes.fromhex("002a0000")
    size = int.from_bytes(body[at : at + 2], "big") + len(extra)
    body[at : at + 2] = size.to_bytes(2, "big")
    body[at + 2 : at + 2] = extra
    return record(22, b"\1" + len(body).to_bytes(3, "big") + bytes(body), 0x0301)


class Slow:
    """Somebody who sends his ClientHello an octet at a time, or nothing at all, until he is sent away."""

    def __init__(self, connection, octets):
        self.connection, self.octets, self.took = connection, octets, None
        connection.settimeout(SLOW_STEP)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        begin = time.monotonic()
        for octet in self.octets + bytes(10_000):
            try:
                if self.octets:
                    self.connection.sendall(bytes([octet]))
                if self.connection.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.took = time.monotonic() - begin
        self.connection.close()


class Hostile(RawCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # They take their time: so they begin before everybody else, who must not notice, and are looked
        # at in the end.
        hello = client_hello()
        cls.slow = [Slow(cls.open(cls.server, way), octets) for way in WAYS for octets in (hello, b"")]
        cls.idle = [cls.open(cls.server, WAYS[number % len(WAYS)]) for number in range(HALF_OPEN)]
        for number, connection in enumerate(cls.idle):
            connection.sendall(hello[: number % len(hello)])
            cls.addClassCleanup(connection.close)

    def opened(self, way):
        """A connection on which the server waits for a ClientHello."""
        connection = self.open(self.server, way)
        self.addCleanup(connection.close)
        return connection

    @classmethod
    def open(cls, server, way):
        connection = cls.reach(server, way)
        if way in ("ftps", "smtps"):
            return connection
        cls.greet(connection, way)
        connection.sendall(b"AUTH TLS\r\n" if way == "ftp" else b"STARTTLS\r\n")
        yes = cls.reply(connection)
        if yes[:3] not in (b"234", b"220"):
            raise AssertionError(f"{way}: {yes!r}")
        return connection

    @staticmethod
    def alert_in(said):
        """The description of the last alert in clear, or None."""
        found = None
        while len(said) >= 5:
            size = int.from_bytes(said[3:5], "big")
            if said[0] == ALERT and size == 2:
                found = said[6]
            said = said[5 + size :]
        return found

    def sent(self, connection, octets):
        """Sends as much as the server takes."""
        try:
            connection.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def still_well(self):
        """Everybody else is served, and all that was opened is given back."""
        for way in WAYS:
            with self.opened(way) as plain:
                safe = context(self.server.ca).wrap_socket(plain, server_hostname="localhost")
                # SMTP greets again nobody behind STARTTLS, FTP neither: so something is asked.
                safe.sendall(b"NOOP\r\n")
                self.assertRegex(safe.recv(3), b"^[25]")
                safe.close()

    def test_http_to_a_tls_port(self):
        for way in WAYS:
            connection = self.opened(way)
            self.sent(connection, HTTP)
            said = self.rest(connection)
            # Never a word of the protocol; an alert if anything.
            self.assertTrue(said == b"" or said[0] == ALERT, f"{way}: {said!r}")
        self.still_well()

    def test_tls_to_a_plain_port(self):
        """What comes is no command: refused in the protocol's own words, and then it ends."""
        for way in ("ftp", "smtp", "submission"):
            connection = socket.create_connection(("127.0.0.1", self.server.port(way)), 30)
            self.addCleanup(connection.close)
            self.sent(connection, client_hello())
            self.over(connection)
            said = self.rest(connection)
            self.assertIn(said[:3], (b"220", b"554"), way)  # 554: he spoke before he was greeted
            for line in said.split(b"\r\n")[1:-1]:
                self.assertRegex(line, rb"^[45]\d\d[ -]", way)
        self.still_well()

    def test_the_handshake_ends_at_any_octet(self):
        hello = client_hello()
        for way in WAYS:
            for size in sorted({0, 1, 4, 5, 6, 9, 43, len(hello) // 2, len(hello) - 1}):
                connection = self.opened(way)
                self.sent(connection, hello[:size])
                self.over(connection)
                said = self.rest(connection)
                self.assertTrue(said == b"" or said[0] == ALERT, f"{way} {size}: {said!r}")
        self.still_well()

    def test_the_client_goes_after_its_hello(self):
        for version in (ssl.TLSVersion.TLSv1_2, HELLO_1_3):
            for way in WAYS:
                connection = self.opened(way)
                self.sent(connection, client_hello(version))
                self.over(connection)
                self.assertEqual(self.rest(connection)[:1], b"\x16", way)
        self.still_well()

    def test_garbage(self):
        chance = random.Random(7)
        for number in range(60):
            connection = self.opened(WAYS[number % len(WAYS)])
            self.sent(connection, chance.randbytes(chance.randint(1, 3000)))
            self.over(connection)
            said = self.rest(connection)
            self.assertTrue(said == b"" or said[0] == ALERT, said[:100])
        self.still_well()

    def test_a_damaged_hello(self):
        chance, hello = random.Random(8), client_hello()
        for number in range(60):
            damaged = bytearray(hello)
            for _ in range(chance.randint(1, 8)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            connection = self.opened(WAYS[number % len(WAYS)])
            self.sent(connection, bytes(damaged))
            self.over(connection)
            said = self.rest(connection)
            self.assertTrue(said == b"" or said[0] in (ALERT, 22), said[:100])
        self.still_well()

    def test_versions_of_the_last_century(self):
        """SSL 3.0, TLS 1.0 and 1.1: told so, and closed."""
        for way in WAYS:
            for version in (0x0300, 0x0301, 0x0302):
                connection = self.opened(way)
                self.sent(connection, old_hello(version))
                self.assertEqual(self.alert_in(self.rest(connection)), PROTOCOL_VERSION, f"{way} {version:x}")
        connection = self.opened("ftps")
        self.sent(connection, bytes.fromhex("802e0100020015000000100700c0030080010080") + bytes(40))  # SSL 2.0
        said = self.rest(connection)
        self.assertTrue(said == b"" or said[0] == ALERT)

    def test_records_that_are_too_long(self):
        """RFC 8446 §5.2: more than 2^14 + 256 octets, RFC 5246: 2^14 + 2048."""
        for way in WAYS:
            for size in (0x4801, 0xFFFF):
                connection = self.opened(way)
                self.sent(connection, bytes([22, 3, 1]) + size.to_bytes(2, "big") + bytes(size))
                alert = self.alert_in(self.rest(connection))
                self.assertIn(alert, (RECORD_OVERFLOW, DECODE_ERROR, UNEXPECTED_MESSAGE, None), way)
        self.still_well()

    def endless(self, way, octets, lead=b"", limit=64 << 20):
        """Sends the same again and again until the server has had enough; how much it took."""
        connection = self.opened(way)
        sent = 0
        try:
            connection.sendall(lead)
            while sent < limit:
                connection.sendall(octets)
                sent += len(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(sent, limit, f"{way}: it takes {octets[:10]!r} for ever")
        connection.close()
        return sent

    def test_endless(self):
        """Warnings, empty records, records of the middlebox's kind, a hello that never ends, early data."""
        hello = client_hello(HELLO_1_3)
        long = b"\1\xff\xff\xff" + bytes(16380)
        for way in ("ftps", "smtps", "ftp"):
            self.endless(way, record(ALERT, b"\1\x5a") * 1000)
            self.endless(way, record(22, b"") * 1000)
            self.endless(way, record(20, b"\1") * 1000)
            self.endless(way, record(22, bytes(16384)), lead=record(22, long))
            self.endless(way, record(22, b"\0\0\0\0") * 1000)
            self.endless(way, record(23, bytes(1000)) * 10, lead=with_early_data(hello))
            self.endless(way, record(20, b"\1") * 1000, lead=hello)
        self.still_well()

    def test_who_is_slow_is_sent_away(self):
        """By the deadline of the server, however busily he says next to nothing."""
        for slow in self.slow:
            slow.thread.join(DEADLINE)
            self.assertIsNotNone(slow.took, "still there")
            self.assertLess(slow.took, DEADLINE)
        for connection in self.idle:
            connection.settimeout(DEADLINE)
            said = self.rest(connection)
            self.assertTrue(said == b"" or said[0] == ALERT, said)
            connection.close()
        self.still_well()

    def test_nothing_is_left_behind(self):
        """A thousand broken handshakes later there are no more descriptors than before, and hardly more memory."""
        hello = client_hello()
        self.still_well()  # and everything that is made once has been made
        held, resident = self.server.descriptors(), self.server.resident_kib()
        for number in range(1000):
            connection = self.opened(("ftps", "smtps", "ftp")[number % 3])
            self.sent(connection, (hello, hello[: len(hello) // 2], HTTP, b"")[number % 4])
            connection.close()
        eventually(lambda: self.server.descriptors() <= held, "the descriptors are given back", 60)
        grown = self.server.resident_kib() - resident
        self.assertLess(grown, 16 << 10, "KiB more")
        self.still_well()
