//! ftp::session – the dialogue of RFC 959 as a value.

use std::net::SocketAddr;
use std::rc::Rc;

use super::step::{Answer, Next, News};
use crate::wire::outbox::Outbox;

/// What every session of a listener has in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name in the greeting.
    pub hostname: String,
    /// Lines before the greeting's last; empty for none.
    pub banner: String,
    /// Is anonymous login on? (Asked all the same; this is for texts only.)
    pub anonymous: bool,
    /// Wrong passwords before 421.
    pub login_failures_max: u8,
    /// Address announced by PASV instead of the local one.
    pub passive_address: Option<std::net::Ipv4Addr>,
    /// Idle limit a client may ask for with SITE IDLE, seconds.
    pub idle_seconds_max: u32,
    /// Idle limit without SITE IDLE, seconds.
    pub idle_seconds: u32,
    /// Code page of TYPE E.
    pub code_page: super::convert::CodePage,
}

/// Which limit runs while the session waits. The driver owns the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Not logged in yet: runs from the connection's start, whatever arrives.
    Login,
    /// Logged in and idle: seconds since the last command.
    Idle(u32),
    /// A transfer runs; the driver watches that instead.
    None,
}

/// One control connection's dialogue.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A new session; its greeting is in `out`.
    pub fn new(_settings: Rc<Settings>, _local: SocketAddr, _peer: SocketAddr, _out: &mut Outbox) -> Self {
        todo!()
    }
    /// Consumes from the front of `input` until something must be done. All of `input` is consumed
    /// when it returns `Next::Receive`, unless `wants_input` is false.
    pub fn advance(&mut self, _input: &mut &[u8], _out: &mut Outbox) -> Next {
        todo!()
    }
    /// Reports what came of `Next::Ask` or `Next::Listen`.
    pub fn resume(&mut self, _answer: Answer, _out: &mut Outbox) {
        todo!()
    }
    /// Reports what became of the running transfer.
    pub fn transfer(&mut self, _news: News, _out: &mut Outbox) {
        todo!()
    }
    /// Octets moved so far, for STAT. Called by the driver before `advance` while a transfer runs.
    pub fn progress(&mut self, _bytes: u64) {
        todo!()
    }
    /// May more input be given? False while lines deferred during a transfer fill their bound.
    pub fn wants_input(&self) -> bool {
        todo!()
    }
    /// Which limit runs now.
    pub fn timer(&self) -> Timer {
        todo!()
    }
    /// The limit of `timer()` passed: 421, then `advance` gives `Next::Close`.
    pub fn timeout(&mut self, _out: &mut Outbox) {
        todo!()
    }
    /// The server is going down: 421 now, or after the running transfer; then `advance` gives `Next::Close`.
    pub fn drain(&mut self, _out: &mut Outbox) {
        todo!()
    }
    /// The account, once logged in.
    pub fn account(&self) -> Option<&super::step::Account> {
        todo!()
    }
}
