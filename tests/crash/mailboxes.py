"""What became of the messages: mailboxes and an exported spool against the ledger of the clients."""

import collections
import hashlib
import json
import pathlib
import re
import shutil

import load


class Damaged(Exception):
    """Not a message that anybody sent."""


SENDER = f"sender@{load.LOCAL}"  # of all messages: it gets the reports
ADDED_AT_RECEIPT = (b"Received:",)
ADDED_AT_DELIVERY = (b"Return-Path:", b"Received:")
REPORT = b"Content-Type: multipart/report"
ABOUT = re.compile(rb"^Final-Recipient: rfc822;(\S+?)\r?$", re.MULTILINE)


def original(content, added):
    """A message without the lines that were added on top."""
    rest = content
    for name in added:
        if rest[: len(name)].lower() != name.lower():
            raise Damaged(f"no {name.decode()} where it should be: {rest[:60]!r}")
        while True:
            line, newline, rest = rest.partition(b"\n")
            if not newline:
                raise Damaged("ends in its header")
            if rest[:1] not in (b" ", b"\t"):
                break
    return rest


def number_of(content):
    """The number in a message of the load."""
    found = load.NUMBER.search(content[:2000])
    if found is None:
        raise Damaged(f"no X-Load line: {content[:80]!r}")
    return int(found[1])


def verify(ledger, content, where):
    """The message of the ledger that these octets are, all of them."""
    number = number_of(content)
    message = ledger.messages.get(number)
    if message is None:
        raise Damaged(f"{where}: message {number} was never sent")
    if hashlib.sha256(content).hexdigest() != message.digest:
        raise Damaged(
            f"{where}: message {number} differs: {len(content)} octets of {message.size}"
        )
    return message


def reported(content):
    """(number, address) of everything that this report says was not delivered; None: it is no report."""
    head = content.partition(b"\r\n\r\n")[0]
    if REPORT not in head:
        return None
    number = load.NUMBER.search(content)
    addresses = ABOUT.findall(content)
    if number is None or not addresses or b"Action: failed" not in content:
        raise Damaged(f"a report that says nothing: {content[:200]!r}")
    return [(int(number[1]), address.decode()) for address in addresses]


class Survey:
    """All mailboxes: who has what, and what is wrong with it."""

    def __init__(self, ledger, root):
        self.copies = collections.Counter()  # (number, address) -> copies
        self.reports = collections.Counter()  # (number, address) -> how often its sender was told
        self.damage = []
        self.files = 0
        self._hash = hashlib.sha256()
        root = pathlib.Path(root)
        for mailbox in sorted(root.iterdir()) if root.is_dir() else []:
            for part in ("new", "cur"):
                folder = mailbox / part
                for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                    self._look(ledger, path, f"{mailbox.name}@{load.LOCAL}")

    def _look(self, ledger, path, address):
        self.files += 1
        content = path.read_bytes()
        self._hash.update(f"{path.parent.parent.name}/{path.name}\n".encode())
        self._hash.update(hashlib.sha256(content).digest())
        try:
            about = reported(content) if address == SENDER else None
            if about is not None:
                self.reports.update(about)
                return
            message = verify(ledger, original(content, ADDED_AT_DELIVERY), path.name)
        except Damaged as damage:
            self.damage.append(f"{address}: {damage}")
            return
        if address not in message.recipients:
            self.damage.append(f"{path}: message {message.number} is not for {address}")
        if message.state == "refused":
            self.damage.append(f"{path}: message {message.number} had been refused: {message.answer}")
        self.copies[message.number, address] += 1

    def digest(self):
        """Names and contents of all mailboxes in one value."""
        return self._hash.hexdigest()

    def duplicates(self):
        """Those that somebody has more than once."""
        return [number for (number, _), copies in self.copies.items() if copies > 1]


class Export:
    """What the spool still holds, as `sluicegate spool export` writes it."""

    def __init__(self, ledger, server, directory):
        directory = pathlib.Path(directory)
        shutil.rmtree(directory, ignore_errors=True)
        self.pending = collections.defaultdict(set)  # number -> addresses not yet settled
        self.reports = collections.Counter()  # (number, address) -> reports on their way
        self.owed = set()  # (number, address) that a report is still to be written about
        self.damage = []
        status, said = server.command("spool", "export", directory)
        if status != 0:
            self.damage.append(f"spool export ended with {status}: {said}")
        for path in sorted(directory.glob("*.eml")) if directory.is_dir() else []:
            envelope = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            content = path.read_bytes()
            try:
                about = reported(content)
                if about is not None:
                    self.reports.update(about)
                    continue
                message = verify(ledger, original(content, ADDED_AT_RECEIPT), path.name)
            except Damaged as damage:
                self.damage.append(f"spool: {damage}")
                continue
            self.pending[message.number].update(in_state(envelope, "waiting", "deferred"))
            failed = in_state(envelope, "failed")
            self.owed.update((message.number, address) for address in failed)

    def waiting(self, domain=load.LOCAL):
        """(number, address) of everything that is still to be put into a mailbox, or sent there."""
        return {
            (number, address)
            for number, addresses in self.pending.items()
            for address in addresses
            if address.endswith("@" + domain)
        }


def in_state(envelope, *states):
    """Addresses of an exported message that are in one of these states."""
    return {one["address"] for one in envelope["targets"] if one["state"] in states}


def lost(ledger, survey, export=None, entries=None, arrived=()):
    """Acknowledged messages that are neither in a mailbox nor in the spool, have not arrived elsewhere and
    were not returned: (message, address). With `entries`: of those acknowledged when the disk's log had at
    most so many. `arrived`: (number, address) of what other servers have."""
    missing = []
    for message in ledger.of("acked"):
        if entries is not None and message.entries > entries:
            continue
        for address in message.mailboxes + message.remote:
            one = (message.number, address)
            if survey.copies[one] or one in arrived or survey.reports[one]:
                continue
            if export is not None and (
                address in export.pending.get(message.number, ())
                or export.reports[one]
                or one in export.owed
            ):
                continue
            missing.append((message, address))
    return missing
