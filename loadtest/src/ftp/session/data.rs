//! ftp::session::data – the data connection of an operation: opened, fed, ended, and what came of it.
//!
//! Promises: an operation is done only when the server said so, the connection ended properly and every
//! octet came; one that was cut short on purpose leaves the session usable.
//! Not here: the control connection (`session`).

use std::net::{IpAddr, SocketAddr};

use super::{CHUNK, CONTROL, DATA, Dialogue, Part, State};
use crate::client::pattern;
use crate::engine::session::{Io, Moved, Nanoseconds, Payload, Receive};
use crate::ftp::reply::{self, Reply};
use crate::ftp::transfer::{Data, Transfer};
use crate::ftp::work::{AbortBy, Expected, Job, Verb};
use crate::ftp::{DataMode, phase};

impl Dialogue {
    /// Asks for a data connection for the part of the operation that is next.
    pub(super) fn open_data(&mut self, io: &mut Io) {
        let Some(job) = &self.job else { return };
        let verb = if self.part == Part::ReadingBack { Verb::Retr } else { job.verb };
        let looked_at = self.ftp.checksum || self.part == Part::ReadingBack;
        let mut transfer = Transfer::new(verb, looked_at);
        match self.part {
            Part::First if job.verb.stores() && job.offset > 0 => {
                transfer.content = (job.content.0, job.offset);
            }
            Part::Second => {
                transfer.content = job.content;
                transfer.offset = job.offset;
            }
            Part::First => {
                transfer.content = job.content;
                transfer.offset = job.offset;
                let file = job.file.and_then(|at| self.ftp.work.files.get(at));
                if let Some((seed, size)) = file.and_then(|file| file.seed.zip(file.size)) {
                    let pieces = vec![(seed, size)];
                    transfer.expected = looked_at.then(|| Expected::new(pieces, job.offset));
                }
            }
            Part::ReadingBack => {
                let appended = job.verb == Verb::Appe;
                let pieces =
                    if appended { self.appended.pieces.clone() } else { vec![job.content] };
                transfer.expected = Some(Expected::new(pieces, 0));
            }
        }
        self.transfer = Some(transfer);
        match self.ftp.data {
            DataMode::Epsv => self.command(io, State::Passive, "EPSV"),
            DataMode::Pasv => self.command(io, State::Passive, "PASV"),
            DataMode::Eprt | DataMode::Port => {
                self.state = State::Passive;
                self.since = io.now();
                io.listen(DATA, self.ftp.local, self.receive());
            }
        }
    }

    pub(super) fn receive(&self) -> Receive {
        let Some((transfer, job)) = self.transfer.as_ref().zip(self.job.as_ref()) else {
            return Receive::Off;
        };
        match transfer.verb {
            // TLS reads what it needs all the same.
            Verb::Stor | Verb::Appe => Receive::Off,
            _ if transfer.looked_at || job.abort_after.is_some() => Receive::Bulk,
            _ => Receive::Drop,
        }
    }

    pub(super) fn on_listening(&mut self, address: SocketAddr, io: &mut Io) {
        let port = address.port();
        let line = match (self.ftp.data, address.ip()) {
            (DataMode::Port, IpAddr::V4(ip)) => {
                let [a, b, c, d] = ip.octets();
                let [high, low] = port.to_be_bytes();
                format!("PORT {a},{b},{c},{d},{high},{low}")
            }
            (_, ip) => {
                let family = if ip.is_ipv4() { 1 } else { 2 };
                format!("EPRT |{family}|{ip}|{port}|")
            }
        };
        self.command(io, State::Passive, &line);
    }

    pub(super) fn on_data_ready(&mut self, reply: &Reply, io: &mut Io) {
        let port = match (self.ftp.data, reply.code) {
            (DataMode::Epsv, 229) => reply::epsv_port(&reply.text),
            // The address in it is not looked at: a server must not send us to a third host.
            (DataMode::Pasv, 227) => reply::pasv_address(&reply.text).map(|address| address.port()),
            (DataMode::Eprt | DataMode::Port, 200) => None,
            _ => {
                self.refused(reply, io);
                return;
            }
        };
        io.phase(phase::PASSIVE, self.since);
        if matches!(self.ftp.data, DataMode::Epsv | DataMode::Pasv) {
            let Some(port) = port else {
                self.fail(io, "address in its reply not understood", true);
                return;
            };
            io.connect(DATA, SocketAddr::new(self.ftp.address.ip(), port), self.receive());
        }
        let offset = self.transfer.as_ref().map_or(0, |transfer| transfer.offset);
        if offset > 0 {
            self.command(io, State::Rest, &format!("REST {offset}"));
        } else {
            self.transfer(io);
        }
    }

    /// Sends the command that moves the file.
    pub(super) fn transfer(&mut self, io: &mut Io) {
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        transfer.commanded_at = io.now();
        let name = transfer.verb.name();
        let space = if job.path.is_empty() { "" } else { " " };
        let line = format!("{name}{space}{}", job.path);
        self.command(io, State::Transfer, &line);
    }

    pub(super) fn on_data_open(&mut self, io: &mut Io) {
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        if job.slow && self.part != Part::ReadingBack {
            io.pace(DATA, self.ftp.slow_rate);
        }
        match &self.client {
            Some(client) if self.ftp.data_tls && transfer.data == Data::Opening => {
                io.secure(DATA, client.clone());
            }
            _ => {
                transfer.data = Data::Open;
                self.feed(io);
            }
        }
    }

    pub(super) fn on_data_secured(&mut self, resumed: bool, io: &mut Io) {
        io.count(if resumed { "TLS resumed on data" } else { "TLS full on data" }, 1);
        if let Some(transfer) = &mut self.transfer {
            transfer.data = Data::Open;
            self.feed(io);
        }
    }

    /// Queues the next octets of an upload, or ends it.
    pub(super) fn feed(&mut self, io: &mut Io) {
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        if !transfer.verb.stores() || !transfer.begun || transfer.data != Data::Open {
            return;
        }
        if job.abort_after.is_some_and(|after| transfer.moved >= after) {
            self.abort(io);
            return;
        }
        let remaining = transfer.remaining();
        if remaining == 0 {
            transfer.last_at = Some(io.now());
            io.phase(phase::LAST, transfer.commanded_at);
            transfer.data = Data::Ended;
            // In TLS tickets lie unread: a close would reset, and take the upload's end with it.
            if self.ftp.data_tls {
                io.shutdown(DATA)
            } else {
                io.close(DATA)
            }
            return;
        }
        let until_abort = job.abort_after.map_or(u64::MAX, |after| after - transfer.moved);
        let at = transfer.offset + transfer.moved;
        let run = pattern::run_at(transfer.content.0, at, remaining.min(CHUNK).min(until_abort));
        transfer.moved += run.len() as u64;
        io.send(DATA, Payload::Static(run));
    }

    pub(super) fn on_data(&mut self, octets: Result<&[u8], u64>, io: &mut Io) {
        let now = io.now();
        let Some((transfer, job)) = self.transfer.as_mut().zip(self.job.as_ref()) else { return };
        if transfer.verb.stores() {
            return;
        }
        if transfer.first_at.is_none() && self.part == Part::First {
            io.phase(phase::FIRST, transfer.commanded_at);
        }
        match octets {
            Ok(octets) => transfer.received(octets, now),
            Err(count) => transfer.dropped(count, now),
        }
        let abort = job.abort_after.is_some_and(|after| transfer.moved >= after);
        if abort && !transfer.aborted {
            self.abort(io);
        }
    }

    /// Cuts the transfer short.
    pub(super) fn abort(&mut self, io: &mut Io) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.aborted = true;
        match self.ftp.abort_by {
            AbortBy::Abor => {
                io.say(CONTROL, "ABOR\r\n");
                // One for the transfer, one for ABOR: RFC 959 §4.1.3.
                transfer.replies_missing += 1;
                if transfer.verb.stores() {
                    // A server that reads ABOR after the transfer only would wait for its end.
                    io.close(DATA);
                }
            }
            AbortBy::Reset => io.reset(DATA),
            AbortBy::Close => io.close(DATA),
        }
        // The final reply may have come before the octets it is about.
        self.settle(io);
    }

    pub(super) fn on_data_end(&mut self, end: Result<bool, String>, io: &mut Io) {
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.data == Data::Ended {
            return;
        }
        transfer.data = match end {
            Err(why) => Data::Failed(why),
            Ok(_) if transfer.verb.stores() => Data::Failed("closed by the server".to_owned()),
            Ok(clean) => {
                if !clean {
                    io.count("TLS data cut off without its alert", 1);
                }
                transfer.last_at = Some(io.now());
                if self.part == Part::First && !transfer.aborted {
                    io.phase(phase::LAST, transfer.commanded_at);
                }
                Data::Ended
            }
        };
        io.close(DATA);
        self.settle(io);
    }

    pub(super) fn on_transfer_reply(&mut self, reply: &Reply, io: &mut Io) {
        let Some(transfer) = &mut self.transfer else { return };
        if (100..200).contains(&reply.code) {
            if !transfer.begun {
                transfer.begun = true;
                if transfer.verb == Verb::Retr {
                    transfer.announced = reply::announced(&reply.text);
                }
                self.feed(io);
            }
            return;
        }
        transfer.replies_missing = transfer.replies_missing.saturating_sub(1);
        // Of an abort's two the first is the transfer's and the second ABOR's: a refusal counts.
        let before = transfer.reply.unwrap_or_default();
        if !(transfer.aborted && before >= 500) {
            transfer.reply = Some(reply.code);
        }
        if let Some(last) = transfer.last_at.filter(|_| self.part == Part::First)
            && !transfer.aborted
        {
            io.phase(phase::FINAL, last);
        }
        self.settle(io);
    }

    /// Ends the transfer when both of its ends are in.
    pub(super) fn settle(&mut self, io: &mut Io) {
        if !self.transfer.as_ref().is_some_and(Transfer::is_over) {
            return;
        }
        let Some((transfer, job)) = self.transfer.take().zip(self.job.clone()) else { return };
        io.close(DATA);
        self.state = State::Idle;
        let file = job.file.and_then(|at| self.ftp.work.files.get(at));
        let file = file.filter(|_| self.part != Part::ReadingBack);
        if let Err(what) = transfer.verdict(&job, file) {
            let at = if self.part == Part::ReadingBack { "read back" } else { job.verb.name() };
            let gone = transfer.reply == Some(421);
            self.fail_at(io, at, what, gone);
            return;
        }
        let (received, sent) =
            if transfer.verb.stores() { (0, transfer.moved) } else { (transfer.moved, 0) };
        match self.part {
            Part::ReadingBack => self.tidy(&job, io),
            Part::First if job.verb == Verb::Stor && job.offset > 0 && !transfer.aborted => {
                self.part = Part::Second;
                self.open_data(io);
            }
            Part::First | Part::Second => {
                let kind = if transfer.aborted { Verb::ABORTED } else { job.verb as usize };
                let halves = if self.part == Part::Second { job.offset } else { 0 };
                self.ended = Some((kind, Moved { received, sent: sent + halves }, io.now()));
                if job.verb == Verb::Appe {
                    self.appended.pieces.push(job.content);
                }
                if self.ftp.checksum && job.verb.stores() && !transfer.aborted {
                    self.part = Part::ReadingBack;
                    self.open_data(io);
                } else {
                    self.tidy(&job, io);
                }
            }
        }
    }

    /// Deletes what was stored, if asked to, and completes the operation.
    pub(super) fn tidy(&mut self, job: &Job, io: &mut Io) {
        if self.ftp.delete && job.verb.stores() {
            self.appended.next();
            self.command(io, State::Dele, &format!("DELE {}", job.path));
            return;
        }
        self.complete_ended(io);
    }

    pub(super) fn complete_ended(&mut self, io: &mut Io) {
        if let Some((kind, moved, at)) = self.ended.take() {
            self.complete(io, kind, moved, at);
        }
    }

    pub(super) fn complete(&mut self, io: &mut Io, kind: usize, moved: Moved, at: Nanoseconds) {
        self.operations += 1;
        let last = self.ftp.operations_per_session;
        if kind == Verb::Login as usize || (last > 0 && self.operations >= last) {
            self.ended = Some((kind, moved, at));
            self.command(io, State::Quit, "QUIT");
            return;
        }
        self.job = None;
        self.state = State::Idle;
        io.done_at(kind, moved, at);
    }
}
