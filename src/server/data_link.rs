//! server::data_link – a data connection, in clear or in TLS; nothing changes for who moves octets on it.
//!
//! ```text
//!   in clear   sendfile, receives into blocks: as the shard does them
//!   in TLS     file ─▶ seal ─▶ socket      socket ─▶ open ─▶ block
//! ```
//! Promises: a transfer that waits for its client holds no block, and at most [`PORTION`] sealed octets; the
//! end of TLS is said before FIN, and a client's that was not said is told from one that was
//! ([`DataLink::is_cut_off`]); dropping a future loses nothing.
//! Not here: which data connections are taken (`transfer`), records (`tls`).

use std::cell::{Cell, RefCell};
use std::io;

use bytes::Bytes;

use super::link::{Unsecured, told};
use super::shared::Local;
use crate::shard::{self, Block, File, Instant, Stream};
use crate::tls::{Info, Offer, Progress, Records, Session, Trouble};

/// Octets sealed at once: four records.
const PORTION: usize = 64 * 1024;
/// Octets received at once in TLS.
const GULP: usize = 128 * 1024;
/// The least, however little room there is.
const GULP_MIN: usize = 4096;
/// Octets received at once in a handshake.
const HELLO: usize = 8 * 1024;
/// Looks at what the client says while it is spoken to, before it is spoken to again.
const LISTENS_MAX: usize = 4;

thread_local! {
    /// What is being sealed or opened: used between two waits only, by all connections of the shard.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { plain: Vec::new(), wire: Vec::new() }) };
}

struct Scratch {
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// One data connection.
pub(super) struct DataLink {
    stream: Stream,
    secure: Option<Box<Secure>>,
}

/// The TLS side of one.
struct Secure {
    records: RefCell<Records>,
    /// Sealed, and not taken by the socket yet.
    unsent: RefCell<Vec<u8>>,
    /// Opened, and not taken by anybody yet.
    untaken: RefCell<Vec<u8>>,
    /// Was anything of a file or listing sealed?
    spoke: Cell<bool>,
    ended: Cell<bool>,
    cut_off: Cell<bool>,
}

impl DataLink {
    /// In clear.
    pub(super) fn clear(stream: Stream) -> Self {
        Self { stream, secure: None }
    }

    /// The handshake, as the server's side whoever connected (RFC 4217 §7). Counted and logged.
    ///
    /// # Errors
    /// The connection is to be dropped.
    pub(super) async fn secure(
        local: &Local,
        stream: Stream,
        offer: &Offer,
        deadline: Instant,
    ) -> Result<(Self, Info), Unsecured> {
        let peer = stream.peer();
        let shaken = shard::within(deadline, shake_hands(&stream, offer)).await;
        let shaken = shaken.unwrap_or(Err(Unsecured::Late));
        told(local, peer, shaken.as_ref().map(|(_, info)| info));
        let (secure, info) = shaken?;
        Ok((Self { stream, secure: Some(secure) }, info))
    }

    /// Did TLS end without anybody saying so? To be asked after the end.
    pub(super) fn is_cut_off(&self) -> bool {
        self.secure.as_ref().is_some_and(|secure| secure.cut_off.get())
    }

    /// Octets the client has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        let unsent = self.secure.as_ref().map_or(0, |secure| secure.unsent.borrow().len());
        unsent + self.stream.unacknowledged()
    }

    /// Sends as much of `bytes` as there is room for; waits for room. At least one octet.
    ///
    /// # Errors
    /// What the kernel says of the connection.
    pub(super) async fn send_some(&self, bytes: &Bytes) -> io::Result<usize> {
        let Some(secure) = &self.secure else { return self.stream.send_some(bytes).await };
        secure.ready(&self.stream).await?;
        let mut sent = 0;
        for part in bytes.chunks(PORTION) {
            secure.push(&self.stream, part)?;
            sent += part.len();
            if secure.is_full() {
                break;
            }
        }
        Ok(sent)
    }

    /// Moves up to `count` octets of `file` from `offset`; returns when `count` is reached, the file ends, or
    /// the socket is full. 0 when the file ends at `offset`.
    ///
    /// # Errors
    /// Those of the connection and those of the file.
    pub(super) async fn send_file(
        &self,
        file: &File,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        let Some(secure) = &self.secure else {
            return self.stream.send_file(file, offset, count).await;
        };
        secure.ready(&self.stream).await?;
        let mut sent = 0;
        while sent < count && !secure.is_full() {
            let at = offset + sent as u64;
            let want = (count - sent).min(PORTION);
            match secure.push_file(&self.stream, file, at, want) {
                Ok(0) => break,
                Ok(moved) => sent += moved,
                // Not in memory (any more), or the file system cannot tell.
                Err(Pushed::Cold) if sent > 0 => break,
                Err(Pushed::Cold) => {
                    let (read, block) = file.read_some(shard::block().await, want, at).await;
                    let read = read?;
                    secure.push(&self.stream, block.get(..read).unwrap_or_default())?;
                    return Ok(read);
                }
                Err(Pushed::Failed(error)) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Waits until octets, the end or an error can be received without waiting.
    ///
    /// # Errors
    /// What the kernel says of the operation.
    pub(super) async fn readable(&self) -> io::Result<()> {
        if self.secure.as_ref().is_some_and(|secure| secure.has_input()) {
            return Ok(());
        }
        self.stream.readable().await
    }

    /// Receives into `block` from `at`; gives the block back. 0 at the end.
    pub(super) async fn receive_into(&self, block: Block, at: usize) -> (io::Result<usize>, Block) {
        let Some(secure) = &self.secure else { return self.stream.receive_into(block, at).await };
        let mut block = block;
        loop {
            match secure.take(&self.stream, block.get_mut(at..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                taken => return (taken, block),
            }
            if let Err(error) = secure.flush_some(&self.stream) {
                return (Err(error), block);
            }
            if let Err(error) = self.stream.readable().await {
                return (Err(error), block);
            }
        }
    }

    /// Says the end of TLS, sends FIN, and waits until the client has acknowledged every octet.
    ///
    /// # Errors
    /// When the connection broke before that.
    pub(super) async fn finish(&self) -> io::Result<()> {
        let Some(secure) = &self.secure else { return self.stream.finish().await };
        let finished = secure.finish(&self.stream).await;
        // Who knew that the file is empty may be gone before tickets and the end of TLS are read.
        if secure.spoke.get() { finished } else { Ok(()) }
    }

    /// Says the end of TLS where there is room to: after an upload, whose end was heard.
    pub(super) fn close(&self) {
        let Some(secure) = &self.secure else { return };
        let mut unsent = secure.unsent.borrow_mut();
        secure.records.borrow_mut().close(&mut unsent);
        // Without room nobody waits: everything that mattered was heard.
        drop(self.stream.send_ready(&unsent));
        unsent.clear();
    }
}

async fn shake_hands(stream: &Stream, offer: &Offer) -> Result<(Box<Secure>, Info), Unsecured> {
    let gone = |_: io::Error| Unsecured::Gone;
    let mut session = Session::new(offer).map_err(Unsecured::Trouble)?;
    let (mut unsent, mut untaken) = (Vec::new(), Vec::new());
    loop {
        let shaken = shake(&mut session, stream, &mut unsent, &mut untaken);
        let said = flush(stream, &mut unsent).await;
        // After the handshake those are tickets. Who does not want them may have sent all and be gone: an upload
        // that came whole is whole.
        if session.info().is_none() {
            said.map_err(gone)?;
        }
        let waits = !shaken?;
        // The end may have come with the last of the handshake: an empty file.
        if let Some(info) = session.info() {
            let records = session.into_records().map_err(Unsecured::Trouble)?;
            let ended = Cell::new(records.progress() == Progress::Ended);
            let secure = Secure {
                records: RefCell::new(records),
                unsent: RefCell::default(),
                untaken: RefCell::new(untaken),
                spoke: Cell::new(false),
                ended,
                cut_off: Cell::new(false),
            };
            return Ok((Box::new(secure), info));
        }
        if waits {
            stream.readable().await.map_err(gone)?;
        }
    }
}

/// Gives the handshake what came. Did anything?
fn shake(
    session: &mut Session,
    stream: &Stream,
    unsent: &mut Vec<u8>,
    untaken: &mut Vec<u8>,
) -> Result<bool, Unsecured> {
    SCRATCH.with_borrow_mut(|Scratch { wire, .. }| {
        wire.resize(wire.len().max(GULP), 0);
        // Little at a time: what a client uploads may follow its handshake at once, and is none of it.
        let count = match stream.receive_ready(wire.get_mut(..HELLO).unwrap_or_default()) {
            Ok(0) => return Err(Unsecured::Gone),
            Ok(count) => count,
            Err(error) if is_nothing(&error) => return Ok(false),
            Err(_) => return Err(Unsecured::Gone),
        };
        let octets = wire.get_mut(..count).unwrap_or_default();
        let shaken = session.receive(octets, unsent, &mut |said| untaken.extend_from_slice(said));
        shaken.map(|_| true).map_err(Unsecured::Trouble)
    })
}

/// Nothing could be done without waiting.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The connection's fault, not the file's (`fault`).
fn broken(trouble: Trouble) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, trouble)
}

/// Sends what is left over, as far as there is room. Is all of it sent?
fn flush_some(stream: &Stream, unsent: &mut Vec<u8>) -> io::Result<bool> {
    while !unsent.is_empty() {
        match stream.send_ready(unsent) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    // Memory for slow clients only.
    *unsent = Vec::new();
    Ok(true)
}

/// Sends what is left over; waits for room.
async fn flush(stream: &Stream, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !flush_some(stream, unsent)? {
        stream.writable().await?;
    }
    Ok(())
}

/// Why nothing could be opened.
enum Broke {
    Trouble(Trouble),
    Gone(io::Error),
}

/// Why nothing of a file was sent.
enum Pushed {
    Cold,
    Failed(io::Error),
}

impl From<io::Error> for Pushed {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Secure {
    fn is_full(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    fn has_input(&self) -> bool {
        self.ended.get() || !self.untaken.borrow().is_empty()
    }

    fn flush_some(&self, stream: &Stream) -> io::Result<bool> {
        flush_some(stream, &mut self.unsent.borrow_mut())
    }

    /// Sends what is left over; waits for room.
    async fn flush(&self, stream: &Stream) -> io::Result<()> {
        while !self.flush_some(stream)? {
            stream.writable().await?;
        }
        Ok(())
    }

    async fn finish(&self, stream: &Stream) -> io::Result<()> {
        self.records.borrow_mut().close(&mut self.unsent.borrow_mut());
        self.flush(stream).await?;
        stream.finish().await?;
        // Everything arrived: what the client still says changes nothing.
        for _ in 0..LISTENS_MAX {
            if !matches!(self.listen(stream), Ok(true)) {
                break;
            }
        }
        Ok(())
    }

    /// Everything sealed is sent, and what the client said meanwhile is taken in and answered.
    async fn ready(&self, stream: &Stream) -> io::Result<()> {
        for _ in 0..LISTENS_MAX {
            self.flush(stream).await?;
            if !self.listen(stream)? && !self.is_full() {
                return Ok(());
            }
        }
        self.flush(stream).await
    }

    /// Takes in what the client says while it is spoken to: a change of keys, an alert. Anything else is
    /// dropped; but received, because a close with octets unread is a reset and could cost it the file. Was
    /// there something?
    fn listen(&self, stream: &Stream) -> io::Result<bool> {
        if self.ended.get() {
            return Ok(false);
        }
        let heard = self.open(stream, &mut []);
        *self.untaken.borrow_mut() = Vec::new();
        match heard {
            Ok(heard) => Ok(heard.is_some()),
            Err(Broke::Trouble(trouble)) => {
                // The alert goes if there is room; nothing more will.
                drop(stream.send_ready(&self.unsent.take()));
                Err(broken(trouble))
            }
            Err(Broke::Gone(error)) => Err(error),
        }
    }

    /// Seals `plain`, at most a portion, and sends what there is room for.
    fn push(&self, stream: &Stream, plain: &[u8]) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| self.push_by(stream, plain, &mut scratch.wire))
    }

    fn push_by(&self, stream: &Stream, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        wire.resize(wire.len().max(Records::sealed_bytes(PORTION.max(plain.len()))), 0);
        self.spoke.set(self.spoke.get() || !plain.is_empty());
        let sealed = self.records.borrow_mut().seal_into(plain, wire);
        let sealed = sealed.map_err(broken)?;
        let sealed = wire.get(..sealed).unwrap_or_default();
        let sent = match stream.send_ready(sealed) {
            Ok(sent) => sent,
            Err(error) if is_nothing(&error) => 0,
            Err(error) => return Err(error),
        };
        if let Some(rest) = sealed.get(sent..).filter(|rest| !rest.is_empty()) {
            self.unsent.borrow_mut().extend_from_slice(rest);
        }
        Ok(())
    }

    /// The same of a file; how much.
    fn push_file(
        &self,
        stream: &Stream,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<usize, Pushed> {
        SCRATCH.with_borrow_mut(|Scratch { plain, wire }| {
            plain.resize(PORTION, 0);
            let room = plain.get_mut(..count.min(PORTION)).unwrap_or_default();
            let read = match file.read_ready(room, offset) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Pushed::Cold);
                }
                Err(error) => return Err(Pushed::Failed(error)),
            };
            self.push_by(stream, room.get(..read).unwrap_or_default(), wire)?;
            Ok(read)
        })
    }

    /// Opens what is there, into `room`. `WouldBlock` when nothing is; 0 at the end.
    fn take(&self, stream: &Stream, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut untaken = self.untaken.borrow_mut();
            if !untaken.is_empty() {
                let count = untaken.len().min(room.len());
                let (now, _) = untaken.split_at(count);
                room.get_mut(..count).unwrap_or_default().copy_from_slice(now);
                untaken.drain(..count);
                if untaken.is_empty() {
                    *untaken = Vec::new();
                }
                return Ok(count);
            }
            drop(untaken);
            if self.ended.get() {
                return Ok(0);
            }
            match self.open(stream, room) {
                Ok(Some(0)) => {}
                Ok(Some(count)) => return Ok(count),
                Ok(None) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(Broke::Trouble(trouble)) => {
                    // The alert goes if there is room; nothing more will.
                    drop(stream.send_ready(&self.unsent.take()));
                    return Err(broken(trouble));
                }
                Err(Broke::Gone(error)) => return Err(error),
            }
        }
    }

    /// Opens what is there, into `room`, and what does not fit into `untaken`; how much went into `room`.
    /// `None` when nothing is there. The end is remembered.
    fn open(&self, stream: &Stream, room: &mut [u8]) -> Result<Option<usize>, Broke> {
        SCRATCH.with_borrow_mut(|Scratch { wire, .. }| {
            wire.resize(wire.len().max(GULP), 0);
            // What is opened fits into the room, but for one record that was begun before.
            let most = room.len().clamp(GULP_MIN, GULP);
            let wire = wire.get_mut(..most).unwrap_or_default();
            let count = match stream.receive_ready(wire) {
                Ok(0) => {
                    self.ended.set(true);
                    self.cut_off.set(true);
                    return Ok(Some(0));
                }
                Ok(count) => count,
                Err(error) if is_nothing(&error) => return Ok(None),
                Err(error) => return Err(Broke::Gone(error)),
            };
            let mut records = self.records.borrow_mut();
            let (mut untaken, mut unsent) = (self.untaken.borrow_mut(), self.unsent.borrow_mut());
            let octets = wire.get(..count).unwrap_or_default();
            let opened = records.open(octets, room, &mut untaken, &mut unsent);
            self.ended.set(records.progress() == Progress::Ended);
            opened.map(Some).map_err(Broke::Trouble)
        })
    }
}
