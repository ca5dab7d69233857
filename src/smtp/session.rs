//! smtp::session – the dialogue of RFC 5321 as a value.
//!
//! ```text
//!  Idle ──MAIL──▶ Mail ──DATA──▶ Data ──end──────────────▶ Commit ─▶ Idle
//!                  │ └──BDAT──▶ Chunk ◀──BDAT── Chunks      ▲
//!                RSET, EHLO       └──end──▶──────┘ └──LAST──┘
//!  LMTP: Commit ─▶ Telling, one reply per recipient ─▶ Idle
//!  Idle ──AUTH──▶ Auth ⇄ 334 ─▶ Idle      Idle ──STARTTLS──▶ Securing ──secured──▶ Idle, nothing known
//! ```
//! Octets enter at `advance`, what came of a question at `resume`. Replies leave in the outbox,
//! everything else as one [`Next`]. What may come when is decided in `Session::order`, what a command
//! does in `Session::command`; the handlers sit by subject: `security`, `transaction`, `receive`, `telling`,
//! `vouching`, `texts`.
//!
//! Promises: one reply per command, in order; replies and message octets do not depend on how the
//! input is split; after [`Next::Begin`] comes either [`Next::Commit`] or [`Next::Discard`]; an idle
//! session holds no buffer.
//! Not here: the words of replies (`reply`), what a command means to the machine (`step`), clocks.

mod receive;
mod security;
mod telling;
mod texts;
mod transaction;
mod vouching;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use self::receive::{Chunk, Receiving};
use self::security::Broken;
pub use self::security::{Security, Tls};
use self::telling::Telling;
use self::transaction::Transaction;
pub use self::vouching::Trust;
use self::vouching::Vouched;
use super::address::Mailbox;
use super::command::{self, Command, Malformed, Syntax, Verb, Why};
use super::envelope::Envelope;
use super::line::{Line, Lines, wipe};
use super::reply::{self, Reply, Words};
use super::step::{Answer, Fault, Next, Timer};
use crate::limits;
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
    /// Octets of one message (SIZE); 0 = no limit.
    pub message_bytes_max: u64,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// Messages of one session, that is MAIL commands answered 250 (RFC 9422 §4.1); 0 = no limit.
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
    /// Errors before 421: commands that are unknown, malformed or out of order, and senders and
    /// recipients refused for good. An accepted message sets the count to 0, as with Postfix: a client
    /// that delivers is no guesser. 0 = no limit.
    pub errors_max: u32,
    /// Seconds between commands.
    pub idle_seconds: u32,
    /// TLS and AUTH.
    pub security: Security,
    /// LMTP in place of SMTP (RFC 2033).
    pub lmtp: bool,
}

/// Where the dialogue is.
#[derive(Debug)]
enum State {
    /// No transaction.
    Idle,
    /// MAIL was accepted, or is being asked about.
    Mail(Transaction),
    /// After 354: the message.
    Data(Box<Receiving>),
    /// After BDAT: octets of a chunk.
    Chunk(Box<Receiving>, Chunk),
    /// Between two BDAT.
    Chunks(Box<Receiving>),
    /// Octets of a BDAT that is refused (RFC 3030 §2: they are read and discarded). `silent`: nobody is told.
    Skip { left: u64, silent: bool, then: Then },
    /// What came of a message is told to one recipient after the other.
    Telling(Box<Telling>),
    /// After 334: the client's response.
    Auth,
    /// After 220 to STARTTLS: nothing is read before the handshake is done.
    Securing,
    /// Nothing more: the connection is to be closed.
    Closing,
}

/// Where a refused BDAT leaves the dialogue when its octets are gone.
#[derive(Debug)]
enum Then {
    Idle,
    Mail(Transaction),
    Chunks(Box<Receiving>),
}

/// A question to the driver that is not answered yet.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Mail,
    /// About the last of the recipients.
    Rcpt,
    Verify {
        utf8: bool,
    },
    Expand {
        utf8: bool,
    },
    /// For so many recipients.
    Commit(u32),
    Auth,
    /// To forget an exchange; then it is said why.
    Forget(Broken),
    /// Whether a peer may speak for somebody.
    Client,
}

/// Why the session ends when nothing is under way.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Drain,
    Timeout,
}

/// One connection's dialogue.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about the client")]
pub struct Session {
    settings: Rc<Settings>,
    peer: SocketAddr,
    lines: Lines,
    /// The name given with HELO or EHLO.
    helo: Option<Box<str>>,
    /// It was EHLO.
    extended: bool,
    state: State,
    asked: Option<Asked>,
    /// A draft is open that nobody wants any more.
    discard: bool,
    ending: Option<Ending>,
    /// The client said QUIT.
    quit: bool,
    /// The last command was a DATA that was refused.
    data_refused: bool,
    /// Under TLS.
    secure: bool,
    /// After AUTH.
    authenticated: bool,
    errors: u32,
    /// Logins that failed.
    failures: u32,
    messages: u32,
    /// What the peer is believed.
    trust: Trust,
    /// What it said of the client it speaks for.
    vouched: Option<Box<Vouched>>,
}

impl Session {
    /// A new session; its greeting is in `out`.
    pub fn new(
        settings: Rc<Settings>,
        local: SocketAddr,
        peer: SocketAddr,
        out: &mut Outbox,
    ) -> Self {
        // Which address the client came to decides nothing: what a listener is for is in its settings.
        let _: SocketAddr = local;
        reply::greeting(&settings.hostname, &settings.banner, settings.lmtp, out);
        Self {
            settings,
            peer: canonical(peer),
            lines: Lines::new(),
            helo: None,
            extended: false,
            state: State::Idle,
            asked: None,
            discard: false,
            ending: None,
            errors: 0,
            quit: false,
            data_refused: false,
            secure: false,
            authenticated: false,
            failures: 0,
            messages: 0,
            trust: Trust::default(),
            vouched: None,
        }
    }

    /// Consumes from the front of `input` until something must be done. All of `input` is consumed
    /// when it returns [`Next::Receive`], unless the outbox is full (`limits::SMTP_OUTBOX_BYTES_MAX`).
    ///
    /// Call it after `new`, `resume`, `poison`, `early`, `timeout` and `drain` too, with what input
    /// there is, be it none.
    pub fn advance<'a>(&mut self, input: &mut &'a [u8], out: &mut Outbox) -> Next<'a> {
        loop {
            if std::mem::take(&mut self.discard) {
                return Next::Discard;
            }
            if self.asked.is_some() {
                return Next::Receive;
            }
            let next = match self.state {
                State::Closing => Some(Next::Close),
                State::Data(_) => self.data_octets(input, out),
                State::Chunk(..) => self.chunk_octets(input, out),
                State::Skip { .. } => self.skip_octets(input, out),
                State::Telling(_) => self.tell(out),
                State::Auth => self.response(input, out),
                State::Securing => Some(Next::Secure),
                State::Idle | State::Mail(_) | State::Chunks(_) => self.ready(input, out),
            };
            if let Some(next) = next {
                return next;
            }
        }
    }

    /// Reports what came of [`Next::Ask`] or [`Next::Commit`].
    pub fn resume(&mut self, answer: Answer, out: &mut Outbox) {
        match self.asked.take() {
            Some(Asked::Mail) => self.mail_answered(&answer, out),
            Some(Asked::Rcpt) => self.recipient_answered(&answer, out),
            Some(Asked::Verify { utf8 }) => self.verified(answer, utf8, out),
            Some(Asked::Expand { utf8 }) => self.expanded(&answer, utf8, out),
            Some(Asked::Commit(recipients)) => self.committed(&answer, recipients, out),
            Some(Asked::Auth) => self.auth_answered(&answer, out),
            Some(Asked::Forget(broken)) => {
                self.refuse(broken.reply(), out);
            }
            Some(Asked::Client) => self.client_answered(&answer, out),
            None => {}
        }
    }

    /// The draft cannot take what [`Next::Body`] gave: read on to the end of the message, then
    /// refuse once. [`Next::Discard`] follows at once.
    pub fn poison(&mut self, fault: Fault) {
        let (State::Data(receiving) | State::Chunk(receiving, _) | State::Chunks(receiving)) =
            &mut self.state
        else {
            return;
        };
        self.discard |= receiving.poison(fault);
    }

    /// Octets came before the greeting went out: refuse and close (the greeting is not sent).
    pub fn early(&mut self, out: &mut Outbox) {
        drop(out.take());
        self.close(reply::TOO_EARLY, out);
    }

    /// The deadline passed, or the message came too slowly: 421 4.4.2, then close.
    pub fn timeout(&mut self, out: &mut Outbox) {
        if self.asked.is_some() {
            self.ending = Some(Ending::Timeout);
        } else {
            self.close(reply::TIMEOUT, out);
        }
    }

    /// The server stops: 421 4.3.2 as soon as the command (or message) under way is answered, then
    /// close.
    pub fn drain(&mut self, out: &mut Outbox) {
        match self.state {
            State::Idle | State::Mail(_) | State::Auth if self.asked.is_none() => {
                self.close(reply::DRAINING, out);
            }
            State::Idle
            | State::Mail(_)
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Data(_)
            | State::Chunk(..)
            | State::Chunks(_)
            | State::Skip { .. } => self.ending = Some(Ending::Drain),
            State::Closing => {}
        }
    }

    /// The time to drain is over: 421 4.3.2 whatever is under way, then close.
    pub fn stop(&mut self, out: &mut Outbox) {
        self.close(reply::DRAINING, out);
    }

    /// Which deadline counts now.
    pub fn timer(&self) -> Timer {
        match self.state {
            _ if self.asked.is_some() => Timer::None,
            State::Data(_) | State::Chunk(..) | State::Chunks(_) => Timer::Message,
            // The octets of a refused BDAT belong to that command: no message has begun.
            State::Idle
            | State::Mail(_)
            | State::Skip { .. }
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing => Timer::Command(self.settings.idle_seconds),
        }
    }

    /// What is known of the mail that is under way: before its message, the recipient that is asked about
    /// included.
    pub fn envelope(&self) -> Option<&Envelope> {
        Some(&self.transaction()?.envelope)
    }

    /// Who sends the mail that is under way; `None` for the null sender.
    pub fn sender(&self) -> Option<&Mailbox> {
        self.transaction()?.envelope.sender.as_ref()
    }

    /// Did the client say QUIT? Then nothing comes from it any more (RFC 5321 §4.1.1.10).
    pub fn has_quit(&self) -> bool {
        self.quit
    }

    /// Is a message being received (then large receives pay)?
    pub fn in_message(&self) -> bool {
        match self.state {
            State::Data(_) | State::Chunk(..) | State::Chunks(_) | State::Skip { .. } => true,
            State::Idle
            | State::Mail(_)
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing => false,
        }
    }

    /// Can what the client says hold a password?
    pub fn hears_secrets(&self) -> bool {
        self.offers_auth() && !self.authenticated
    }

    /// Octets this session holds beyond itself for a line that has begun: none when idle.
    pub fn held_bytes(&self) -> usize {
        self.lines.held_bytes()
    }

    /// Between commands: the next line.
    fn ready(&mut self, input: &mut &[u8], out: &mut Outbox) -> Option<Next<'static>> {
        if out.len() >= limits::SMTP_OUTBOX_BYTES_MAX {
            return Some(Next::Receive);
        }
        match (self.ending, &self.state) {
            (None, _) => {}
            // A message that has begun is taken, unless it has failed.
            (Some(Ending::Drain), State::Chunks(receiving)) if !receiving.has_failed() => {}
            (Some(ending), _) => {
                self.end(ending, out);
                return None;
            }
        }
        if self.lines.at_start() && input.first().is_some_and(|first| is_junk(*first)) {
            // A TLS handshake has no CRLF that one could wait for.
            self.close(reply::FOREIGN, out);
            return None;
        }
        match self.lines.take(input) {
            None => Some(Next::Receive),
            Some(Line::Whole(line)) => {
                let next = self.command(&line, out);
                wipe(line);
                next
            }
            _ if self.data_refused => self.unasked(out),
            // What cannot be read may have been a BDAT.
            Some(Line::Bare) => {
                self.lose_chunk();
                self.refuse(reply::BARE_LINE, out)
            }
            Some(Line::TooLong) => {
                self.lose_chunk();
                self.refuse(reply::TOO_LONG, out)
            }
        }
    }

    /// How the next line is to be read.
    fn syntax(&self) -> Syntax {
        let utf8 = self.transaction().is_some_and(|mail| mail.envelope.protocol.utf8);
        Syntax { strict: self.settings.strict_syntax, utf8, extended: self.extended }
    }

    /// What each command does.
    fn command(&mut self, line: &[u8], out: &mut Outbox) -> Option<Next<'static>> {
        let parsed = command::parse(line, self.syntax());
        if std::mem::take(&mut self.data_refused) && parsed.is_err() {
            return self.unasked(out);
        }
        // What takes part in a transaction asks `order` below, with what it does when it is refused.
        if let Ok(command) = &parsed
            && let verb = command.verb()
            && !matches!(verb, Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat)
            && let Err(reply) = self.order(verb)
        {
            return self.refuse(reply, out);
        }
        match parsed {
            Ok(Command::Helo(name)) => self.hello(name, false, out),
            Ok(Command::Ehlo(name) | Command::Lhlo(name)) => self.hello(name, true, out),
            Ok(Command::Mail(mail)) => match self.order(Verb::Mail) {
                Ok(()) => self.mail(mail, out),
                Err(reply) => self.refuse(reply, out),
            },
            Ok(Command::Rcpt(rcpt)) => match self.order(Verb::Rcpt) {
                Ok(()) => self.recipient(rcpt, out),
                Err(reply) => self.refuse(reply, out),
            },
            Ok(Command::Data) => match self.order(Verb::Data) {
                Ok(()) => self.data(out),
                Err(reply) => {
                    self.data_refused = true;
                    self.refuse(reply, out)
                }
            },
            Ok(Command::Bdat { size, last }) => match self.order(Verb::Bdat) {
                Ok(()) => self.chunk(Chunk { size, left: size, last }),
                Err(_) => self.skip(size, last),
            },
            Ok(Command::Rset) => {
                reply::RESET.send(out);
                self.forget_forwarded();
                self.reset();
                None
            }
            Ok(Command::Vrfy { text, utf8 }) => self.verify(text, utf8, out),
            Ok(Command::Expn { text, utf8 }) => self.expand(text, utf8, out),
            Ok(Command::Help(topic)) => self.help(topic.as_deref(), out),
            Ok(Command::Noop) => {
                reply::NOOP.send(out);
                None
            }
            Ok(Command::Quit) => {
                self.quit = true;
                self.close(reply::BYE, out);
                None
            }
            Ok(Command::StartTls) => self.start_tls(out),
            Ok(Command::Auth(auth)) => self.auth(auth, out),
            Ok(Command::XClient(claims)) => self.speak_for(claims),
            Ok(Command::XForward(claims)) => self.forward(claims, out),
            Ok(Command::NotHere(_)) => self.refuse(reply::NOT_IMPLEMENTED, out),
            Err(malformed) => self.malformed(malformed, out),
        }
    }

    /// The whole table of what may come when (RFC 5321 §4.1.4, RFC 3030 §2, RFC 3207 §4, RFC 4954 §4, RFC 2033 §4).
    fn order(&self, verb: Verb) -> Result<(), Reply> {
        use Verb::{Auth, Bdat, Data, Ehlo, Helo, Lhlo, Mail, Rcpt, StartTls, XClient, XForward};
        self.admits(verb)?;
        match (&self.state, verb) {
            (_, Helo | Ehlo) if self.settings.lmtp => Err(reply::LHLO_ONLY),
            (_, Lhlo) if !self.settings.lmtp => Err(reply::NOT_IMPLEMENTED),
            (_, StartTls) => self.order_of_tls(),
            (_, Auth) => self.order_of_auth(),
            (_, XClient) => self.order_of_claims(self.trust.client),
            (_, XForward) => self.order_of_claims(self.trust.forward),
            (_, verb) if !matches!(verb, Mail | Rcpt | Data | Bdat) => Ok(()),
            (State::Idle, _) if self.helo.is_none() => Err(self.hello_first()),
            (State::Idle, Mail) => Ok(()),
            (State::Idle, _) => Err(reply::MAIL_FIRST),
            (State::Mail(_), Mail) => Err(reply::NESTED),
            (State::Mail(_), Rcpt) => Ok(()),
            (State::Mail(transaction), _) => {
                transaction.ready_for(verb).map_err(|reply| self.in_lmtp(reply))
            }
            (State::Chunks(_), Bdat) => Ok(()),
            (State::Chunks(receiving), _) if receiving.has_failed() => Err(reply::MESSAGE_FAILED),
            (State::Chunks(_), _) => Err(reply::CHUNKS_BEGUN),
            // No command is read in these.
            (State::Data(_) | State::Chunk(..) | State::Skip { .. } | State::Closing, _)
            | (State::Auth | State::Securing | State::Telling(_), _) => Ok(()),
        }
    }

    /// The client sent its message although DATA was refused. Who wrote the message may have put commands
    /// into it: none is looked for (RFC 2920 §3.1: a client waits for the answer to DATA).
    fn unasked(&mut self, out: &mut Outbox) -> Option<Next<'static>> {
        self.close(reply::UNASKED_DATA, out);
        None
    }

    /// A line that is no command.
    fn malformed(&mut self, malformed: Malformed, out: &mut Outbox) -> Option<Next<'static>> {
        let Malformed { verb, why } = malformed;
        if let Why::BadBdat(Some(size)) = why {
            return self.skip(size, false);
        }
        // Out of order weighs more than malformed: it is what the client must mend first.
        if let Some(Err(reply)) = verb.map(|verb| self.order(verb)) {
            return self.refuse(reply, out);
        }
        let of_mail = verb == Some(Verb::Mail);
        let reply = match why {
            Why::Foreign => {
                self.close(reply::FOREIGN, out);
                return None;
            }
            Why::UnknownVerb => reply::UNKNOWN,
            Why::BareNewline => reply::BARE_LINE,
            Why::Argument | Why::Parameter => reply::SYNTAX,
            Why::BadAddress | Why::TooLong if of_mail => reply::BAD_SENDER,
            Why::BadAddress | Why::TooLong if verb == Some(Verb::Rcpt) => reply::BAD_RECIPIENT,
            Why::BadAddress | Why::TooLong => reply::SYNTAX,
            Why::UnknownParameter => reply::UNKNOWN_PARAMETER,
            Why::Base64 => reply::BASE64,
            Why::NeedsUtf8 if of_mail => reply::SENDER_NEEDS_UTF8,
            Why::NeedsUtf8 => reply::RECIPIENT_NEEDS_UTF8,
            Why::BadBdat(_) => {
                self.lose_chunk();
                reply::CHUNK_SYNTAX
            }
        };
        self.refuse(reply, out)
    }

    /// An error: the reply, or 421 when it is one too many.
    fn refuse(&mut self, answer: Reply, out: &mut Outbox) -> Option<Next<'static>> {
        if self.is_borne(out) {
            answer.send(out);
        }
        None
    }

    /// One error more; false when that ended the session.
    fn is_borne(&mut self, out: &mut Outbox) -> bool {
        self.errors = self.errors.saturating_add(1);
        let too_many = self.settings.errors_max > 0 && self.errors >= self.settings.errors_max;
        if too_many {
            self.close(reply::TOO_MANY_ERRORS, out);
        }
        !too_many
    }

    /// What the driver refused. What is permanent counts as an error, but never closes by itself
    /// what the machine alone is to blame for.
    fn refused(&mut self, fault: Fault, out: &mut Outbox) {
        let answer = reply::refusal(fault);
        match answer.code() {
            421 => self.close(answer, out),
            400..=499 => answer.send(out),
            _ => {
                self.refuse(answer, out);
            }
        }
    }

    /// What was refused in the words of somebody who was asked; counts as `refused` does.
    fn refused_in(&mut self, words: &Words, out: &mut Outbox) {
        match words.code() {
            421 => {
                words.send(out);
                self.shut();
            }
            400..=499 => words.send(out),
            _ => {
                if self.is_borne(out) {
                    words.send(out);
                }
            }
        }
    }

    /// Ends the transaction; a draft that is open goes with it.
    fn reset(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Data(receiving) | State::Chunk(receiving, _) | State::Chunks(receiving) => {
                self.discard |= receiving.has_draft();
            }
            State::Idle
            | State::Mail(_)
            | State::Skip { .. }
            | State::Auth
            | State::Securing
            | State::Telling(_)
            | State::Closing => {}
        }
    }

    fn end(&mut self, ending: Ending, out: &mut Outbox) {
        match ending {
            Ending::Drain => self.close(reply::DRAINING, out),
            Ending::Timeout => self.close(reply::TIMEOUT, out),
        }
    }

    /// The last reply.
    fn close(&mut self, answer: Reply, out: &mut Outbox) {
        if let State::Closing = self.state {
            return;
        }
        answer.fill(&[self.settings.hostname.as_bytes()], out);
        self.shut();
    }

    fn shut(&mut self) {
        self.reset();
        self.lines = Lines::new();
        self.helo = None;
        self.state = State::Closing;
    }
}

/// An octet that begins no line of any mail client: TLS, SSH with its noise, 8-bit junk.
fn is_junk(first: u8) -> bool {
    !first.is_ascii() || (first.is_ascii_control() && !matches!(first, b'\r' | b'\n' | b'\t'))
}

/// An IPv4 client of an IPv6 socket is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
