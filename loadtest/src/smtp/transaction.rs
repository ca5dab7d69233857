//! smtp::transaction – one message over a connection that is ready: MAIL, RCPT, DATA or BDAT, the answer.
//!
//! Promises: what the server refuses is a failure by command and code, and leaves the dialogue in step
//! (RFC 2920 §3.1: after a pipelined DATA that is answered 354 in spite of it comes an empty message);
//! the journal has a message before its last octets are out, and its answer before the next begins.
//! A hostile message that is refused is no failure; one that a server takes for two is.
//! Not here: how a connection becomes ready (`dialogue`).

use std::sync::Arc;

use super::corpus::{Body, Form};
use super::dialogue::{Expect, Session, Task};
use super::mail::{Kind, Mail, Phase};
use super::{queueid, wire};
use crate::engine::session::{Io, Moved, Nanoseconds, Payload};

/// Chunks on their way without an answer.
const CHUNKS_AHEAD: usize = 16;

/// One message on its way.
#[derive(Debug)]
pub(super) struct Message {
    number: u64,
    /// Its mark.
    id: String,
    head: Arc<[u8]>,
    /// Of the addresses of a run, those whose RCPT was taken.
    accepted: Vec<usize>,
    /// When MAIL went out.
    begun: Nanoseconds,
    /// When the newest of DATA and BDAT went out.
    asked: Nanoseconds,
    /// When its last octet was queued or, once known, was in the kernel's hands.
    last: Option<Nanoseconds>,
    /// Octets of head and body that went out in chunks.
    chunked: usize,
    /// What went wrong first.
    failure: Option<(&'static str, u16)>,
    /// The answer to a hostile one, and replies beyond it.
    answer: u16,
    answered: Nanoseconds,
    extra: u64,
}

impl Message {
    pub(super) fn new(mail: &Mail, number: u64) -> Self {
        let id = format!("{}.{number}", mail.run);
        let head = mail.corpus.body(number).head(&id).into_bytes().into();
        Self {
            number,
            id,
            head,
            accepted: Vec::new(),
            begun: 0,
            asked: 0,
            last: None,
            chunked: 0,
            failure: None,
            answer: 0,
            answered: 0,
            extra: 0,
        }
    }

    /// Everything queued so far is in the kernel's hands.
    pub(super) fn handed_over(&mut self, now: Nanoseconds) {
        if self.last.is_some() {
            self.last = Some(now);
        }
    }

    fn octets(&self, body: &Body) -> usize {
        self.head.len() + body.octets
    }
}

impl Session {
    /// The task is a message; the connection is ready.
    pub(super) fn begin_message(&mut self, io: &mut Io) {
        let mail = Arc::clone(&self.mail);
        let Task::Message(message) = &mut self.task else { return };
        message.begun = io.now();
        let body = mail.corpus.body(message.number);
        let chunking = mail.corpus.form() == Form::Chunks;
        if chunking && !self.offered.chunking {
            return self.broken(io, "EHLO", "CHUNKING is not offered");
        }
        let mut line = format!("MAIL FROM:<{}>", mail.from);
        if self.offered.size {
            line.push_str(&format!(" SIZE={}", message.octets(body)));
        }
        if body.eight_bit && self.offered.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        line.push_str("\r\n");
        let number = message.number;
        self.messages += 1;
        self.expects.push_back(Expect::Mail);
        if !self.pipelines() {
            return self.put(io, Payload::Owned(line.into_bytes()));
        }
        for address in mail.recipients(number) {
            line.push_str(&format!("RCPT TO:<{}>\r\n", mail.addresses[address]));
            self.expects.push_back(Expect::Recipient(address));
        }
        if !chunking {
            line.push_str("DATA\r\n");
            self.expects.push_back(Expect::Data);
            self.asked(io);
        }
        self.put(io, Payload::Owned(line.into_bytes()));
        if chunking {
            self.asked(io);
            self.chunks(io);
        }
    }

    fn pipelines(&self) -> bool {
        self.mail.pipelining && self.offered.pipelining
    }

    fn asked(&mut self, io: &Io) {
        if let Task::Message(message) = &mut self.task {
            message.asked = io.now();
        }
    }

    /// A reply to a command of a transaction.
    pub(super) fn message_replied(&mut self, expect: Expect, code: u16, text: &[u8], io: &mut Io) {
        // RFC 5321 §4.2.1: the first digit is what counts – but 220 and 221 accept nothing.
        let class = if code / 10 == 22 { 0 } else { code / 100 };
        match (expect, class) {
            (Expect::Mail, 2) => self.next_command(expect, io),
            (Expect::Recipient(address), 2) => {
                if let Task::Message(message) = &mut self.task {
                    message.accepted.push(address);
                }
                self.recipient_answered(address, io);
            }
            (Expect::Recipient(address), 4 | 5) => {
                io.count("recipients refused", 1);
                self.recipient_refused(address, code, io);
            }
            (Expect::Data, 3) if code == 354 => self.data(io),
            (Expect::Chunk, 2) => self.chunk_taken(io),
            (Expect::End, 2 | 4 | 5) => self.answered(code, text, io),
            (Expect::Nothing | Expect::Reset, 2 | 4 | 5) => self.over(io),
            (Expect::Proof, _) => self.proof(code, io),
            (Expect::Mail | Expect::Data | Expect::Chunk, 4 | 5) => {
                self.refused(stage(expect), code);
                self.settle(io);
            }
            _ => self.broken(io, stage(expect), format!("unexpected {code}")),
        }
    }

    /// What comes after a command that was taken, when commands go one by one.
    fn next_command(&mut self, after: Expect, io: &mut Io) {
        if self.pipelines() {
            return;
        }
        let mail = Arc::clone(&self.mail);
        let Task::Message(message) = &self.task else { return };
        let number = message.number;
        let next = match after {
            Expect::Recipient(address) => {
                mail.recipients(number).skip_while(|&one| one != address).nth(1)
            }
            _ => mail.recipients(number).next(),
        };
        if let Some(address) = next {
            self.expects.push_back(Expect::Recipient(address));
            let line = format!("RCPT TO:<{}>\r\n", mail.addresses[address]);
            self.put(io, Payload::Owned(line.into_bytes()));
        } else if message.accepted.is_empty() {
            self.settle(io);
        } else {
            self.asked(io);
            if mail.corpus.form() == Form::Chunks {
                self.chunks(io);
            } else {
                self.expects.push_back(Expect::Data);
                self.put(io, Payload::Static(b"DATA\r\n"));
            }
        }
    }

    fn recipient_answered(&mut self, address: usize, io: &mut Io) {
        let last = !matches!(self.expects.front(), Some(Expect::Recipient(_)));
        let Task::Message(message) = &mut self.task else { return };
        let all = self.mail.recipients(message.number).last() == Some(address);
        if last && all && !message.accepted.is_empty() {
            io.phase(Phase::Envelope.index(), message.begun);
            // One that was taken is enough; if none was, the first refusal is what failed.
            message.failure.take_if(|(at, _)| *at == "RCPT");
        }
        self.next_command(Expect::Recipient(address), io);
    }

    fn recipient_refused(&mut self, address: usize, code: u16, io: &mut Io) {
        self.refused("RCPT", code);
        self.recipient_answered(address, io);
    }

    fn refused(&mut self, at: &'static str, code: u16) {
        if let Task::Message(message) = &mut self.task {
            message.failure.get_or_insert((at, code));
        }
    }

    // ---------------------------------------------------------------- content

    /// After 354.
    fn data(&mut self, io: &mut Io) {
        let mail = Arc::clone(&self.mail);
        let Task::Message(message) = &mut self.task else { return };
        io.phase(Phase::Data.index(), message.asked);
        if message.failure.is_some() || message.accepted.is_empty() {
            self.expects.push_back(Expect::Nothing);
            return self.put(io, Payload::Static(wire::END));
        }
        let body = mail.corpus.body(message.number);
        if !mail.journal(|journal| journal.sent(&message.id, body)) {
            return self.broken(io, "journal", "it cannot be written");
        }
        message.last = Some(io.now());
        let head = Payload::Shared(Arc::clone(&message.head), 0..message.head.len());
        self.expects.push_back(Expect::End);
        self.put(io, head);
        self.put(io, Payload::Shared(Arc::clone(&body.wire), 0..body.wire.len()));
    }

    /// As many chunks as may be on their way.
    fn chunks(&mut self, io: &mut Io) {
        let mail = Arc::clone(&self.mail);
        let ahead = if self.pipelines() { CHUNKS_AHEAD } else { 1 };
        let Task::Message(message) = &self.task else { return };
        let body = mail.corpus.body(message.number);
        let whole = message.octets(body);
        while let Task::Message(message) = &mut self.task {
            let open = self.expects.iter().filter(|&&one| one == Expect::Chunk).count();
            if message.last.is_some() || open >= ahead || message.failure.is_some() {
                return;
            }
            let begin = message.chunked;
            let end = whole.min(begin + mail.chunk_octets);
            message.chunked = end;
            let last = end == whole;
            if last {
                if !mail.journal(|journal| journal.sent(&message.id, body)) {
                    return self.broken(io, "journal", "it cannot be written");
                }
                message.last = Some(io.now());
            }
            let command = if last { " LAST\r\n" } else { "\r\n" };
            let command = format!("BDAT {}{command}", end - begin);
            let head = Arc::clone(&message.head);
            self.expects.push_back(if last { Expect::End } else { Expect::Chunk });
            self.put(io, Payload::Owned(command.into_bytes()));
            let split = head.len().clamp(begin, end);
            let (from, upto) =
                (split.max(head.len()) - head.len(), end.max(head.len()) - head.len());
            if split > begin {
                self.put(io, Payload::Shared(head, begin..split));
            }
            if upto > from {
                self.put(io, Payload::Shared(Arc::clone(&body.wire), from..upto));
            }
        }
    }

    fn chunk_taken(&mut self, io: &mut Io) {
        if let Task::Message(message) = &self.task
            && message.failure.is_some()
        {
            return self.settle(io);
        }
        self.chunks(io);
    }

    // ---------------------------------------------------------------- the end

    /// The answer to a whole message.
    fn answered(&mut self, code: u16, text: &[u8], io: &mut Io) {
        let mail = Arc::clone(&self.mail);
        let Task::Message(message) = &mut self.task else { return };
        let accepted = code / 100 == 2;
        let written = mail.journal(|journal| {
            if !accepted {
                return journal.refused(&message.id, code);
            }
            let words = super::reply::lines(text).last().unwrap_or_default();
            let to = message.accepted.iter().map(|&address| mail.addresses[address].as_str());
            let queue_id = queueid::parse(words);
            if queue_id.is_none() {
                io.count("messages accepted without a queue id", 1);
            }
            journal.accepted(&message.id, queue_id, to)
        });
        if !written {
            return self.broken(io, "journal", "it cannot be written");
        }
        if accepted && let Some(last) = message.last {
            io.phase(Phase::End.index(), last);
            io.phase(Phase::Transaction.index(), message.begun);
        }
        message.answer = code;
        message.answered = io.now();
        let body = mail.corpus.body(message.number);
        if body.hostile.is_some_and(super::hostile::Hostile::smuggles) {
            self.expects.push_back(Expect::Proof);
            return self.put(io, Payload::Static(b"QUIT\r\n"));
        }
        if !accepted && body.hostile.is_none() {
            // A chunk that was refused before it says more than what LAST is answered then.
            message.failure.get_or_insert(("end of data", code));
        }
        self.settle(io);
    }

    /// A reply behind that to a smuggling message: 221 and nothing else is right.
    fn proof(&mut self, code: u16, io: &mut Io) {
        if code != 221 && code != 421 {
            if let Task::Message(message) = &mut self.task {
                message.extra += 1;
            }
            self.expects.push_front(Expect::Proof);
            return;
        }
        self.proved(io);
    }

    /// All replies to a smuggling message are there.
    pub(super) fn proved(&mut self, io: &mut Io) {
        let Task::Message(message) = &self.task else { return };
        let (extra, answered, kind) = (message.extra, message.answered, self.kind(message));
        let octets = self.octets();
        if extra > 0 {
            return self.broken(io, "end of data", "smuggled: more replies than messages");
        }
        self.task = Task::Nothing;
        // The proof is ours, not part of what the server was asked to do.
        io.done_at(kind.index(), Moved { received: 0, sent: octets }, answered);
        self.hang_up(io);
    }

    fn kind(&self, message: &Message) -> Kind {
        match (self.mail.corpus.body(message.number).hostile, message.answer / 100) {
            (None, _) => Kind::Message,
            (Some(_), 2) => Kind::HostileAccepted,
            (Some(_), _) => Kind::HostileRefused,
        }
    }

    fn octets(&self) -> u64 {
        let Task::Message(message) = &self.task else { return 0 };
        message.octets(self.mail.corpus.body(message.number)) as u64
    }

    /// When nothing is outstanding: done, or RSET after what failed in the middle.
    fn settle(&mut self, io: &mut Io) {
        if !self.expects.is_empty() {
            return;
        }
        let Task::Message(message) = &self.task else { return };
        if message.answer == 0 {
            self.expects.push_back(Expect::Reset);
            return self.put(io, Payload::Static(b"RSET\r\n"));
        }
        self.over(io);
    }

    /// The transaction is over and the dialogue in step.
    fn over(&mut self, io: &mut Io) {
        let octets = self.octets();
        let Task::Message(message) = std::mem::replace(&mut self.task, Task::Nothing) else {
            return;
        };
        let kind = self.kind(&message);
        match message.failure {
            Some((at, code)) => io.failed(at, code.to_string()),
            None => io.done(kind.index(), 0, octets),
        }
        if self.messages >= self.mail.messages_per_connection {
            self.part(io);
        }
    }
}

fn stage(expect: Expect) -> &'static str {
    super::dialogue::stage_of(expect)
}
