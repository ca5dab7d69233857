//! server::link – a control connection that may become TLS; nothing changes for who speaks on it.
//!
//! ```text
//!   receive ◀── plain ◀── tls::Session ◀── shard::Stream          (or straight, while it is in clear)
//!   post ─────▶ plain ──▶ tls::Session ──▶ shard::Stream
//! ```
//! Promises: **octets that came in clear behind the command that asks for TLS are never interpreted**: the
//! connection is of no use any more, and no reply that grants the request leaves ([`Link::upgrade`], for
//! every protocol; RFC 3207 §4.2, CVE-2011-0411); a handshake has an end in time and in octets; dropping a
//! future loses nothing.
//! Not here: records (`tls`), which command asks for TLS (the cores).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::shared::Local;
use crate::limits::TLS_HANDSHAKE_SECONDS_MAX;
use crate::metrics::tls::Failed;
use crate::shard::{self, Instant, Received, Stream};
use crate::tls::{Errand, Info, Offer, Progress, Records, Session, Trouble, Use};

/// How long a handshake may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(TLS_HANDSHAKE_SECONDS_MAX);
/// How long an alert may take to be sent before a connection is given up.
const ALERT: Duration = Duration::from_secs(1);

/// The handshake of a connection that is TLS from its first octet. `None`: it is of no use.
pub(super) async fn begin(local: &Local, link: &Link, to: Use) -> Option<Info> {
    let offer = local.shared.tls.offer(to)?;
    let deadline = shard::now().after(HANDSHAKE);
    let done = link.secure(&offer, deadline).await;
    told(local, link.peer(), done.as_ref());
    done.ok()
}

/// The client asked for TLS in clear; see [`Link::upgrade`]. `None`: the connection is of no use.
pub(super) async fn upgrade(
    local: &Local,
    link: &Link,
    left_over: usize,
    granted: Vec<u8>,
    to: Use,
) -> Option<Info> {
    let offer = local.shared.tls.offer(to)?;
    let deadline = shard::now().after(HANDSHAKE);
    let done = link.upgrade(left_over, granted, &offer, deadline).await;
    told(local, link.peer(), done.as_ref());
    done.ok()
}

/// Counts and logs what became of a handshake.
pub(super) fn told(local: &Local, peer: SocketAddr, done: Result<&Info, &Unsecured>) {
    let tls = &local.counters().tls;
    match done {
        Ok(Info { version, cipher, resumed, .. }) => {
            tls.done(version, *resumed);
            tracing::debug!(%peer, version, cipher, resumed, "TLS");
        }
        Err(unsecured) => {
            tls.failed(unsecured.kind());
            tracing::debug!(%peer, why = unsecured.text(), "no TLS");
        }
    }
}

/// Why a connection did not become TLS. It is of no use any more.
#[derive(Debug)]
pub(super) enum Unsecured {
    /// Octets came in clear behind the request.
    Injected,
    /// The handshake took too long.
    Late,
    /// The peer broke it off, or we did.
    Trouble(Trouble),
    /// The connection is no more.
    Gone,
}

impl Unsecured {
    /// For the counters.
    pub(super) fn kind(&self) -> Failed {
        match self {
            Self::Injected => Failed::Injected,
            Self::Late => Failed::Late,
            Self::Trouble(Trouble::Alert(_)) => Failed::Alert,
            Self::Trouble(Trouble::NothingInCommon) => Failed::NothingInCommon,
            Self::Trouble(_) => Failed::Protocol,
            Self::Gone => Failed::Gone,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> &'static str {
        match self {
            Self::Injected => "octets in clear behind the request",
            Self::Late => "too slow",
            Self::Trouble(trouble) => trouble.text(),
            Self::Gone => "the peer is gone",
        }
    }
}

/// How octets are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// What comes, as it comes.
    Usual,
    /// As much at once as a block holds.
    Large,
    /// From a client that has been silent for a while: at less cost until it speaks.
    AtRest,
}

/// One control connection.
pub(super) struct Link {
    stream: Stream,
    /// For whom the peer speaks, or its own address.
    peer: Cell<SocketAddr>,
    secure: RefCell<Option<Box<Secure>>>,
}

/// The TLS side of one.
struct Secure {
    session: Session,
    /// What the client said and nobody has taken yet.
    plain: Vec<u8>,
    /// What the client must be told and was not yet.
    outgoing: Vec<u8>,
    ended: bool,
    trouble: Option<Trouble>,
}

impl Secure {
    /// Decrypts what came.
    fn take(&mut self, octets: &mut [u8]) {
        let Self { session, plain, outgoing, .. } = self;
        match session.receive(octets, outgoing, &mut |said| plain.extend_from_slice(said)) {
            Ok(Progress::Ended) => self.ended = true,
            Ok(Progress::Handshake | Progress::Open) => {}
            Err(trouble) => self.trouble = Some(trouble),
        }
    }
}

impl Link {
    /// A connection in clear.
    pub(super) fn new(stream: Stream) -> Self {
        let peer = Cell::new(stream.peer());
        Self { stream, peer, secure: RefCell::new(None) }
    }

    /// Our address.
    pub(super) fn local(&self) -> SocketAddr {
        self.stream.local()
    }

    /// The peer's address; of a client that a proxy speaks for, as far as we are told.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer.get()
    }

    /// The peer speaks for a client at that address.
    pub(super) fn speak_for(&self, client: SocketAddr) {
        self.peer.set(client);
    }

    /// Octets that came and were not received yet; those of TLS as they are on the wire.
    pub(super) fn unread(&self) -> usize {
        let kept = self.secure.borrow().as_ref().map_or(0, |secure| secure.plain.len());
        kept + self.stream.unread()
    }

    /// Is it TLS?
    pub(super) fn is_secure(&self) -> bool {
        self.secure.borrow().is_some()
    }

    /// What the handshake agreed on.
    pub(super) fn info(&self) -> Option<Info> {
        self.secure.borrow().as_ref()?.session.info()
    }

    /// For the data connections that belong to this one; `None` while it is in clear.
    pub(super) fn data_offer(&self) -> Option<Offer> {
        self.secure.borrow().as_ref()?.session.offer().map(Offer::data)
    }

    /// The client asked for TLS in clear, and `granted` says that it gets it (and whatever is to be said
    /// before). `left_over`: octets that came behind the request and were received already.
    ///
    /// This is the one place where a connection changes from clear to TLS. `granted` leaves only when
    /// nothing came behind the request; whatever comes from then on is for TLS to judge.
    ///
    /// # Errors
    /// The connection is to be dropped without another word.
    pub(super) async fn upgrade(
        &self,
        left_over: usize,
        granted: Vec<u8>,
        offer: &Offer,
        deadline: Instant,
    ) -> Result<Info, Unsecured> {
        if left_over > 0 {
            return Err(Unsecured::Injected);
        }
        let granting = async {
            // Replies to commands before this one; once they are sent, the socket is looked at last.
            self.stream.posted().await?;
            if self.stream.silent().await? > 0 {
                return Ok(false);
            }
            self.stream.post(granted);
            self.stream.posted().await?;
            io::Result::Ok(true)
        };
        match shard::within(deadline, granting).await {
            Some(Ok(true)) => self.secure(offer, deadline).await,
            Some(Ok(false)) => Err(Unsecured::Injected),
            Some(Err(_)) => Err(Unsecured::Gone),
            None => Err(Unsecured::Late),
        }
    }

    /// Says `last` and the end of TLS, hears the client's end of it, and goes on in clear (RFC 4217 §13).
    /// Gives what came in clear behind that end.
    ///
    /// # Errors
    /// The connection is of no use any more: also when something came between `last` and that end.
    pub(super) async fn unsecure(&self, last: Vec<u8>) -> io::Result<Received> {
        let secure = self.secure.borrow_mut().take().ok_or(io::ErrorKind::NotConnected)?;
        let Secure { session, plain, outgoing, .. } = *secure;
        let broken = |trouble: Trouble| io::Error::new(io::ErrorKind::InvalidData, trouble);
        let mut records = session.into_records().map_err(broken)?;
        let mut octets = outgoing;
        let mut room = vec![0; Records::sealed_bytes(last.len())];
        let sealed = records.seal_into(&last, &mut room).map_err(broken)?;
        octets.extend_from_slice(room.get(..sealed).unwrap_or_default());
        records.close(&mut octets);
        self.stream.posted().await?;
        self.stream.post(octets);
        self.stream.posted().await?;
        let (mut said, mut behind) = (plain, Vec::new());
        while records.progress() != Progress::Ended {
            let received = self.stream.receive().await?;
            if received.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            records.open(&received, &mut [], &mut said, &mut Vec::new()).map_err(broken)?;
            let clear = received.len() - records.behind();
            behind.extend_from_slice(received.get(clear..).unwrap_or_default());
        }
        self.stream.speaks_telnet(true);
        let silent = said.is_empty();
        if silent { Ok(Received::from(behind)) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Begins with TLS at once: the handshake of a connection that never was in clear.
    ///
    /// # Errors
    /// The connection is to be dropped.
    pub(super) async fn secure(&self, offer: &Offer, deadline: Instant) -> Result<Info, Unsecured> {
        let session = Session::new(offer).map_err(Unsecured::Trouble)?;
        self.shake(session, Vec::new(), deadline).await
    }

    /// We asked for TLS, and the server granted it. `left_over`: octets that came behind that reply and were
    /// received already. As in [`Link::upgrade`], what came in clear is no part of what TLS protects.
    ///
    /// # Errors
    /// The connection is to be dropped.
    pub(super) async fn begin_as_client(
        &self,
        left_over: usize,
        errand: &Errand,
        deadline: Instant,
    ) -> Result<Info, Unsecured> {
        if left_over > 0 || self.stream.silent().await.map_err(|_| Unsecured::Gone)? > 0 {
            return Err(Unsecured::Injected);
        }
        let mut hello = Vec::new();
        let session = Session::client(errand, &mut hello).map_err(Unsecured::Trouble)?;
        self.shake(session, hello, deadline).await
    }

    /// The handshake, which begins with `outgoing`.
    async fn shake(
        &self,
        session: Session,
        outgoing: Vec<u8>,
        deadline: Instant,
    ) -> Result<Info, Unsecured> {
        self.stream.speaks_telnet(false);
        let plain = Vec::new();
        let mut secure = Box::new(Secure { session, plain, outgoing, ended: false, trouble: None });
        let done = shard::within(deadline, self.shake_hands(&mut secure)).await;
        match done {
            Some(Ok(info)) => {
                *self.secure.borrow_mut() = Some(secure);
                Ok(info)
            }
            Some(Err(unsecured)) => Err(unsecured),
            None => Err(Unsecured::Late),
        }
    }

    async fn shake_hands(&self, secure: &mut Secure) -> Result<Info, Unsecured> {
        let gone = |_: io::Error| Unsecured::Gone;
        loop {
            if !secure.outgoing.is_empty() {
                self.stream.posted().await.map_err(gone)?;
                self.stream.post(std::mem::take(&mut secure.outgoing));
            }
            if let Some(trouble) = secure.trouble {
                self.let_go().await;
                return Err(Unsecured::Trouble(trouble));
            }
            if let Some(info) = secure.session.info() {
                // Tickets: the next post is anybody's.
                self.stream.posted().await.map_err(gone)?;
                return Ok(info);
            }
            let mut received = self.stream.receive().await.map_err(gone)?;
            if received.is_empty() {
                return Err(Unsecured::Gone);
            }
            secure.take(&mut received);
        }
    }

    /// An alert is on its way: it shall arrive, but nobody waits for long.
    async fn let_go(&self) {
        let sent = async {
            self.stream.posted().await?;
            self.stream.finish().await
        };
        // Whether it arrived changes nothing.
        drop(shard::within(shard::now().after(ALERT), sent).await);
    }

    /// The next octets; empty at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the kernel says of the connection; `UnexpectedEof` when TLS was cut off, `InvalidData` when it broke.
    pub(super) async fn receive(&self) -> io::Result<Received> {
        self.receive_in(Manner::Usual).await
    }

    /// The same, in another manner.
    ///
    /// # Errors
    /// As for [`Link::receive`].
    pub(super) async fn receive_in(&self, manner: Manner) -> io::Result<Received> {
        if self.is_secure() {
            return Box::pin(self.receive_secure(manner)).await;
        }
        self.receive_raw(manner).await
    }

    /// Octets as they are on the wire.
    async fn receive_raw(&self, manner: Manner) -> io::Result<Received> {
        match manner {
            Manner::Usual => self.stream.receive().await,
            // In the heap: it is a large future, and idle sessions would keep room for it.
            Manner::Large => Box::pin(self.stream.receive_large()).await,
            Manner::AtRest => self.stream.receive_at_rest().await,
        }
    }

    async fn receive_secure(&self, manner: Manner) -> io::Result<Received> {
        loop {
            if self.with(|secure| !secure.outgoing.is_empty()) {
                self.stream.posted().await?;
                if let Some(outgoing) = self.with_some(|it| std::mem::take(&mut it.outgoing)) {
                    self.stream.post(outgoing);
                }
                continue;
            }
            if let Some(plain) = self.with_some(|it| std::mem::take(&mut it.plain))
                && !plain.is_empty()
            {
                return Ok(Received::from(plain));
            }
            if let Some(trouble) = self.with_some(|secure| secure.trouble).flatten() {
                tracing::debug!(peer = %self.peer(), %trouble, "TLS broke");
                self.let_go().await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, trouble));
            }
            if self.with(|secure| secure.ended) {
                return Ok(Received::from(Vec::new()));
            }
            let mut received = self.receive_raw(manner).await?;
            if received.is_empty() {
                // RFC 8446 §6.1: an end that nobody said may be somebody else's doing.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.with_some(|secure| secure.take(&mut received));
        }
    }

    fn with(&self, look: impl FnOnce(&Secure) -> bool) -> bool {
        self.secure.borrow().as_ref().is_some_and(|secure| look(secure))
    }

    fn with_some<T>(&self, work: impl FnOnce(&mut Secure) -> T) -> Option<T> {
        self.secure.borrow_mut().as_mut().map(|secure| work(secure))
    }

    /// Starts sending all of `bytes` and returns at once. One post may be in flight: await
    /// [`Link::posted`] before the next.
    pub(super) fn post(&self, bytes: Vec<u8>) {
        self.post_with(bytes, false);
    }

    /// The same for the last that is ever said: the end of TLS follows (RFC 8446 §6.1).
    pub(super) fn post_last(&self, bytes: Vec<u8>) {
        self.post_with(bytes, true);
    }

    /// The same when the connection is dropped once it is posted ([`Stream::post_final`]).
    pub(super) fn post_final(&self, bytes: Vec<u8>) {
        let octets = self.sealed(bytes, true);
        if !octets.is_empty() {
            self.stream.post_final(octets);
        }
    }

    fn post_with(&self, bytes: Vec<u8>, last: bool) {
        let octets = self.sealed(bytes, last);
        if !octets.is_empty() {
            self.stream.post(octets);
        }
    }

    /// Octets as they are on the wire.
    fn sealed(&self, bytes: Vec<u8>, last: bool) -> Vec<u8> {
        let sealed = self.with_some(|secure| {
            let mut sealed = std::mem::take(&mut secure.outgoing);
            if let Err(trouble) = secure.session.seal(&bytes, &mut sealed) {
                secure.trouble.get_or_insert(trouble);
            }
            if last {
                secure.session.close(&mut sealed);
            }
            sealed
        });
        sealed.unwrap_or(bytes)
    }

    /// Waits until the last post is sent whole; at once when there is none.
    ///
    /// # Errors
    /// What the kernel says of the connection.
    pub(super) async fn posted(&self) -> io::Result<()> {
        self.stream.posted().await
    }

    /// Sends FIN and waits until the client has acknowledged everything.
    ///
    /// # Errors
    /// When the connection broke before.
    pub(super) async fn finish(&self) -> io::Result<()> {
        self.stream.finish().await
    }
}
