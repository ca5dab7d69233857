"""testssl.sh: what it finds is no more than before – the references below `testssl/` – and nothing worse than LOW.

One port is examined whole; of the others, which use the same settings, only what can depend on the way there: the
protocols, the forward secrecy, the certificate. After a change that is meant:
`UPDATE_TESTSSL=1 tests/clients/run test_testssl` writes the references anew.
"""

import json
import os
import pathlib
import re
import subprocess
import threading

from secure import SecureCase, need

REFERENCES = pathlib.Path(__file__).resolve().parent / "testssl"
WHOLE = ["-p", "-s", "-f", "-P", "-S", "-U"]
PART = ["-p", "-f", "-S"]
PORTS = {
    "ftp": ["-t", "ftp", *PART],
    "ftps": WHOLE,
    "smtp": ["-t", "smtp", *PART],
    "smtps": PART,
}
# Different each time, about the machine that testssl runs on, or (resumption) what it cannot find out without
# HTTP; test_openssl looks at that.
VOLATILE = re.compile(
    r"engine_problem|scanTime|cert|cert_serialNumber|cert_fingerprint.*|cert_notBefore|cert_notAfter"
    r"|cert_expirationStatus|TLS_timestamp|optimal_proto|service|old_fart|DNS_.*|sessionresumption_.*"
)
WORSE_THAN_LOW = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
MINUTES = 8


class Testssl(SecureCase):
    mirror = False
    program = "testssl"  # Debian's name of testssl.sh

    @classmethod
    def setUpClass(cls):
        need(cls.program)
        super().setUpClass()

    def examine(self, name, options):
        """The findings about a port, as lines."""
        report = self.local / f"{name}.json"
        words = [self.program, "--add-ca", self.server.ca, "--warnings", "off", "--color", "0", "--quiet"]
        words += ["--nodns", "none", "--ip", "127.0.0.1", "--jsonfile", report, *options]
        done = subprocess.run(
            [*map(str, words), f"localhost:{self.server.port(name)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self.local,
            timeout=60 * MINUTES,
        )
        if not report.is_file():
            raise AssertionError(f"testssl of {name} ended with {done.returncode}:\n{done.stdout}")
        findings = json.loads(report.read_text())
        port = str(self.server.port(name))
        lines = []
        for finding in findings:
            what, severity, said = finding["id"], finding["severity"], finding["finding"]
            if not VOLATILE.fullmatch(what):
                lines.append(f"{what} {severity} {' '.join(said.split())}".replace(port, "PORT"))
        return sorted(lines)

    def test_every_port(self):
        """At once, because testssl mostly waits."""
        found, problems = {}, []

        def one(name, options):
            try:
                found[name] = self.examine(name, options)
            except Exception as error:  # noqa: BLE001 - shown below
                problems.append(error)

        threads = [threading.Thread(target=one, args=port) for port in PORTS.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        for name, lines in found.items():
            bad = [line for line in lines if WORSE_THAN_LOW & set(line.split()[1:2])]
            self.assertEqual(bad, [], name)
            self.assertTrue(any(line.startswith("TLS1_3 OK") for line in lines), f"{name}: {lines}")
            self.compare(name, lines)

    def compare(self, name, lines):
        reference = REFERENCES / f"{name}.txt"
        if os.environ.get("UPDATE_TESTSSL"):
            reference.write_text("\n".join(lines) + "\n")
        self.assertEqual("\n".join(lines) + "\n", reference.read_text(), name)
