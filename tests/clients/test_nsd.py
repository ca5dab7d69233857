"""NSD: a real name server with every kind of zone, asked by `sluicegate mx`."""

import pathlib
import re
import subprocess
import tempfile
import unittest

import harness
import nsd
from harness import DEADLINE_SECONDS

MANY = 400
OURS = "edge.test"
ZONES = {
    "world.test": f"""\
@          IN MX 20 mx3.other.test.
@          IN MX 10 mx1
@          IN MX 10 mx2
mx1        IN A 192.0.2.1
mx1        IN A 192.0.2.2
mx1        IN AAAA 2001:db8::1
mx2        IN AAAA 2001:db8::2
plain      IN A 192.0.2.10
text       IN TXT "no mail here"
null       IN MX 0 .
null       IN A 192.0.2.11
both       IN MX 0 .
both       IN MX 5 mx1
alias      IN CNAME world.test.
far        IN CNAME plain.other.test.
ring       IN CNAME gnir
gnir       IN CNAME ring
dead       IN CNAME gone.world.test.
old        IN MX 5 alias-host
alias-host IN CNAME mx2
nowhere    IN MX 5 gone
nowhere    IN A 192.0.2.12
numeric    IN MX 5 192.0.2.13.
*.wild     IN MX 5 mx2
loop       IN MX 5 {OURS}.
back       IN MX 10 mx1
back       IN MX 20 home
back       IN MX 20 mx2
home       IN A 127.0.0.1
lame       IN MX 5 host.broken.test.
half       IN MX 5 host.broken.test.
half       IN MX 10 mx2
odd        IN MX 5 odd\\032name
xn--bcher-kva IN A 192.0.2.14
"""
    + "".join(f"many IN MX {n} h{n}.a-long-name-that-fills-messages\n" for n in range(MANY))
    + "".join(f"h{n}.a-long-name-that-fills-messages IN A 192.0.2.20\n" for n in range(MANY)),
    "other.test": "mx3 IN A 192.0.2.3\nplain IN A 192.0.2.15\n",
    # Its file is not there: SERVFAIL.
    "broken.test": None,
}


class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program = nsd.program()
        cls.folder = tempfile.TemporaryDirectory(prefix="sluicegate-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.nsd = nsd.Nsd(program, cls.folder.name, ZONES)
        cls.addClassCleanup(cls.nsd.stop)
        cls.config = pathlib.Path(cls.folder.name) / "sluicegate.toml"
        cls.configure([cls.nsd.port])

    @classmethod
    def configure(cls, ports):
        """Resolvers on these ports, in this order; a server that the world can reach."""
        resolvers = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
        cls.config.write_text(
            f'[server]\nhostname = "{OURS}"\n[smtp]\nlisten = ["192.0.2.250:0"]\n'
            f"resolvers = [{resolvers}]\nresolver_seconds = 5\n"
        )

    def mx(self, domain, expect=0):
        """What `sluicegate mx` says, line by line, the domain itself left out."""
        done = subprocess.run(
            [harness.BINARY, "mx", "--config", self.config, domain],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        first, *lines = done.stdout.splitlines()
        self.assertEqual(first, domain)
        return [re.sub(r" +", " ", line.strip()) for line in lines]

    def test_preferences_and_equals(self):
        one = "10 mx1.world.test 2001:db8::1 192.0.2.1 192.0.2.2"
        other = "10 mx2.world.test 2001:db8::2"
        last = "20 mx3.other.test 192.0.2.3"
        orders = set()
        for _ in range(64):
            hosts = [self.turned(line) for line in self.mx("World.Test")]
            self.assertEqual(hosts[2], last)
            self.assertEqual(sorted(hosts[:2]), sorted([one, other]))
            orders.add(hosts[0])
            if len(orders) == 2:
                return
        self.fail(f"equals always in one order: {orders}")

    def turned(self, line):
        """NSD turns the order of records; the order of families is ours."""
        return line.replace("2001:db8::1 192.0.2.2 192.0.2.1", "2001:db8::1 192.0.2.1 192.0.2.2")

    def test_without_mx(self):
        self.assertEqual(self.mx("plain.world.test"), ["0 plain.world.test 192.0.2.10"])
        self.assertEqual(self.mx("bücher.world.test"), ["0 xn--bcher-kva.world.test 192.0.2.14"])

    def test_there_is_none(self):
        said = self.mx("gone.world.test", expect=1)
        self.assertEqual(said, ["never 550 5.1.2 gone.world.test: no such domain"])
        said = self.mx("text.world.test", expect=1)
        self.assertEqual(said, ["never 550 5.1.2 text.world.test: the domain has neither MX nor addresses"])
        said = self.mx("dead.world.test", expect=1)
        self.assertEqual(said, ["never 550 5.1.2 dead.world.test: no such domain"])

    def test_null_mx(self):
        said = self.mx("null.world.test", expect=1)
        self.assertEqual(said, ["never 556 5.1.10 null.world.test: the domain takes no mail (null MX)"])
        self.assertEqual(self.mx("both.world.test")[-1], "note a null MX beside others")

    def test_aliases(self):
        self.assertEqual(self.mx("alias.world.test")[-1], "note alias.world.test is an alias")
        self.assertEqual(
            self.mx("far.world.test"),
            ["0 far.world.test 192.0.2.15", "note far.world.test is an alias"],
        )
        self.assertEqual(
            self.mx("old.world.test"),
            ["5 alias-host.world.test 2001:db8::2", "note alias-host.world.test is an alias"],
        )
        said = self.mx("ring.world.test", expect=1)
        self.assertEqual(said, ["later 451 4.4.3 ring.world.test: MX: the answer makes no sense"])

    def test_odd_mx(self):
        said = self.mx("nowhere.world.test", expect=1)
        self.assertEqual(said, ["never 550 5.4.4 nowhere.world.test: no MX of the domain has an address"])
        self.assertEqual(
            self.mx("numeric.world.test"),
            ["5 192.0.2.13 192.0.2.13", "note MX 192.0.2.13 is an address, not a name"],
        )
        said = self.mx("odd.world.test", expect=1)
        self.assertEqual(said, ["never 550 5.4.4 odd.world.test: no MX of the domain has a usable name"])
        self.assertEqual(self.mx("x.y.wild.world.test"), ["5 mx2.world.test 2001:db8::2"])

    def test_ourselves(self):
        for domain in ("loop.world.test", "home.world.test", "[127.0.0.1]"):
            said = self.mx(domain, expect=1)
            loop = f"never 554 5.4.6 {domain}: mail for the domain would come back to this server"
            self.assertEqual(said, [loop])
        hosts = [self.turned(line) for line in self.mx("back.world.test")]
        self.assertEqual(
            hosts,
            ["10 mx1.world.test 2001:db8::1 192.0.2.1 192.0.2.2", "note MX home.world.test is this server"],
        )

    def test_more_than_a_datagram_holds(self):
        lines = self.mx("many.world.test")
        self.assertEqual(len(lines), 17)
        self.assertTrue(lines[0].startswith("0 h0.a-long-name"), lines[0])
        self.assertEqual(lines[-1], f"note {MANY} MX are more than are tried")

    def test_failures_are_not_for_ever(self):
        said = self.mx("broken.test", expect=1)
        self.assertEqual(said, ["later 451 4.4.3 broken.test: MX: the resolver failed"])
        said = self.mx("elsewhere.test", expect=1)
        self.assertEqual(said, ["later 451 4.4.3 elsewhere.test: MX: the resolver refused"])
        said = self.mx("lame.world.test", expect=1)
        self.assertEqual(
            said, ["later 451 4.4.3 lame.world.test: addresses of its MX: the resolver failed"]
        )
        self.assertEqual(
            self.mx("half.world.test"),
            ["10 mx2.world.test 2001:db8::2", "note MX host.broken.test: the resolver failed"],
        )

    def test_the_first_resolver_is_dead(self):
        dead = nsd.free_port()
        self.addCleanup(dead.close)
        self.addCleanup(self.configure, [self.nsd.port])
        self.configure([dead.number, self.nsd.port])
        self.assertEqual(self.mx("plain.world.test"), ["0 plain.world.test 192.0.2.10"])
