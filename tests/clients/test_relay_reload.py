"""What waits, and what is on its way, while the configuration changes (SIGHUP): nothing is lost, and nothing comes
twice."""

import signal
import threading

import aiohop
import harness
from mailharness import AWKWARD, letter
from relaying import FAR, RelayCase, route

WAITING = 40
RELOADS = 6


class Reload(RelayCase):
    def setUp(self):
        super().setUp()
        # A server that is there and says nothing but no, until it is stopped.
        self.away = self.hop()
        self.away.handler.replies = Always("451 4.3.0 not now")

    def hop(self):
        hop = aiohop.Hop()
        self.addCleanup(hop.stop)
        return hop

    def to(self, hop, *lines):
        return route(f"*@{FAR}", f"relay:127.0.0.1:{hop.port}", *lines)

    def message(self, number):
        return letter(AWKWARD, subject=f"{self.tag} {number}")

    def all_taken(self, *hops):
        """Each message once, on whichever."""
        taken = [one[2] for hop in hops for one in hop.taken]
        for number in range(WAITING):
            wanted = self.message(number)
            self.assertEqual(sum(content.endswith(wanted) for content in taken), 1, number)
        self.assertEqual(len(taken), WAITING)

    def test_what_waits_takes_the_new_route(self):
        own, other = self.edge(self.to(self.away)), self.hop()
        for number in range(WAITING):
            self.send(own, self.message(number), [self.address(f"r{number}")])
            if number == WAITING // 2:
                self.assertIn("451 4.3.0 not now", own.deferred(self.address("r0")))
        # What is under way goes by the old route, and would wait again.
        own.all_tried()
        own.reroute(self.to(other))
        own.retry()
        own.settled()
        self.all_taken(other)
        self.assertEqual(self.away.taken, [])

    def test_without_a_route_it_waits_for_one(self):
        own, other = self.edge(self.to(self.away)), self.hop()
        for number in range(WAITING):
            self.send(own, self.message(number), [self.address()])
        own.all_tried()
        own.reroute(route("nobody@elsewhere.test", "discard"))
        own.retry()
        harness.eventually(
            lambda: all("4.4.4" in (one["reason"] or "") for one in own.queue("list")),
            f"no route is the reason\n{own.log()[-2000:]}",
        )
        self.assertEqual(len(own.queue("list")), WAITING)
        own.reroute(self.to(other))
        own.retry()
        own.settled()
        self.all_taken(other)

    def test_while_mail_goes_through(self):
        one, other = self.hop(), self.hop()
        own = self.edge(self.to(one))

        def give():
            for number in range(WAITING):
                self.send(own, self.message(number), [self.address()])

        giving = threading.Thread(target=give)
        giving.start()
        for number in range(RELOADS):
            own.reroute(self.to((other, one)[number % 2], f"max_messages_per_connection = {number + 1}"))
        giving.join(harness.DEADLINE_SECONDS)
        own.settled()
        self.all_taken(one, other)

    def test_a_wrong_configuration_changes_nothing(self):
        one = self.hop()
        own = self.edge(self.to(one))
        text = own.config.read_text()
        own.config.write_text(text.replace("relay:", "really:"))
        own.process.send_signal(signal.SIGHUP)
        harness.eventually(lambda: "was not reloaded" in own.log(), "it is refused")
        for number in range(WAITING):
            self.send(own, self.message(number), [self.address()])
        # `queue` reads the file too.
        own.config.write_text(text)
        own.settled()
        self.all_taken(one)

    def test_another_server_at_the_same_place(self):
        """A connection that is kept for more mail breaks while it is idle: the next message goes over a new one."""
        one = self.hop()
        own = self.edge(self.to(one), relay="idle_seconds = 60\n")
        self.send(own, self.message(0), [self.address()])
        own.settled()
        one.stop()
        other = aiohop.Hop(None, ("127.0.0.1", one.port))
        self.addCleanup(other.stop)
        for number in range(1, WAITING):
            self.send(own, self.message(number), [self.address()])
        own.settled()
        self.all_taken(one, other)


class Always(dict):
    """The same reply to every recipient."""

    def __init__(self, reply):
        super().__init__({"": reply})

    def pop(self, key):
        return self[key]
