"""Network measurements of tuning/measure: each in namespaces of its own, so that no setting of the machine changes.

`Path` is a path with a round trip, a rate and losses, made of two TUN devices and a process that keeps packets
back: kernels without netem have no other.
"""

import array
import collections
import contextlib
import ctypes
import errno
import fcntl
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
TCP_CONGESTION, SO_ATTACH_REUSEPORT_CBPF = 13, 51
MIB = 1 << 20


def own_namespace(with_sys=False):
    """From here on this process has a network of its own, with a loopback; and a /sys that shows it."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET | (CLONE_NEWNS if with_sys else 0)) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if with_sys:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True, timeout=10)
        subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True, timeout=10)
    ip("link", "set", "lo", "up")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, timeout=10, stdout=subprocess.DEVNULL)


def sysctl(name, value):
    """Of the namespace this process is in."""
    with open("/proc/sys/" + name.replace(".", "/"), "w", encoding="utf-8") as file:
        file.write(str(value))


@contextlib.contextmanager
def child(work):
    """Runs `work(connection)` in a process that ends with the block; its end of a pair of sockets."""
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        here.close()
        status = 1
        try:
            work(there)
            status = 0
        except BrokenPipeError:
            status = 0
        except Exception as error:  # it must not go on in the parent's code
            print(f"measure: {work.__name__}: {error!r}", file=sys.stderr)
        finally:
            os._exit(status)
    there.close()
    try:
        yield here
    finally:
        here.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def isolated(work, *arguments, seconds=120):
    """What `work` gives, from a process with a network of its own."""

    def run(connection):
        own_namespace()
        connection.sendall(repr(work(*arguments)).encode())

    with child(run) as connection:
        connection.settimeout(seconds)
        text = b""
        while part := connection.recv(65536):
            text += part
    if not text:
        raise RuntimeError(f"{work.__name__} gave nothing")
    return eval(text.decode())  # a literal of our own making


def tun(name, address, mtu):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    ip("address", "add", f"{address}/24", "dev", name)
    ip("link", "set", name, "mtu", str(mtu), "txqueuelen", "20000", "up")
    return device


class Way:
    """One direction: packets wait for half a round trip, behind one another at the rate, and some are lost."""

    def __init__(self, source, target, seconds, rate, loss, queue_bytes):
        self.source, self.target, self.seconds, self.rate, self.loss = source, target, seconds, rate, loss
        self.waiting, self.free_at, self.queue_bytes = collections.deque(), 0.0, queue_bytes
        self.chance = random.Random(7)

    def take(self, now):
        for _ in range(64):
            try:
                packet = os.read(self.source, 70000)
            except BlockingIOError:
                return
            if self.loss and self.chance.random() < self.loss:
                continue
            if self.rate:
                self.free_at = max(self.free_at, now)
                if (self.free_at - now) * self.rate > self.queue_bytes:
                    continue  # the bottleneck's queue is full
                self.free_at += len(packet) / self.rate
                self.waiting.append((self.free_at + self.seconds, packet))
            else:
                self.waiting.append((now + self.seconds, packet))

    def give(self, now):
        while self.waiting and self.waiting[0][0] <= now:
            try:
                os.write(self.target, self.waiting[0][1])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            self.waiting.popleft()


def forward(one, two, round_trip, rate, loss):
    queue = max(256 << 10, int(rate * round_trip)) if rate else 0
    ways = [Way(one, two, round_trip / 2, rate, loss, queue), Way(two, one, round_trip / 2, 0, 0, 0)]
    while True:
        now = time.monotonic()
        due = min((way.waiting[0][0] for way in ways if way.waiting), default=now + 0.5)
        select.select([one, two], [], [], max(0.0, min(due - now, 0.5)))
        now = time.monotonic()
        for way in ways:
            way.take(now)
            way.give(now)


def give_descriptor(connection, descriptor):
    connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])


def take_descriptor(connection):
    _, ancillary, _, _ = connection.recvmsg(1, 64)
    return array.array("i", ancillary[0][2])[0]


def over_a_path(send, receive, round_trip, rate=0, loss=0.0, mtu=1500, settings=()):
    """`send(socket)` in one namespace, `receive(socket)` in another, a path between them; what `send` gives."""

    def end(address, role):
        def run(connection):
            own_namespace()
            for name, value in settings:
                sysctl(name, value)
            give_descriptor(connection, tun("t0", address, mtu))
            connection.recv(1)  # the path is there
            if role is receive:
                listener = socket.create_server((address, 7000))
                connection.sendall(b"l")
                role(listener.accept()[0])
                connection.recv(1)
            else:
                peer = socket.create_connection(("10.9.0.2", 7000), timeout=30)
                connection.sendall(repr(role(peer)).encode())

        return run

    with child(end("10.9.0.1", send)) as sender, child(end("10.9.0.2", receive)) as receiver:
        sender.settimeout(90)
        receiver.settimeout(30)
        one, two = take_descriptor(sender), take_descriptor(receiver)

        def path(_):
            forward(one, two, round_trip, rate, loss)

        with child(path):
            os.close(one)
            os.close(two)
            receiver.sendall(b"g")
            receiver.recv(1)
            sender.sendall(b"g")
            answer = sender.recv(65536)
            if not answer:
                raise RuntimeError("the sender gave nothing")
            return eval(answer.decode())  # a literal of our own making


def drain(peer):
    room = bytearray(4 * MIB)
    while peer.recv_into(room):
        pass


def push_for(seconds, congestion="cubic"):
    """Sends as fast as it goes; octets acknowledged in a second, after one to get going."""

    def push(peer):
        peer.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, congestion.encode())
        peer.settimeout(0.25)
        block, marks = bytes(MIB), []
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            with contextlib.suppress(TimeoutError):
                peer.send(block)
            marks.append((time.monotonic(), struct.unpack_from("Q", info(peer), 120)[0]))
        late = [mark for mark in marks if mark[0] - begun > seconds / 3]
        return (late[-1][1] - late[0][1]) / (late[-1][0] - late[0][0])

    return push


def info(peer):
    """struct tcp_info (linux/tcp.h): window at 80, octets acknowledged at 120."""
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)


def window(peer):
    return struct.unpack_from("I", info(peer), 80)[0]


# ---------------------------------------------------------------- the measurements


def backlog(_asked):
    """8000 clients at once while the server is busy for half a second; then it accepts."""

    def burst(somaxconn):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 40000), hard))
        sysctl("net.core.somaxconn", somaxconn)
        sysctl("net.ipv4.tcp_max_syn_backlog", max(2048, somaxconn))
        sysctl("net.ipv4.ip_local_port_range", "10000 60000")
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen(65535)
        clients, begun = [], time.monotonic()
        for _ in range(8000):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            clients.append(client)
        time.sleep(max(0.0, 0.5 - (time.monotonic() - begun)))
        server.settimeout(10)
        for _ in clients:
            server.accept()[0].close()
        return overflows(), time.monotonic() - begun

    for somaxconn in (4096, 8192):
        turned_away, last = isolated(burst, somaxconn)
        yield f"somaxconn {somaxconn}: {turned_away} times a client found the queue full, all accepted after {last:.2f} s"


def overflows():
    """How often the queue of a listener of this namespace was full."""
    with open("/proc/self/net/netstat", encoding="utf-8") as file:
        names, values = file.readline().split(), file.readline().split()
    return int(values[names.index("ListenOverflows")])


def windows(_asked):
    """One download over a round trip of 100 ms, by the largest send and receive buffers."""
    for rmem, wmem in ((33554432, 4194304), (33554432, 67108864), (67108864, 67108864)):
        settings = [
            ("net.ipv4.tcp_rmem", f"4096 131072 {rmem}"),
            ("net.ipv4.tcp_wmem", f"4096 16384 {wmem}"),
        ]
        rate = over_a_path(push_for(9), drain, 0.1, mtu=65000, settings=settings)
        yield f"tcp_rmem {rmem >> 20} MiB, tcp_wmem {wmem >> 20} MiB: {rate * 8 / 1e9:.2f} Gbit/s"


def idle(_asked):
    """A session sends 2 MiB, pauses for a second, sends 2 MiB more: round trip 50 ms."""

    def twice(peer):
        peer.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, b"cubic")
        took = []
        for _ in range(2):
            begun = time.monotonic()
            peer.sendall(bytes(2 * MIB))
            peer.recv(1)
            took.append(time.monotonic() - begun)
            before = window(peer)
            time.sleep(1)
        return took, before

    def answer(peer):
        room, got = bytearray(MIB), 0
        while count := peer.recv_into(room):
            got += count
            if got % (2 * MIB) == 0:
                peer.sendall(b"x")

    for value in (1, 0):
        settings = [("net.ipv4.tcp_slow_start_after_idle", value)]
        took, _ = over_a_path(twice, answer, 0.05, settings=settings)
        yield f"tcp_slow_start_after_idle {value}: the first 2 MiB in {took[0]:.2f} s, after the pause {took[1]:.2f} s"


def congestion(_asked):
    """What each costs on the loopback interface without fq, and what each is worth where packets get lost."""
    for name in ("cubic", "bbr"):
        gigabytes, spent = isolated(loopback_cost, name)
        yield f"{name}: {spent / gigabytes * 1000:.0f} ms of CPU per GB on loopback (sendfile, both ends, no fq)"
    for name in ("cubic", "bbr"):
        rate = over_a_path(push_for(12, name), drain, 0.06, rate=100e6 / 8, loss=0.005)
        yield f"{name}: {rate * 8 / 1e6:.1f} Mbit/s over 100 Mbit/s, 60 ms, one packet in 200 lost (no fq)"


def loopback_cost(name):
    """Four connections for two seconds: gigabytes, and seconds of processor time of both ends."""
    with memory_file(64 * MIB) as file:
        server = socket.create_server(("127.0.0.1", 0))

        def sink(_):
            peers = [server.accept()[0] for _ in range(4)]
            room = bytearray(MIB)
            while peers:
                for peer in select.select(peers, [], [])[0]:
                    if not peer.recv_into(room, MIB, socket.MSG_TRUNC):
                        peers.remove(peer)

        with child(sink):
            peers = []
            for _ in range(4):
                peer = socket.create_connection(server.getsockname())
                peer.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, name.encode())
                peer.setblocking(False)
                peers.append(peer)
            pids = [os.getpid(), child_of(os.getpid())]
            sent, begun, before = 0, time.monotonic(), processor_time(pids)
            while time.monotonic() - begun < 2:
                for peer in select.select([], peers, [], 1)[1]:
                    with contextlib.suppress(BlockingIOError):
                        sent += os.sendfile(peer.fileno(), file.fileno(), 0, 256 << 10)
            return sent / 1e9, processor_time(pids) - before


def memory_file(size):
    file = os.fdopen(os.memfd_create("octets"), "r+b")
    file.write(bytes(size))
    file.flush()
    return file


def processor_time(pids):
    """Seconds of processor time these processes had."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            words = file.read().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rps(_asked):
    """Four bulk connections between two namespaces over veth, by who takes the packets; not a real card."""

    def run(cpus):
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")

        def far(connection):
            own_namespace(with_sys=True)
            connection.sendall(b"n")
            connection.recv(1)
            ip("address", "add", "10.8.0.2/24", "dev", "v1")
            ip("link", "set", "v1", "up")
            with open("/sys/class/net/v1/queues/rx-0/rps_cpus", "w", encoding="utf-8") as file:
                file.write(cpus)
            os.sched_setaffinity(0, {0})
            server = socket.create_server(("10.8.0.2", 7000))
            connection.sendall(b"l")
            peers, room = [server.accept()[0] for _ in range(4)], bytearray(MIB)
            while True:
                for peer in select.select(peers, [], [])[0]:
                    peer.recv_into(room)

        with child(far) as other:
            other.settimeout(20)
            other.recv(1)
            pid = child_of(os.getpid())
            ip("link", "set", "v1", "netns", str(pid))
            ip("address", "add", "10.8.0.1/24", "dev", "v0")
            ip("link", "set", "v0", "up")
            other.sendall(b"g")
            other.recv(1)
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            peers = [socket.create_connection(("10.8.0.2", 7000), timeout=10) for _ in range(4)]
            for peer in peers:
                peer.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, b"cubic")
                peer.setblocking(False)
            block, sent, begun = bytes(256 << 10), 0, time.monotonic()
            while time.monotonic() - begun < 2:
                for peer in select.select([], peers, [], 1)[1]:
                    sent += peer.send(block)
            return sent / (time.monotonic() - begun)

    for cpus, what in (("0", "off"), ("1", "the receiver's processor"), ("2", "the sender's"), ("3", "both")):
        yield f"rps_cpus {cpus} ({what}): {isolated(run, cpus) * 8 / 1e9:.1f} Gbit/s"


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return int(file.read().split()[-1])


def steering(_asked):
    """Whether a connection is accepted on the processor that took its packets: SO_REUSEPORT by hash, and by
    processor (SO_ATTACH_REUSEPORT_CBPF)."""

    def run(by_processor):
        cpus = sorted(os.sched_getaffinity(0))
        listeners = []
        for _ in cpus:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", listeners[0].getsockname()[1] if listeners else 0))
            listener.listen(1000)
            listener.setblocking(False)
            listeners.append(listener)
        if by_processor:
            # ld #cpu; mod #listeners; ret a
            code = [(0x20, 0, 0, 0xFFFFF000 + 36), (0x94, 0, 0, len(cpus)), (0x16, 0, 0, 0)]
            program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
            fprog = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program))
            listeners[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, fprog)
        clients = []
        for number in range(400):
            os.sched_setaffinity(0, {cpus[number % len(cpus)]})
            clients.append(socket.create_connection(listeners[0].getsockname()))
        local, by_listener = 0, []
        for listener, cpu in zip(listeners, cpus):
            count = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    peer, _ = listener.accept()
                    local += peer.getsockopt(socket.SOL_SOCKET, 49) == cpu  # SO_INCOMING_CPU
                    count += 1
            by_listener.append(count)
        return local, by_listener

    for by_processor in (False, True):
        local, counts = isolated(run, by_processor)
        how = "by processor" if by_processor else "by hash"
        yield f"{how}: {local} of 400 on the processor of their packets, {' and '.join(map(str, counts))} per listener"
