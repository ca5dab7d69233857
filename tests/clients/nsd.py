"""A private NSD (NLnet Labs' name server, from Debian) with zones of our own, on a port of its own.

Its program is the one installed, or the one below a folder made by `loadtest/unpack-mail-peers`. Nothing is
started as a service, and it answers on loopback only.
"""

import os
import pathlib
import signal
import socket
import subprocess

import harness
from harness import DEADLINE_SECONDS, eventually

CONFIGURATION = """\
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    zonesdir: "{here}"
    database: ""
    pidfile: ""
    xfrdfile: "{here}/xfrd.state"
    xfrdir: "{here}"
    zonelistfile: "{here}/zone.list"
    server-count: 1
    hide-version: yes
    refuse-any: no
remote-control:
    control-enable: no
"""
ZONE = """\
zone:
    name: "{name}"
    zonefile: "{file}"
"""
HEAD = """\
$TTL 300
@ IN SOA ns.{name}. root.{name}. 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
"""


class Program:
    """Where it is."""

    def __init__(self, peers=None):
        root = pathlib.Path(peers or "/")
        self.path = root / "usr/sbin/nsd"
        self.environment = dict(os.environ, LC_ALL="C")
        if peers is not None:
            # Libraries that the machine lacks are there too.
            self.environment["LD_LIBRARY_PATH"] = str(root / "usr/lib/postfix")

    def missing(self):
        """Why it cannot be used, or None."""
        if self.path.is_file():
            return None
        return f"{self.path} is not there (loadtest/unpack-mail-peers DIR, --peers DIR)"


def free_port():
    """One that is free for UDP and TCP, and kept for TCP until it is closed."""
    while True:
        port = harness.Port()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                udp.bind(("127.0.0.1", port.number))
                return port
            except OSError:
                port.close()


def program():
    """NSD, or the reason to skip (or to fail)."""
    found = Program(harness.PEERS)
    harness.lacking(found.missing())
    return found


class Nsd:
    """A running one. `zones` is {name: lines behind SOA and NS}; None is a zone whose file is missing."""

    def __init__(self, program, folder, zones, port=None):
        here = pathlib.Path(folder)
        self._port = None if port else free_port()
        self.port = port or self._port.number
        text = CONFIGURATION.format(here=here, port=self.port)
        for name, lines in zones.items():
            text += ZONE.format(name=name, file=f"{name}.zone")
            if lines is not None:
                (here / f"{name}.zone").write_text(HEAD.format(name=name) + lines)
        (here / "nsd.conf").write_text(text)
        self._log = open(here / "nsd.log", "wb")
        self.process = subprocess.Popen(
            [program.path, "-d", "-c", here / "nsd.conf"],
            stdout=self._log,
            stderr=self._log,
            env=program.environment,
        )
        eventually(self._answers, f"NSD answers ({here / 'nsd.log'})")

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(pathlib.Path(self._log.name).read_text())
        # The root's SOA: refused, but that is an answer.
        question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            client.connect(("127.0.0.1", self.port))
            try:
                client.send(question)
                return client.recv(512)[:2] == question[:2]
            except OSError:
                return False

    def stop(self):
        """Ends it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_SECONDS)
        if self._port is not None:
            self._port.close()
        self._log.close()
