//! smtp::session – the dialogue of one connection.
//!
//! Promises: one reply per command, in order; every `(state, command)` is decided in one `match`.
//! Not here: the words of replies (`reply.rs`), what a command means to the machine (`step.rs`).

use std::net::SocketAddr;
use std::rc::Rc;

use super::step::{Answer, Next, Timer};
use crate::wire::data::BareNewlines;
use crate::wire::outbox::Outbox;

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the file")]
pub struct Settings {
    /// Our name in replies and trace headers.
    pub hostname: String,
    /// Text after the name in the greeting.
    pub banner: String,
    /// Octets of one message (SIZE).
    pub message_bytes_max: u64,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// Messages of one session; 0 = no limit.
    pub messages_max: u32,
    /// What becomes of bare CR and LF in DATA.
    pub bare_newlines: BareNewlines,
    /// Refuse a space after the colon, and paths without `<>`.
    pub strict_syntax: bool,
    /// Tell the truth to VRFY; 252 otherwise.
    pub verify: bool,
    /// Offer EXPN.
    pub expand: bool,
    /// `Received` lines that make a message a loop (554 5.4.6).
    pub hops_max: u32,
    /// Errors before 421.
    pub errors_max: u32,
    /// Seconds between commands.
    pub idle_seconds: u32,
}

/// One connection's dialogue.
#[derive(Debug)]
pub struct Session;

impl Session {
    /// A new session; its greeting is in `out`.
    pub fn new(
        settings: Rc<Settings>,
        local: SocketAddr,
        peer: SocketAddr,
        out: &mut Outbox,
    ) -> Self {
        let _ = (settings, local, peer, out);
        todo!()
    }

    /// Consumes from the front of `input` until something must be done.
    pub fn advance<'a>(&mut self, input: &mut &'a [u8], out: &mut Outbox) -> Next<'a> {
        let _ = (input, out);
        todo!()
    }

    /// Reports what came of [`Next::Ask`] or [`Next::Commit`].
    pub fn resume(&mut self, answer: Answer, out: &mut Outbox) {
        let _ = (answer, out);
        todo!()
    }

    /// The draft cannot take what [`Next::Body`] gave: read on to the end of the message, then refuse once.
    pub fn poison(&mut self, fault: super::step::Fault) {
        let _ = fault;
        todo!()
    }

    /// Octets came before the greeting went out: refuse and close (the greeting is not sent).
    pub fn early(&mut self, out: &mut Outbox) {
        let _ = out;
        todo!()
    }

    /// The deadline passed, or the message came too slowly: 421 4.4.2, then close.
    pub fn timeout(&mut self, out: &mut Outbox) {
        let _ = out;
        todo!()
    }

    /// The server stops: 421 4.3.2 as soon as the command (or message) under way is answered, then close.
    pub fn drain(&mut self, out: &mut Outbox) {
        let _ = out;
        todo!()
    }

    /// Which deadline counts now.
    pub fn timer(&self) -> Timer {
        todo!()
    }

    /// Is a message being received (then large receives pay)?
    pub fn in_message(&self) -> bool {
        todo!()
    }
}
