"""Logins at a smarthost: Postfix, whose logins Dovecot checks, and aiosmtpd; with SCRAM-SHA-256, PLAIN and LOGIN."""

import aiohop
import dovecot
import harness
import postfix
from mailharness import AWKWARD, letter
from relaying import FAR, RelayCase, route

MECHANISMS = {"plain": "PLAIN", "login": "LOGIN", "scram-sha-256": "SCRAM-SHA-256"}
PASSWORD = "Pa ss+wörd=,"
SMARTHOST = """\
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {logins}
smtpd_sasl_authenticated_header = yes
smtpd_tls_auth_only = yes
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"""
# A port for each mechanism, where it is the only one.
SERVICE = "127.0.0.1:{port} inet n - n - - smtpd -o smtpd_sasl_mechanism_filter={mechanism}\n"


class Logins(RelayCase):
    @classmethod
    def login(cls, port, password="right", tls="must"):
        """Lines of a route to a smarthost."""
        words = ['username = "edge"', f'password_file = "{cls.place / password}"', f'tls = "{tls}"']
        return f"relay:localhost:{port}", *words

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pair = cls.authority.issue("smart", ("DNS:localhost",))
        for name, password in {"right": PASSWORD, "wrong": "guess"}.items():
            (cls.place / name).write_text(password + "\n")
            (cls.place / name).chmod(0o600)


class PostfixLogins(postfix.PostfixCase, Logins):
    stored = True
    domains = tuple(f"{name}.{FAR}" for name in (*MECHANISMS, "best"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        checks = dovecot.Dovecot(dovecot.program(), cls.room("dovecot"), {"edge": (PASSWORD, None)})
        cls.started(checks)
        ports = {name: cls.free_port() for name in MECHANISMS}
        services = "".join(SERVICE.format(port=port, mechanism=name) for name, port in ports.items())
        more = SMARTHOST.format(certificate=cls.pair[0], key=cls.pair[1], logins=checks.logins)
        smart = postfix.Postfix(cls.programs, cls.room("postfix"), cls.store.port, more, services)
        cls.started(smart)
        ports["best"] = smart.port
        routes = [route(f"*@{name}.{FAR}", *cls.login(port)) for name, port in ports.items()]
        routes.append(route(f"*@wrong.{FAR}", *cls.login(smart.port, "wrong")))
        routes.append(route(f"*@nobody.{FAR}", f"relay:localhost:{smart.port}", 'tls = "must"'))
        cls.smart, cls.own = smart, cls.edge(*routes, ca=cls.authority.ca)

    def test_every_mechanism(self):
        message = letter(AWKWARD)
        for name, mechanism in {**MECHANISMS, "best": "SCRAM-SHA-256"}.items():
            with self.subTest(name):
                to = self.address(name, f"{name}.{FAR}")
                self.send(self.own, message, [to])
                self.arrived(message, to, (b"from relay.test", b"(Authenticated sender: edge)", b"by edge.test"))
                used = f"sasl_method={mechanism}, sasl_username=edge"
                harness.eventually(lambda: used in self.smart.log(), f"{used}\n{self.smart.log()}")
        self.own.settled()

    def test_a_wrong_password_is_no_fault_of_the_message(self):
        to = self.address(domain=f"wrong.{FAR}")
        self.send(self.own, letter(AWKWARD), [to])
        self.assertIn("535 5.7.8", self.own.deferred(to))
        self.own.queue("delete", "--all")

    def test_without_a_login(self):
        to = self.address(domain=f"nobody.{FAR}")
        self.send(self.own, letter(AWKWARD), [to])
        self.assertEqual(self.report(self.own).status[to][:2], ("failed", "5.7.1"))
        self.own.settled()


class AiosmtpdLogins(Logins):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        result = aiohop.library().AuthResult

        def check(server, session, envelope, mechanism, data):
            good = (data.login, data.password) == (b"edge", PASSWORD.encode())
            return result(success=good, handled=False, auth_data=mechanism)

        more = {"auth_required": True, "authenticator": check, "require_starttls": True}
        cls.hops = {
            "plain": aiohop.Hop(cls.pair, **more, auth_exclude_mechanism=["LOGIN"]),
            "login": aiohop.Hop(cls.pair, **more, auth_exclude_mechanism=["PLAIN"]),
        }
        for hop in cls.hops.values():
            cls.addClassCleanup(hop.stop)
        routes = [route(f"*@{name}.{FAR}", *cls.login(hop.port)) for name, hop in cls.hops.items()]
        cls.own = cls.edge(*routes, ca=cls.authority.ca)

    def test_each(self):
        message = letter(AWKWARD)
        for name, hop in self.hops.items():
            to = self.address(domain=f"{name}.{FAR}")
            self.send(self.own, message, [to])
            harness.eventually(lambda: hop.taken, f"{name} has it\n{self.own.log()[-2000:]}")
            [(_, recipients, content, mechanism, version)] = hop.taken
            self.assertEqual((recipients, mechanism, version), ([to], name.upper(), "TLSv1.3"))
            self.assertTrue(content.endswith(message))
        self.own.settled()
