//! server::relay::talk – the dialogue with one server: `smtp::client` joined to a connection.
//!
//! ```text
//!   Link ◀─ unsent: commands and octets of the message, one post at a time ─ talk ◀─ Body (spool)
//!     └─ octets of replies ─▶ smtp::client::Session ─▶ Next ─▶ secure · log in · body · outcomes
//! ```
//! Promises: what the server says while a message is being sent is heard at once; a reply has its deadline
//! from when it began to be awaited, however slowly its octets come (RFC 5321 §4.5.3.2); two blocks of a
//! message are in memory at the most, the one that is sent and the one that is read.
//! Not here: which server, and what becomes of messages (`visit`).

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::body::Body;
use super::login::Login;
use crate::limits::RELAY_BLOCK_BYTES;
use crate::sasl::client::Response;
use crate::server::link::{HANDSHAKE, Link, Unsecured};
use crate::shard::{self, Instant, Received};
use crate::smtp::client::outcome::Outcome;
use crate::smtp::client::session::Session;
use crate::smtp::client::step::{Mail, Next, Settings, Wait};
use crate::smtp::client::survey::Survey;
use crate::tls::{Errand, Info};
use crate::wire::outbox::Outbox;

/// What a connection may need beside the dialogue.
pub(super) struct Means {
    /// For STARTTLS; `None`: it is not asked for.
    pub(super) tls: Option<Errand>,
    /// For AUTH.
    pub(super) login: Option<Login>,
}

/// One connection.
pub(super) struct Talk {
    link: Link,
    session: Session,
    means: Means,
    out: Outbox,
    /// Octets of the message that go with the next post.
    unsent: Vec<u8>,
    /// What was heard and not understood yet.
    heard: Vec<u8>,
    /// When what is awaited must be there, and what that is.
    deadline: Option<(Wait, u64, Instant)>,
    /// Why there is no TLS though both sides wanted it.
    unsecured: Option<&'static str>,
    info: Option<Info>,
    /// A step that the server's words led to amid a message.
    ahead: Option<Next>,
    /// The message of this transaction was begun.
    torn: bool,
}

/// What became of one transaction.
pub(super) struct Sent {
    /// Of the recipients, in their order.
    pub(super) outcomes: Vec<Outcome>,
    /// Another one can follow.
    pub(super) open: bool,
}

/// What a wait ended with.
enum Event {
    Heard(io::Result<Received>),
    Posted(io::Result<()>),
    Late,
}

impl Talk {
    pub(super) fn new(link: Link, settings: Rc<Settings>, means: Means) -> Self {
        Self {
            link,
            session: Session::new(settings),
            means,
            out: Outbox::default(),
            unsent: Vec::new(),
            heard: Vec::new(),
            deadline: None,
            unsecured: None,
            info: None,
            ahead: None,
            torn: false,
        }
    }

    /// Greeting, EHLO, TLS and login; true when a message may follow.
    pub(super) async fn open(&mut self) -> bool {
        matches!(self.next().await, Next::Ready)
    }

    /// Why the connection is of no use.
    pub(super) fn trouble(&self) -> Option<&Outcome> {
        self.session.trouble()
    }

    /// Why there is no TLS though both sides wanted it: another connection may try without.
    pub(super) fn unsecured(&self) -> Option<&'static str> {
        self.unsecured
    }

    /// What TLS agreed on.
    pub(super) fn info(&self) -> Option<&Info> {
        self.info.as_ref()
    }

    /// Does the server take over notices?
    pub(super) fn notifies(&self) -> bool {
        self.session.offers().dsn
    }

    /// Was an octet of the last message sent?
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Recipients of one transaction at most.
    pub(super) fn recipients_max(&self) -> usize {
        self.session.recipients_max().max(1)
    }

    /// May another message follow?
    pub(super) fn has_room(&self) -> bool {
        self.session.takes_messages()
    }

    /// One transaction. The connection is open.
    pub(super) async fn send(&mut self, mail: Mail, body: &Body) -> Sent {
        self.session.begin(mail);
        self.torn = false;
        loop {
            match self.next().await {
                Next::Done(outcomes) => {
                    let open = matches!(self.next().await, Next::Ready);
                    return Sent { outcomes, open };
                }
                Next::Examine => self.examine(body).await,
                Next::Body => self.body(body).await,
                // Never before the outcomes.
                Next::Ready
                | Next::Close
                | Next::Receive
                | Next::Secure
                | Next::Authenticate(_)
                | Next::Challenge(_) => return Sent { outcomes: Vec::new(), open: false },
            }
        }
    }

    /// Says goodbye; whether the server answers is its own affair.
    pub(super) async fn quit(&mut self) {
        self.session.quit();
        let soon = shard::now().after(GOODBYE);
        drop(shard::within(soon, self.next()).await);
    }

    /// Waits until the server says something, or goes, though nothing was asked: the connection is of no
    /// use then. Dropping the future loses nothing.
    pub(super) async fn disturbed(&mut self) {
        let due = shard::now().after(GOODBYE);
        if !self.out.is_empty() && !self.post(due).await {
            drop(self.next().await);
            return;
        }
        match self.link.receive().await {
            Ok(octets) if !octets.is_empty() => self.heard.extend_from_slice(&octets),
            Ok(_) => self.session.lost("closed by the server while it was idle"),
            Err(error) => self.session.lost(&error.to_string()),
        }
        drop(self.next().await);
    }

    /// The next step that is not done here.
    async fn next(&mut self) -> Next {
        loop {
            let next = self.ahead.take();
            match next.unwrap_or_else(|| self.advance()) {
                Next::Receive => self.listen().await,
                Next::Secure => Box::pin(self.secure()).await,
                Next::Authenticate(offered) => self.authenticate(offered),
                Next::Challenge(octets) => Box::pin(self.respond(octets)).await,
                Next::Close => {
                    Box::pin(self.flush_last()).await;
                    return Next::Close;
                }
                next @ (Next::Ready | Next::Examine | Next::Body | Next::Done(_)) => return next,
            }
        }
    }

    fn advance(&mut self) -> Next {
        let heard = std::mem::take(&mut self.heard);
        let mut rest = heard.as_slice();
        let next = self.session.advance(&mut rest, &mut self.out);
        if !rest.is_empty() {
            self.heard = rest.to_vec();
        }
        next
    }

    /// When what is awaited must be there. It begins anew with every reply, and with whatever is asked.
    fn due(&mut self, asked: bool) -> Instant {
        let (wait, replies) = (self.session.timer(), self.session.replies());
        match self.deadline {
            Some((before, count, due)) if !asked && before == wait && count == replies => due,
            _ => {
                let seconds = wait.seconds().map_or(IDLE_SECONDS, u64::from);
                let due = shard::now().after(Duration::from_secs(seconds));
                self.deadline = Some((wait, replies, due));
                due
            }
        }
    }

    fn late(&mut self) {
        let wait = self.session.timer();
        let seconds = wait.seconds().map_or(IDLE_SECONDS, u64::from);
        self.session.lost(&format!("no answer to {} in {seconds} s", wait.name()));
    }

    /// Sends what is to be sent, and waits for octets.
    async fn listen(&mut self) {
        let asked = !self.out.is_empty() || !self.unsent.is_empty();
        let due = self.due(asked);
        if asked && !self.post(due).await {
            return;
        }
        match self.event(due, false).await {
            Event::Heard(octets) => self.hear(octets),
            Event::Posted(_) => {}
            Event::Late => self.late(),
        }
    }

    fn hear(&mut self, octets: io::Result<Received>) {
        match octets {
            Ok(octets) if octets.is_empty() => self.session.lost("closed by the server"),
            Ok(octets) => self.heard.extend_from_slice(&octets),
            Err(error) => self.session.lost(&error.to_string()),
        }
    }

    /// Posts what is to be sent once the post before it is gone, listening meanwhile. False when that came
    /// to nothing, or the server said something: then `advance` is next.
    async fn post(&mut self, due: Instant) -> bool {
        match self.event(due, true).await {
            Event::Posted(Ok(())) => {}
            Event::Posted(Err(error)) => {
                // What it said before it went is still to be heard, and may be its last word.
                let soon = shard::now().after(GOODBYE);
                match shard::within(soon, self.link.receive()).await {
                    Some(Ok(octets)) if !octets.is_empty() => self.hear(Ok(octets)),
                    _ => self.session.lost(&error.to_string()),
                }
                return false;
            }
            Event::Heard(octets) => {
                self.hear(octets);
                return false;
            }
            Event::Late => {
                self.late();
                return false;
            }
        }
        let mut octets = std::mem::take(&mut self.unsent);
        let commands = self.out.take();
        if octets.is_empty() {
            octets = commands;
        } else {
            octets.extend_from_slice(&commands);
        }
        self.link.post(octets);
        true
    }

    /// Octets, or (when that is waited for) the end of the post.
    async fn event(&self, due: Instant, posted: bool) -> Event {
        let mut sent = pin!(self.link.posted());
        let mut heard = pin!(self.link.receive());
        let either = poll_fn(|context| {
            if posted && let Poll::Ready(done) = sent.as_mut().poll(context) {
                return Poll::Ready(Event::Posted(done));
            }
            heard.as_mut().poll(context).map(Event::Heard)
        });
        shard::within(due, either).await.unwrap_or(Event::Late)
    }

    /// The last words before the connection is closed.
    async fn flush_last(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let last = async {
            self.link.posted().await?;
            self.link.post_last(self.out.take());
            self.link.posted().await
        };
        // Nobody depends on it.
        drop(shard::within(shard::now().after(GOODBYE), last).await);
    }

    // ------------------------------------------------------------ TLS and login

    async fn secure(&mut self) {
        let Some(errand) = self.means.tls.clone() else {
            return self.session.lost("TLS was granted, and nobody asked for it");
        };
        let due = shard::now().after(HANDSHAKE);
        match self.link.begin_as_client(self.heard.len(), &errand, due).await {
            Ok(info) => {
                self.info = Some(info);
                self.session.secured();
            }
            Err(Unsecured::Injected) => {
                self.heard.clear();
                self.session.injected();
            }
            Err(unsecured) => {
                self.unsecured = Some(unsecured.text());
                self.session.lost(&format!("TLS: {}", unsecured.text()));
            }
        }
    }

    fn authenticate(&mut self, offered: Vec<String>) {
        let begun = match &mut self.means.login {
            Some(login) => login.begin(&offered),
            None => Err("no login is configured".to_owned()),
        };
        match begun {
            Ok((mechanism, Response { octets, complete })) => {
                self.session.authenticate(mechanism.name(), octets, complete);
            }
            Err(why) => self.session.unable(&why),
        }
    }

    async fn respond(&mut self, challenge: Vec<u8>) {
        let answer = match &mut self.means.login {
            Some(login) => login.respond(challenge).await,
            None => Err("no login is configured".to_owned()),
        };
        match answer {
            Ok(Response { octets, complete }) => {
                self.session.respond(&octets.unwrap_or_default(), complete);
            }
            Err(why) => self.session.unable(&why),
        }
    }

    // ------------------------------------------------------------ the message

    /// Looks through all of it for what the server does not take.
    async fn examine(&mut self, body: &Body) {
        let (mut survey, mut at) = (Survey::default(), 0);
        while at < body.len() {
            match body.read(at, RELAY_BLOCK_BYTES).await {
                Ok(block) if !block.is_empty() => {
                    survey.feed(&block);
                    at += u64::try_from(block.len()).unwrap_or(u64::MAX);
                }
                Ok(_) => return self.session.lost(SHORT),
                Err(error) => return self.session.lost(&unreadable(&error)),
            }
            // It may be as large as the disk: others have their turn.
            shard::yield_now().await;
        }
        self.session.examined(&survey);
    }

    /// Sends it, from the first octet to the last, until the server says that it wants no more.
    async fn body(&mut self, body: &Body) {
        let mut at = 0;
        self.torn = true;
        // The command that says how much there is.
        self.unsent.extend_from_slice(&self.out.take());
        while at < body.len() {
            let room = RELAY_BLOCK_BYTES.saturating_sub(self.unsent.len());
            let block = match body.read(at, room.max(1)).await {
                Ok(block) if !block.is_empty() => block,
                Ok(_) => return self.session.lost(SHORT),
                Err(error) => return self.session.lost(&unreadable(&error)),
            };
            at += u64::try_from(block.len()).unwrap_or(u64::MAX);
            let mut rest = &block[..];
            while let Some(run) = self.session.body(&mut rest) {
                self.unsent.extend_from_slice(run);
            }
            if self.unsent.len() >= RELAY_BLOCK_BYTES && !self.portion().await {
                return;
            }
        }
        self.session.body_end();
    }

    /// Posts a portion of the message; false when the server has spoken, and it was not to go on.
    async fn portion(&mut self) -> bool {
        let due = self.due(true);
        loop {
            if self.post(due).await {
                return true;
            }
            let next = self.advance();
            if next != Next::Body {
                self.unsent.clear();
                self.ahead = Some(next);
                return false;
            }
        }
    }
}

/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// For a wait that has no time of its own.
const IDLE_SECONDS: u64 = 300;
const SHORT: &str = "the message ends too early in the spool";

fn unreadable(error: &io::Error) -> String {
    format!("the spool does not give the message: {error}")
}
