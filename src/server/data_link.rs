//! server::data_link – a data connection, in clear or in TLS; nothing changes for who moves octets on it.
//!
//! ```text
//!   in clear   sendfile, receives into blocks: as the shard does them
//!   in TLS     file ─▶ seal ─▶ socket      socket ─▶ open ─▶ block
//! ```
//! Promises: a transfer that waits for its client holds no block, and at most [`SCRATCH_BYTES`] sealed octets; the
//! end of TLS is said before FIN, and a client's that was not said is told from one that was
//! ([`DataLink::is_cut_off`]); dropping a future loses nothing.
//! Not here: which data connections are taken (`transfer`), records (`tls`).
#![allow(dead_code, reason = "PROT P, which comes next, uses it")]

use std::cell::{Cell, RefCell};
use std::io;

use bytes::Bytes;

use super::link::{Unsecured, told};
use super::shared::Local;
use crate::shard::{self, Block, File, Instant, Stream};
use crate::tls::{Info, Offer, Progress, RECORD_BYTES, Records, Session, Trouble};

/// Octets sealed or opened at once: fifteen records and their frames.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Octets received at once where little is expected.
const HELLO: usize = 8 * 1024;
/// Looks at what the client says while it is spoken to, before it is spoken to again.
const LISTENS_MAX: usize = 4;

thread_local! {
    /// What is being sealed or opened: used between two waits only, by all connections of the shard.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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

    /// Is it TLS?
    pub(super) fn is_secure(&self) -> bool {
        self.secure.is_some()
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
        while sent < bytes.len() && !secure.is_full() {
            sent += secure.push(&self.stream, bytes.get(sent..).unwrap_or_default())?;
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
            match secure.push_file(&self.stream, file, at, count - sent) {
                Ok(0) => break,
                Ok(moved) => sent += moved,
                // Not in memory (any more), or the file system cannot tell.
                Err(error) if later(&error) && sent > 0 => break,
                Err(error) if later(&error) => {
                    let want = (count - sent).min(SCRATCH_BYTES);
                    let (read, block) = file.read_some(shard::block().await, want, at).await;
                    let octets = block.get(..read?).unwrap_or_default();
                    return secure.push(&self.stream, octets);
                }
                Err(error) => return Err(error),
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
        if let Some(secure) = &self.secure {
            secure.records.borrow_mut().close(&mut secure.unsent.borrow_mut());
            secure.flush(&self.stream).await?;
        }
        self.stream.finish().await?;
        if let Some(secure) = &self.secure {
            // Everything arrived: what the client still says changes nothing.
            for _ in 0..LISTENS_MAX {
                if !matches!(secure.listen(&self.stream), Ok(Heard::Some)) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Says the end of TLS where there is room to: after an upload, whose end was heard.
    pub(super) fn close(&self) {
        let Some(secure) = &self.secure else { return };
        let mut unsent = secure.unsent.borrow_mut();
        secure.records.borrow_mut().close(&mut unsent);
        // Without room nobody waits: everything that mattered was heard.
        flushed(&self.stream, &mut unsent).unwrap_or_default();
    }
}

async fn shake_hands(stream: &Stream, offer: &Offer) -> Result<(Box<Secure>, Info), Unsecured> {
    let gone = |_: io::Error| Unsecured::Gone;
    let mut session = Session::new(offer).map_err(Unsecured::Trouble)?;
    let (mut unsent, mut untaken) = (Vec::new(), Vec::new());
    loop {
        let mut said = |plain: &[u8]| untaken.extend_from_slice(plain);
        let heard = receive(stream, HELLO, |octets| {
            session
                .receive(octets, &mut unsent, &mut said)
                .map(|progress| progress == Progress::Ended)
        });
        // What is to be said is said in any case: a record of the handshake, or an alert.
        if let Some(info) = session.info() {
            let records = RefCell::new(session.into_records().map_err(Unsecured::Trouble)?);
            // The end may have come with the last of the handshake: an empty file.
            let ended = Cell::new(matches!(heard, Ok(Heard::End)));
            let cut_off = Cell::new(matches!(heard, Ok(Heard::CutOff)));
            let (unsent, untaken) = (RefCell::new(unsent), RefCell::new(untaken));
            let secure = Box::new(Secure { records, unsent, untaken, ended, cut_off });
            // Tickets: who uploads may never read them, and is not waited for.
            secure.flush_some(stream).map_err(gone)?;
            return Ok((secure, info));
        }
        while !flushed(stream, &mut unsent).map_err(gone)? {
            stream.writable().await.map_err(gone)?;
        }
        match heard {
            Ok(Heard::Some) => {}
            Ok(Heard::Nothing) => stream.readable().await.map_err(gone)?,
            Ok(Heard::End | Heard::CutOff) => return Err(Unsecured::Gone),
            Err(Broke::Trouble(trouble)) => return Err(Unsecured::Trouble(trouble)),
            Err(Broke::Gone(_)) => return Err(Unsecured::Gone),
        }
    }
}

/// What a look into the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Octets.
    Some,
    /// Nothing yet.
    Nothing,
    /// The end of TLS.
    End,
    /// The end of TCP.
    CutOff,
}

/// Why nothing could be heard.
enum Broke {
    Trouble(Trouble),
    Gone(io::Error),
}

/// Receives what is there, at most `most` octets, into the scratch and lets `open` have it.
fn receive(
    stream: &Stream,
    most: usize,
    open: impl FnOnce(&mut [u8]) -> Result<bool, Trouble>,
) -> Result<Heard, Broke> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(SCRATCH_BYTES, 0);
        match stream.receive_ready(scratch.get_mut(..most).unwrap_or_default()) {
            Ok(0) => Ok(Heard::CutOff),
            Ok(count) => match open(scratch.get_mut(..count).unwrap_or_default()) {
                Ok(true) => Ok(Heard::End),
                Ok(false) => Ok(Heard::Some),
                Err(trouble) => Err(Broke::Trouble(trouble)),
            },
            Err(error) if later(&error) => Ok(Heard::Nothing),
            Err(error) => Err(Broke::Gone(error)),
        }
    })
}

/// Sends `octets` as far as there is room. Is all of it sent?
fn flushed(stream: &Stream, octets: &mut Vec<u8>) -> io::Result<bool> {
    while !octets.is_empty() {
        match stream.send_ready(octets) {
            Ok(count) => drop(octets.drain(..count)),
            Err(error) if later(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    // Memory for slow clients only.
    *octets = Vec::new();
    Ok(true)
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn broken(trouble: Trouble) -> io::Error {
    // Of the connection, not of the file (`fault`).
    io::Error::new(io::ErrorKind::ConnectionAborted, trouble)
}

impl Secure {
    fn is_full(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    fn has_input(&self) -> bool {
        self.ended.get() || self.cut_off.get() || !self.untaken.borrow().is_empty()
    }

    fn flush_some(&self, stream: &Stream) -> io::Result<bool> {
        flushed(stream, &mut self.unsent.borrow_mut())
    }

    /// Sends what is left over; waits for room.
    async fn flush(&self, stream: &Stream) -> io::Result<()> {
        while !self.flush_some(stream)? {
            stream.writable().await?;
        }
        Ok(())
    }

    /// Everything sealed is sent, and what the client said meanwhile is taken in and answered.
    async fn ready(&self, stream: &Stream) -> io::Result<()> {
        for _ in 0..LISTENS_MAX {
            self.flush(stream).await?;
            if self.listen(stream)? != Heard::Some && !self.is_full() {
                return Ok(());
            }
        }
        self.flush(stream).await
    }

    /// Takes in what the client says while it is spoken to: a change of keys, an alert. Anything else is
    /// dropped; but received, because a close with octets unread is a reset and could cost it the file.
    fn listen(&self, stream: &Stream) -> io::Result<Heard> {
        if self.ended.get() || self.cut_off.get() {
            return Ok(Heard::Nothing);
        }
        match self.hear(stream, HELLO, &mut |_| {}) {
            Ok(heard) => Ok(heard),
            Err(Broke::Trouble(trouble)) => {
                // The alert goes if there is room; nothing more will.
                self.flush_some(stream).unwrap_or_default();
                Err(broken(trouble))
            }
            Err(Broke::Gone(error)) => Err(error),
        }
    }

    fn hear(
        &self,
        stream: &Stream,
        most: usize,
        said: &mut dyn FnMut(&[u8]),
    ) -> Result<Heard, Broke> {
        let heard = receive(stream, most, |octets| {
            let mut unsent = self.unsent.borrow_mut();
            self.records.borrow_mut().receive(octets, &mut unsent, said)
        })?;
        match heard {
            Heard::End => self.ended.set(true),
            Heard::CutOff => self.cut_off.set(true),
            Heard::Some | Heard::Nothing => {}
        }
        Ok(heard)
    }

    /// Seals up to a portion of `plain` and sends what there is room for; how much.
    fn push(&self, stream: &Stream, plain: &[u8]) -> io::Result<usize> {
        self.push_by(stream, plain.len(), |records, room, _| {
            let count = plain.len().min(records.capacity(room.len()));
            records.lay_out(plain.get(..count).unwrap_or_default(), room);
            Ok(count)
        })
    }

    /// The same of a file; 0 at its end, `WouldBlock` when it is not in memory.
    fn push_file(&self, stream: &Stream, file: &File, at: u64, want: usize) -> io::Result<usize> {
        self.push_by(stream, want, |records, room, want| {
            let (head, stride) = (records.head(), records.stride());
            let mut left = want;
            let mut places = Vec::with_capacity(want.div_ceil(RECORD_BYTES));
            for place in room.chunks_mut(stride) {
                let count = left.min(RECORD_BYTES);
                if count > 0
                    && let Some(place) = place.get_mut(head..head + count)
                {
                    places.push(io::IoSliceMut::new(place));
                    left -= count;
                }
            }
            file.read_ready(&mut places, at)
        })
    }

    /// Lets `fill` put plain octets where they are to be sealed, seals them there, and sends what there
    /// is room for. How many octets `fill` gave.
    fn push_by(
        &self,
        stream: &Stream,
        want: usize,
        fill: impl FnOnce(&Records, &mut [u8], usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_BYTES, 0);
            let mut records = self.records.borrow_mut();
            let mut unsent = self.unsent.borrow_mut();
            let want = want.min(records.capacity(scratch.len()));
            let plain = fill(&records, scratch, want)?;
            records.prepare(plain.div_ceil(RECORD_BYTES), &mut unsent).map_err(broken)?;
            let sealed = records.seal(scratch, plain).map_err(broken)?;
            let sealed = scratch.get(..sealed).unwrap_or_default();
            // What is to be said first, a change of keys, goes first.
            let sent = if unsent.is_empty() { stream.send_ready(sealed) } else { Ok(0) };
            let sent = match sent {
                Ok(sent) => sent,
                Err(error) if later(&error) => 0,
                Err(error) => return Err(error),
            };
            unsent.extend_from_slice(sealed.get(sent..).unwrap_or_default());
            Ok(plain)
        })
    }

    /// Opens what is there, into `room`. `WouldBlock` when nothing is; 0 at the end.
    fn take(&self, stream: &Stream, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.take_untaken(room);
            if count > 0 || self.ended.get() || self.cut_off.get() {
                return Ok(count);
            }
            // What is opened fits into the room, but for one record that was begun before.
            let most = room.len().clamp(HELLO, SCRATCH_BYTES);
            let (mut filled, mut over) = (0, Vec::new());
            let mut keep = |said: &[u8]| {
                let fits = said.len().min(room.len() - filled);
                let (now, later) = said.split_at(fits);
                room.get_mut(filled..filled + fits).unwrap_or_default().copy_from_slice(now);
                filled += fits;
                over.extend_from_slice(later);
            };
            let heard = self.hear(stream, most, &mut keep);
            self.untaken.borrow_mut().append(&mut over);
            match heard {
                _ if filled > 0 => return Ok(filled),
                Ok(Heard::Nothing) => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(Heard::Some | Heard::End | Heard::CutOff) => {}
                Err(Broke::Trouble(trouble)) => {
                    // The alert goes if there is room; nothing more will.
                    self.flush_some(stream).unwrap_or_default();
                    return Err(broken(trouble));
                }
                Err(Broke::Gone(error)) => return Err(error),
            }
        }
    }

    fn take_untaken(&self, room: &mut [u8]) -> usize {
        let mut untaken = self.untaken.borrow_mut();
        let count = untaken.len().min(room.len());
        room.get_mut(..count)
            .unwrap_or_default()
            .copy_from_slice(untaken.get(..count).unwrap_or_default());
        untaken.drain(..count);
        if untaken.is_empty() {
            *untaken = Vec::new();
        }
        count
    }
}
