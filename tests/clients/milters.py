"""Milters: private OpenDKIM and rspamd (from Debian, unpacked by `loadtest/unpack-milters`, or installed),
and one of our own that does whatever a test wants.

Nothing is started as a service; the real ones listen on Unix sockets in a folder of the test.
"""

import os
import pathlib
import socket
import struct
import subprocess
import threading

import harness
from harness import DEADLINE_SECONDS, eventually

OFFER = struct.pack(">III", 6, 0x1FF, 0)


class Programs:
    """Where they are."""

    def __init__(self, peers=None):
        self.root = pathlib.Path(peers) / "milters" if peers else pathlib.Path("/")
        self.environment = dict(os.environ, LC_ALL="C")
        if peers:
            places = ("usr/lib", "usr/lib/x86_64-linux-gnu", "usr/lib/rspamd")
            self.environment["LD_LIBRARY_PATH"] = ":".join(str(self.root / place) for place in places)
            share = self.root / "usr/share/rspamd"
            for name, place in (("SHARE", ""), ("LUALIB", "lualib"), ("RULES", "rules"), ("PLUGINS", "plugins")):
                self.environment[f"{name}DIR"] = str(share / place)
            self.environment["LIBDIR"] = str(self.root / "usr/lib/rspamd")

    def missing(self, program):
        """Why it cannot be used, or None."""
        path = self.root / program
        return None if path.is_file() else f"{path} is not there (loadtest/unpack-milters DIR, --peers DIR)"


class Real:
    """A running one that listens on a Unix socket."""

    def __init__(self, programs, folder, name, arguments):
        self.path = folder / f"{name}.sock"
        self._log = open(folder / f"{name}.log", "wb")
        self.process = subprocess.Popen(
            arguments, stdout=self._log, stderr=self._log, env=programs.environment, cwd=folder
        )
        eventually(self._answers, f"{name} answers ({self._log.name})", DEADLINE_SECONDS)

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(pathlib.Path(self._log.name).read_text())
        with socket.socket(socket.AF_UNIX) as probe:
            return self.path.exists() and probe.connect_ex(str(self.path)) == 0

    def stop(self):
        """Ends it."""
        self.process.terminate()
        self.process.wait(DEADLINE_SECONDS)
        self._log.close()


def opendkim(programs, folder, name, lines):
    """OpenDKIM, configured by these lines."""
    config = folder / f"{name}.conf"
    config.write_text(
        f"Socket local:{folder}/{name}.sock\nSyslog no\nBackground no\nRequireSafeKeys no\nUMask 000\n" + lines
    )
    return Real(programs, folder, name, [programs.root / "usr/sbin/opendkim", "-f", "-x", config])


def rspamd(programs, folder):
    """rspamd with nothing but its core: it knows GTUBE, asks nobody, and adds a field to the rest."""
    (folder / "tld").write_text("test\n")
    config = folder / "rspamd.conf"
    config.write_text(
        f"""options {{
    pidfile = "{folder}/pid"; tempdir = "{folder}"; hs_cache_dir = "{folder}"; url_tld = "{folder}/tld";
    history_file = "{folder}/history"; control_socket = "{folder}/control.sock mode=0600"; filters = "";
    dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "info"; }}
worker "rspamd_proxy" {{
    bind_socket = "{folder}/rspamd.sock mode=0666"; milter = yes; timeout = 10s; count = 1;
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
actions {{ reject = 15; add_header = 6; }}
"""
    )
    # -i: it may be root here.
    return Real(programs, folder, "rspamd", [programs.root / "usr/bin/rspamd", "-f", "-i", "-c", config])


def packet(letter, *parts):
    """One packet."""
    data = letter.encode() + b"".join(parts)
    return struct.pack(">I", len(data)) + data


def field(letter, name, value, index=None):
    """A change of a header field."""
    number = b"" if index is None else struct.pack(">I", index)
    return packet(letter, number, name.encode() + b"\0" + value.encode() + b"\0")


CONTINUE = packet("c")


class Puppet:
    """A milter of our own. `answers` is what it sends for a command, by its letter (`E`: the end of the message):
    octets, or `hang`, or `close`; CONTINUE where there is none. It remembers what it was told."""

    def __init__(self, answers=None, agreed=OFFER):
        self.answers = answers or {}
        self.told = []
        self._agreed = agreed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, client.makefile("rb") as stream:
            try:
                while head := stream.read(4):
                    data = stream.read(struct.unpack(">I", head)[0])
                    letter, rest = chr(data[0]), data[1:]
                    self.told.append((letter, rest))
                    if letter in "DAQ":
                        continue
                    default = packet("O", self._agreed) if letter == "O" else CONTINUE
                    answer = self.answers.get(letter, default)
                    if answer == "close":
                        return
                    if answer == "hang":
                        stream.read()
                        return
                    client.sendall(answer)
            except (OSError, struct.error, IndexError):
                return

    def heard(self, letter):
        """What came with that command, each time."""
        return [data for one, data in self.told if one == letter]

    def stop(self):
        """Ends it and its connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._open:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
