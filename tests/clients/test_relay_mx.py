"""Mail by MX, from the client to the server that the DNS names: NSD with zones of our own, aiosmtpd on port 25 of
addresses of the loopback network. What cannot be delivered comes back, what may be later waits."""

import random
import socket

import aiohop
import harness
import nsd
from mailharness import AWKWARD, DOMAIN, letter
from relaying import RelayCase, route

# {here} and {there} take mail; nobody listens at {dead}.
ZONES = {
    "world.test": """\
order      IN MX 10 dead
order      IN MX 20 here
order      IN MX 30 there
better     IN MX 5 there
better     IN MX 10 here
many       IN MX 10 both
both       IN A {dead}
both       IN A {here}
here       IN A {here}
there      IN A {there}
dead       IN A {dead}
plain      IN A {there}
alias      IN CNAME better
null       IN MX 0 .
loop       IN MX 10 edge.test.
last       IN MX 10 dead
last       IN MX 20 edge.test.
last       IN MX 30 here
nowhere    IN MX 10 gone
gone-mx    IN TXT "no addresses"
lame       IN MX 10 mx.broken.test.
""",
    "broken.test": None,
    "secure.test": "@ IN MX 10 mx\nmx IN A {here}\nwrong IN MX 10 other\nother IN A {here}\n",
}
NEVER = {
    "null.world.test": "5.1.10",
    "loop.world.test": "5.4.6",
    "none.world.test": "5.1.2",
    "gone-mx.world.test": "5.1.2",
    "nowhere.world.test": "5.4.4",
}
LATER = {
    "lame.world.test": "4.4.3",
    "x.broken.test": "4.4.3",
    "elsewhere.test": "4.4.3",
    "dead.world.test": "4.4.1",
    "last.world.test": "4.4.1",
}


def addresses(count):
    """So many of the loopback network on whose port 25 nobody listens; for the time being they are held."""
    chance, held = random.Random(), []
    while len(held) < count:
        address = f"127.{chance.randint(1, 254)}.{chance.randint(1, 254)}.{chance.randint(1, 254)}"
        listener = socket.socket()
        try:
            listener.bind((address, 25))
        except PermissionError as error:
            harness.lacking(f"port 25 is for root: {error}")
        except OSError:
            continue
        held.append((address, listener))
    for _, listener in held:
        listener.close()
    return [address for address, _ in held]


class Mx(RelayCase):
    @classmethod
    def setUpClass(cls):
        program = nsd.program()
        super().setUpClass()
        here, there, dead = addresses(3)
        pair = cls.authority.issue("mx", ("DNS:mx.secure.test",))
        cls.hops = {"here": aiohop.Hop(pair, (here, 25)), "there": aiohop.Hop(None, (there, 25))}
        for hop in cls.hops.values():
            cls.addClassCleanup(hop.stop)
        names = {"here": here, "there": there, "dead": dead}
        cls.zones = {zone: lines and lines.format(**names) for zone, lines in ZONES.items()}
        cls.program, cls.names = program, nsd.Nsd(program, cls.room("nsd"), cls.zones)
        cls.addClassCleanup(cls.names.stop)
        cls.own = cls.edge(*cls.routes(), **cls.asking(cls.names.port))

    @staticmethod
    def routes():
        must = [route(f"*@{name}", "mx", 'tls = "must"') for name in ("secure.test", "wrong.secure.test")]
        return *must, route("*", "mx")

    @classmethod
    def asking(cls, port, seconds=10):
        """Who may relay, and who is asked for names, with this patience."""
        smtp = f'relay_from = ["127.0.0.1"]\nresolvers = ["127.0.0.1:{port}"]\nresolver_seconds = {seconds}\n'
        return {"smtp": smtp, "ca": cls.authority.ca}

    def taken(self, name, address):
        """Waits until a hop has taken it, once and as it was sent."""
        hop = self.hops[name]

        def having():
            return [one for one in hop.taken if address in one[1]]

        harness.eventually(having, f"{name} has it\n{self.own.log()[-3000:]}")
        [one] = having()
        self.assertTrue(one[2].endswith(self.message()))
        return one

    def message(self):
        return letter(AWKWARD, subject=self.tag)

    def test_who_gets_it(self):
        wanted = {
            "order.world.test": "here",
            "better.world.test": "there",
            "many.world.test": "here",
            "plain.world.test": "there",
            "alias.world.test": "there",
        }
        everybody = {name: self.address(domain=name) for name in wanted}
        # In one transaction: each domain gets its own copy.
        self.send(self.own, self.message(), list(everybody.values()))
        for name, to in everybody.items():
            with self.subTest(name):
                _, recipients, *_ = self.taken(wanted[name], to)
                self.assertEqual(recipients, [to])
        self.own.settled()

    def test_what_comes_back(self):
        everybody = {self.address(domain=name): status for name, status in NEVER.items()}
        for to in everybody:
            self.send(self.own, self.message(), [to], sender=self.address(to.rpartition("@")[2], DOMAIN))
        for to, status in everybody.items():
            with self.subTest(to):
                report = self.report(self.own, sender=self.address(to.rpartition("@")[2], DOMAIN))
                self.assertEqual({to: ("failed", status)}, {to: it[:2] for to, it in report.status.items()})
                self.assertIn(to, report.text)
        self.own.settled()

    def test_what_waits(self):
        everybody = {self.address(domain=name): status for name, status in LATER.items()}
        self.send(self.own, self.message(), list(everybody))
        for to, status in everybody.items():
            with self.subTest(to):
                targets = {}

                def tried():
                    [entry] = self.own.queue("list", "--sender", self.sender)
                    for one in self.own.queue("show", entry["id"])["targets"]:
                        targets[one["address"]] = one
                    return targets[to]["reason"]

                harness.eventually(tried, f"{to} was tried\n{self.own.log()[-3000:]}")
                self.assertEqual(targets[to]["state"], "deferred")
                self.assertTrue(targets[to]["reason"].startswith(status), targets[to])
        self.assertEqual(self.files(self.own, self.sender), [])
        self.own.queue("delete", "--sender", self.sender)

    def test_the_certificate_is_for_the_host_of_the_record(self):
        good, bad = self.address(domain="secure.test"), self.address(domain="wrong.secure.test")
        self.send(self.own, self.message(), [good])
        self.assertEqual(self.taken("here", good)[4], "TLSv1.3")
        self.send(self.own, self.message(), [bad])
        self.assertIn("certificate", self.own.deferred(bad))
        self.own.queue("delete", "--recipient", bad)

    def test_no_resolver_is_no_answer(self):
        """What waits for one outlives the server, and goes when there is one."""
        free = nsd.free_port()
        self.addCleanup(free.close)
        port = free.number
        own = self.edge(*self.routes(), **self.asking(port, 3))
        to = self.address(domain="plain.world.test")
        self.send(own, self.message(), [to])
        self.assertTrue(own.deferred(to).startswith("4.4.3"))
        own.end()
        names = nsd.Nsd(self.program, self.room("nsd-2"), self.zones, port)
        self.addCleanup(names.stop)
        own.start()
        own.retry()
        self.taken("there", to)
        own.settled()
