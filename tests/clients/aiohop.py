"""aiosmtpd as the next server: in this process, on a thread of its own, with whatever a test asks of it.

The library is the one installed, or the one below the folder that `loadtest/unpack-mail-peers` made.
"""

import asyncio
import importlib
import logging
import socket
import ssl
import sys
import threading

import harness
from harness import DEADLINE_SECONDS


def library():
    """aiosmtpd, or the reason to skip (or to fail)."""
    if harness.PEERS is not None:
        packages = str(harness.PEERS / "usr/lib/python3/dist-packages")
        if packages not in sys.path:
            sys.path.append(packages)
    # It tells of everything that goes wrong, which is what tests make it do.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)
    try:
        return importlib.import_module("aiosmtpd.smtp")
    except ImportError as error:
        harness.lacking(f"{error} (loadtest/unpack-mail-peers DIR, --peers DIR)")


class Handler:
    """Keeps what it is given: `taken` has (sender, recipients, octets, mechanism of the login, TLS version).
    `replies` are {what a recipient begins with: the reply to RCPT}, once each."""

    def __init__(self):
        self.taken, self.replies, self.mechanisms = [], {}, []

    async def handle_RCPT(self, server, session, envelope, address, options):
        for beginning in list(self.replies):
            if address.startswith(beginning):
                return self.replies.pop(beginning)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        secure = session.ssl and session.ssl.get("ssl_object", None)
        content = envelope.original_content
        version = secure.version() if secure else None
        self.taken.append((envelope.mail_from, list(envelope.rcpt_tos), content, session.auth_data, version))
        return "250 2.0.0 Ok"


class Hop:
    """A running one, at `address`. `pair` is its certificate and its key; more goes to the library."""

    def __init__(self, pair=None, address=("127.0.0.1", 0), **more):
        smtp = library()
        self.handler = Handler()
        if pair is not None:
            more["tls_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            more["tls_context"].load_cert_chain(*map(str, pair))
        self._socket = socket.create_server(address)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        more = {"hostname": "aio.test", "enable_SMTPUTF8": True, "data_size_limit": 100 << 20, **more}

        def protocol():
            return smtp.SMTP(self.handler, loop=self._loop, **more)

        starting = self._loop.create_server(protocol, sock=self._socket)
        self._server = self._loop.run_until_complete(starting)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def taken(self):
        """What it took."""
        return self.handler.taken

    def stop(self):
        """Ends it, once or again."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(DEADLINE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()

    async def _close(self):
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
