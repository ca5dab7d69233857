"""Next servers by `relay:`: Postfix, Exim and aiosmtpd, in clear and in TLS.

Postfix and Exim send on what they get, to another sluicegate, so that both are senders as well.
"""

import aiohop
import exim
import harness
import postfix
from mailharness import AWKWARD, DOMAIN, EIGHT_BITS, letter
from relaying import FAR, RelayCase, route

POSTFIX_TLS = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_received_header = yes
smtp_tls_security_level = may
"""
UTF8 = ["BODY=8BITMIME", "SMTPUTF8"]


def domain(name):
    """A domain of the store."""
    return f"{name}.{FAR}"


class Between:
    """What every server in between has to pass; before the case. `hop` starts one that sends on to the store."""

    words = None  # what the trace fields have: of the store, of the hop in TLS, of the hop in clear
    utf8 = None  # and of the hop in TLS with SMTPUTF8
    stored = True
    domains = tuple(domain(tls) for tls in ("may", "must", "none"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        pair = cls.authority.issue("hop", ("DNS:localhost", "IP:127.0.0.1"))
        cls.next = cls.hop(pair)
        # `must` trusts the authority, and asks for the name in the route.
        routes = [
            route(f"*@{domain(tls)}", f"relay:{host}:{cls.next.port}", f'tls = "{tls}"')
            for tls, host in {"may": "127.0.0.1", "must": "localhost", "none": "localhost"}.items()
        ]
        cls.own = cls.edge(*routes, ca=cls.authority.ca)

    def through(self, message, tls="may", name="user", options=(), word=None):
        to = self.address(name, domain(tls))
        self.send(self.own, message, [to], options)
        store, secure, clear = self.words
        hop = word or (clear if tls == "none" else secure)
        self.arrived(message, to, (store, hop, b"by edge.test"))
        self.own.settled()

    def test_in_tls_where_it_is_offered(self):
        self.through(letter(AWKWARD))

    def test_in_tls_or_not_at_all(self):
        self.through(letter(AWKWARD), "must")

    def test_in_clear(self):
        self.through(letter(AWKWARD), "none")

    def test_eight_bits(self):
        self.through(letter(EIGHT_BITS), options=["BODY=8BITMIME"])

    def test_smtputf8(self):
        self.through(letter(EIGHT_BITS, subject="Grüße"), name="jürgen", options=UTF8, word=self.utf8)

    def test_several_recipients_and_messages(self):
        everybody = [self.address(f"r{number}", domain("must")) for number in range(60)]
        messages = [letter(b"line of text\r\n" * 1000 * number) for number in range(4)]
        for message in messages:
            self.send(self.own, message, everybody)
        self.own.settled()
        for one in everybody:
            harness.eventually(lambda: len(self.files(self.store, one)) == len(messages), f"all for {one}")
        sizes = [path.stat().st_size for path in self.files(self.store, everybody[-1])]
        for size, message in zip(sorted(sizes), messages):
            self.assertGreater(size, len(message))


class BetweenPostfix(postfix.PostfixCase, Between, RelayCase):
    words = (b"from relay.test", b"using TLSv1.3", b"by relay.test (Postfix) with ESMTP id")
    utf8 = b"by relay.test (Postfix) with UTF8SMTPS id"

    @classmethod
    def hop(cls, pair):
        more = POSTFIX_TLS.format(certificate=pair[0], key=pair[1])
        return cls.started(postfix.Postfix(cls.programs, cls.room("postfix"), cls.store.port, more))


class BetweenExim(Between, RelayCase):
    words = (b"from exim.test", b"by exim.test with esmtps ", b"by exim.test with esmtp (")
    utf8 = b"by exim.test with utf8esmtps "

    @classmethod
    def hop(cls, pair):
        # It reads its certificate as its own user.
        room = cls.room("exim")
        own = [room / path.name for path in pair]
        for path, copy in zip(pair, own):
            copy.write_bytes(path.read_bytes())
        return cls.started(exim.Exim(exim.program(), room, cls.store.port, own))


class LastAiosmtpd(RelayCase):
    """aiosmtpd with certificates of all kinds; it keeps what it gets."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.right = cls.authority.issue("right", ("DNS:localhost", "IP:127.0.0.1"))
        other = cls.authority.issue("other", ("DNS:elsewhere.test",))
        stranger = type(cls.authority)(cls.place / "stranger")
        foreign = stranger.issue("foreign", ("DNS:localhost", "IP:127.0.0.1"))
        cls.hops = {
            "right": cls.hop(cls.right),
            "other": cls.hop(other),
            "foreign": cls.hop(foreign),
            "clear": cls.hop(None),
            "old": cls.hop(cls.right, enable_SMTPUTF8=False),
            "small": cls.hop(cls.right, data_size_limit=1000),
        }
        routes = [
            route(f"*@{domain(f'{tls}.{name}')}", f"relay:localhost:{hop.port}", f'tls = "{tls}"')
            for name, hop in cls.hops.items()
            for tls in ("may", "must")
        ]
        cls.own = cls.edge(*routes, ca=cls.authority.ca)

    @classmethod
    def hop(cls, pair, **more):
        hop = aiohop.Hop(pair, **more)
        cls.addClassCleanup(hop.stop)
        return hop

    def to(self, tls, name):
        return self.address(domain=domain(f"{tls}.{name}"))

    def taken(self, name, address):
        return [one for one in self.hops[name].taken if address in one[1]]

    def test_taken_whoever_is_there(self):
        message = letter(AWKWARD + EIGHT_BITS)
        for name in ("right", "other", "foreign", "clear"):
            with self.subTest(name):
                to = self.to("may", name)
                self.send(self.own, message, [to])
                harness.eventually(lambda: self.taken(name, to), f"{name} has it\n{self.own.log()[-2000:]}")
                [(sender, recipients, content, _, version)] = self.taken(name, to)
                self.assertEqual((sender, recipients), (self.sender, [to]))
                self.assertTrue(content.endswith(message))
                self.assertEqual(version, None if name == "clear" else "TLSv1.3")
        self.own.settled()

    def test_refused_when_it_is_somebody_else(self):
        reasons = {"other": "certificate", "foreign": "certificate", "clear": "TLS is required, and not offered"}
        for name, reason in reasons.items():
            to = self.to("must", name)
            self.send(self.own, letter(AWKWARD), [to])
            self.assertIn(reason, self.own.deferred(to))
            self.assertEqual(self.taken(name, to), [])
        self.send(self.own, letter(AWKWARD), [self.to("must", "right")])
        harness.eventually(lambda: self.taken("right", self.to("must", "right")), "the right one has it")
        self.own.queue("delete", "--all")

    def test_what_the_next_one_cannot_take_comes_back(self):
        to = self.address("jürgen", domain("may.old"))
        self.send(self.own, letter(EIGHT_BITS), [to], UTF8)
        # RFC 6531 §3.6: nothing is made of it that can be sent.
        _, status, _ = self.report(self.own).status[to]
        self.assertEqual(status, "5.6.7")
        to, other = self.to("may", "small"), self.address("other", DOMAIN)
        self.send(self.own, letter(AWKWARD), [to], sender=other)
        _, status, _ = self.report(self.own, sender=other).status[to]
        self.assertEqual(status, "5.3.4")
        self.own.settled()
        self.assertEqual(self.hops["old"].taken + self.hops["small"].taken, [])

    def test_success_is_told_by_who_is_last_to_know_of_notices(self):
        to = self.to("must", "right")
        self.send(self.own, letter(AWKWARD), [to], ["RET=HDRS"], ["NOTIFY=SUCCESS"])
        report = self.report(self.own)
        self.assertEqual(report.status[to][:2], ("relayed", "2.0.0"))
        self.assertNotIn("MAIL FROM:<nobody@nowhere>", report.original)
        self.own.settled()

    def test_each_recipient_for_itself(self):
        good, gone, later = (self.address(name, domain("must.right")) for name in ("good", "gone", "later"))
        self.hops["right"].handler.replies.update(
            {gone: "550 5.1.1 nobody of that name", later: "450 4.2.1 not now"}
        )
        message = letter(AWKWARD)
        self.send(self.own, message, [gone, good, later])
        report = self.report(self.own)
        self.assertEqual(report.status, {gone: ("failed", "5.1.1", "550 5.1.1 nobody of that name")})
        self.assertIn("450 4.2.1 not now", self.own.deferred(later))
        self.own.retry()
        self.own.settled()
        taken = [recipients for _, recipients, *_ in self.taken("right", good) + self.taken("right", later)]
        self.assertEqual(taken, [[good], [later]])
