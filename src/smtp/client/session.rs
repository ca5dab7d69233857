//! smtp::client::session – the dialogue with a server that mail goes on to, as a value.
//!
//! ```text
//!  Greeting ─220─▶ Hello ─250─▶ Ready ──begin──▶ Mail ─▶ Done ─▶ Ready ──quit──▶ Quit ─▶ Closing
//!                  ▲   ├──STARTTLS─▶ Securing ─secured┐      └ a connection of no use any more ──▲
//!                  └───┼──────────────────────────────┘
//!                      └──AUTH─▶ Login ⇄ challenges ─▶ Ready
//! ```
//! Octets enter at `advance`, what the driver decides at the methods that [`Next`] names. Commands leave
//! in the outbox. The handlers sit by subject: `opening` until the first message may be sent,
//! `transaction` for each.
//!
//! Promises: after `begin` comes exactly one [`Next::Done`], with an outcome for each recipient; what
//! comes as a reply does not depend on how the input is split; after the handshake nothing is known that
//! was heard in clear; a connection that gave reason for doubt carries no further message.
//! Not here: the words (`commands`), clocks, which server.

mod opening;
mod transaction;

use std::rc::Rc;

use zeroize::Zeroize;

use self::opening::Login;
use self::transaction::Transaction;
use super::commands::{self, Hello};
use super::offers::Offers;
use super::outcome::{self, Outcome};
use super::replies::{Heard, Replies};
use super::step::{Mail, Next, Settings, Wait};
use super::survey::Survey;
use crate::limits;
use crate::wire::outbox::Outbox;
use crate::wire::secret;

/// Where the dialogue is.
#[derive(Debug)]
enum State {
    /// The greeting is to come.
    Greeting,
    /// The reply to EHLO, LHLO or HELO is to come.
    Hello(Hello),
    /// The reply to STARTTLS is to come.
    StartTls,
    /// It was 220: the handshake is the driver's.
    Securing,
    /// AUTH.
    Login(Login),
    /// A transaction may begin.
    Ready,
    /// One is under way.
    Mail(Box<Transaction>),
    /// The reply to QUIT is to come.
    Quit,
    /// Nothing more: the connection is to be closed.
    Closing,
}

/// One connection's dialogue.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts about the connection")]
pub struct Session {
    settings: Rc<Settings>,
    replies: Replies,
    heard: u64,
    offers: Offers,
    state: State,
    /// What came of a transaction that is over, not told yet.
    done: Option<Vec<Outcome>>,
    /// Why the connection is of no use.
    trouble: Option<Outcome>,
    /// Under TLS.
    secure: bool,
    /// A transaction was left open: RSET comes before the next.
    dirty: bool,
    /// MAIL commands that were accepted.
    messages: u64,
    /// Words for the outbox, from methods that have none. May hold a password.
    unsent: Vec<u8>,
}

impl Session {
    /// Of a connection that was just made; the server speaks first.
    pub fn new(settings: Rc<Settings>) -> Self {
        let secure = settings.secure;
        Self {
            settings,
            replies: Replies::default(),
            heard: 0,
            offers: Offers::default(),
            state: State::Greeting,
            done: None,
            trouble: None,
            secure,
            dirty: false,
            messages: 0,
            unsent: Vec::new(),
        }
    }

    /// Consumes from the front of `input` until something must be done. All of `input` is consumed
    /// when it returns [`Next::Receive`], [`Next::Ready`] or [`Next::Body`].
    ///
    /// Call it after every other method too, with what input there is, be it none.
    pub fn advance(&mut self, input: &mut &[u8], out: &mut Outbox) -> Next {
        loop {
            if let Some(next) = self.due(out) {
                return next;
            }
            match self.replies.take(input) {
                None => return self.idle(),
                Some(Ok(heard)) => {
                    self.heard = self.heard.saturating_add(1);
                    self.hear(&heard);
                }
                // What it says next cannot be understood either.
                Some(Err(broken)) => self.fail(broken),
            }
        }
    }

    /// A transaction, after [`Next::Ready`]. [`Next::Done`] has what came of it.
    pub fn begin(&mut self, mail: Mail) {
        match self.state {
            State::Ready => self.open(mail),
            // Out of turn, or the connection broke meanwhile: nothing was sent.
            State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Securing
            | State::Login(_)
            | State::Mail(_)
            | State::Quit
            | State::Closing => {
                let why = self.trouble.clone().unwrap_or(outcome::UNFIT).deferred();
                self.done.get_or_insert_with(|| vec![why; mail.recipients.len()]);
            }
        }
    }

    /// What was found in the message, after [`Next::Examine`].
    pub fn examined(&mut self, survey: &Survey) {
        if let State::Mail(transaction) = &mut self.state {
            transaction.examined(*survey, &self.offers);
        }
    }

    /// Octets of the message, after [`Next::Body`]: the next run to be sent, borrowed from `octets` or static;
    /// `None` when they are used up. What follows a message that is announced shorter is dropped.
    pub fn body<'a>(&mut self, octets: &mut &'a [u8]) -> Option<&'a [u8]> {
        match &mut self.state {
            State::Mail(transaction) => transaction.body(octets),
            State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Securing
            | State::Login(_)
            | State::Ready
            | State::Quit
            | State::Closing => {
                *octets = &[];
                None
            }
        }
    }

    /// The message is whole. What ends it is in the outbox after the next `advance`.
    pub fn body_end(&mut self) {
        if let State::Mail(transaction) = &mut self.state
            && let Err(short) = transaction.end_body()
        {
            self.fail(short);
        }
    }

    /// Says QUIT, after [`Next::Ready`] (RFC 5321 §4.1.1.10); at another time it takes back nothing.
    pub fn quit(&mut self) {
        if let State::Ready = self.state {
            self.leave();
        }
    }

    /// The connection is closed, reset, or took too long: why, in a few words. Call it at any time, and
    /// `advance` after it.
    pub fn lost(&mut self, why: &str) {
        match self.state {
            State::Quit | State::Closing => self.state = State::Closing,
            State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Securing
            | State::Login(_)
            | State::Ready
            | State::Mail(_) => self.fail(Outcome::lost(why)),
        }
    }

    /// What is awaited, and so how long.
    pub fn timer(&self) -> Wait {
        match &self.state {
            State::Greeting => Wait::Greeting,
            State::Hello(_) => Wait::Hello,
            State::StartTls => Wait::StartTls,
            State::Login(login) => login.timer(),
            State::Mail(transaction) => transaction.timer(),
            State::Quit => Wait::Quit,
            State::Securing | State::Ready | State::Closing => Wait::Nothing,
        }
    }

    /// Whole replies that were heard: a deadline is to be counted from the last, not from octets of one.
    pub fn replies(&self) -> u64 {
        self.heard
    }

    /// Why the connection is of no use, if it is not. Its fate is that of whatever was to be sent here,
    /// if no other server of the destination takes it.
    pub fn trouble(&self) -> Option<&Outcome> {
        self.trouble.as_ref()
    }

    /// What the server offers now.
    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Under TLS?
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Recipients that one transaction takes; those beyond are left over.
    pub fn recipients_max(&self) -> usize {
        let said = self.offers.recipients_max.and_then(|most| usize::try_from(most).ok());
        said.map_or(limits::SMTP_CLIENT_RECIPIENTS_MAX, |most| {
            most.min(limits::SMTP_CLIENT_RECIPIENTS_MAX)
        })
    }

    /// Does the server take another message on this connection (LIMITS MAILMAX, RFC 9422 §4.1)?
    pub fn takes_messages(&self) -> bool {
        self.offers.messages_max.is_none_or(|most| self.messages < most)
    }

    /// Octets this connection holds of a reply that has begun: none when idle.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.replies.held_bytes()
    }

    /// What is to be said or done before anything is heard.
    fn due(&mut self, out: &mut Outbox) -> Option<Next> {
        if let Some(outcomes) = self.done.take() {
            return Some(Next::Done(outcomes));
        }
        let mut unsent = std::mem::take(&mut self.unsent);
        out.push(&unsent);
        unsent.zeroize();
        match &mut self.state {
            State::Securing => Some(Next::Secure),
            State::Login(login) => login.due(&self.offers),
            State::Closing => Some(Next::Close),
            State::Mail(_) => self.go_on(out),
            State::Greeting | State::Hello(_) | State::StartTls | State::Ready | State::Quit => {
                None
            }
        }
    }

    /// There is no more input.
    fn idle(&self) -> Next {
        match &self.state {
            State::Ready => Next::Ready,
            State::Mail(transaction) if transaction.wants_body() => Next::Body,
            State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Securing
            | State::Login(_)
            | State::Mail(_)
            | State::Quit
            | State::Closing => Next::Receive,
        }
    }

    fn hear(&mut self, heard: &Heard) {
        // RFC 5321 §3.8: at any time, to any command; the server closes.
        if heard.code == 421 {
            return self.shut_down(heard);
        }
        match &mut self.state {
            State::Greeting => self.greeted(heard),
            State::Hello(hello) => {
                let hello = *hello;
                self.welcomed(hello, heard);
            }
            State::StartTls => self.tls_answered(heard),
            State::Login(_) => self.login_answered(heard),
            State::Mail(_) => self.answered(heard),
            State::Quit => self.state = State::Closing,
            State::Ready => self.fail(outcome::UNASKED),
            // Nothing is read in these.
            State::Securing | State::Closing => {}
        }
    }

    fn shut_down(&mut self, heard: &Heard) {
        let outcome = Outcome::of(heard);
        match &mut self.state {
            State::Quit => self.state = State::Closing,
            State::Mail(transaction) => {
                transaction.closes(&outcome);
                self.fail(outcome);
            }
            State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Securing
            | State::Login(_)
            | State::Ready
            | State::Closing => self.fail(outcome),
        }
    }

    /// The connection is of no use, and cannot be spoken on.
    fn fail(&mut self, why: Outcome) {
        if let State::Mail(transaction) = std::mem::replace(&mut self.state, State::Closing) {
            self.done = Some(transaction.abandoned(&why));
        }
        self.unsent.zeroize();
        self.trouble.get_or_insert(why);
    }

    /// The connection is of no use; it can be left in good order.
    fn give_up(&mut self, why: Outcome) {
        self.trouble.get_or_insert(why);
        self.leave();
    }

    fn leave(&mut self) {
        self.say(commands::QUIT);
        self.state = State::Quit;
    }

    /// Says a line.
    fn say(&mut self, line: &str) {
        secret::append(&mut self.unsent, line.as_bytes());
    }
}
