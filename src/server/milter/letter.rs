//! server::milter::letter – a message while milters look at it, and what they make of it.
//!
//! Its octets stay in the draft they came in, in memory or in a file; of them only the header section is in
//! memory a second time. Where milters only put fields in front (a signature), these are kept beside the
//! message as the trace is. Anything else makes a new draft: the new header, and then the old body, or a new one.
//!
//! Promises: what one milter changes counts as a whole or not at all; memory is bounded
//! (`limits::MILTER_HEADERS_BYTES_MAX` for all messages of the shard, the spool's budget for bodies); the
//! blocks of a copy are read when they are written.
//! A crash here leaves nothing: no draft is committed yet.

use std::cell::Cell;
use std::rc::Rc;

use super::talk::Broken;
use crate::limits::{
    MILTER_BODY_BYTES_MAX, MILTER_HEADER_BYTES_MAX, MILTER_HEADERS_BYTES_MAX, MILTER_LEAD_BYTES_MAX,
};
use crate::log::Printable;
use crate::mail::route::{Client, Verdict};
use crate::milter::header::Header;
use crate::milter::response::Edit;
use crate::server::accept_mail;
use crate::server::ingress::Ingress;
use crate::shard;
use crate::smtp::address::{Mailbox, Recipient, Sender};
use crate::smtp::envelope::{Envelope, To};
use crate::smtp::header::Lacks;
use crate::smtp::step::{Answer, Fault};
use crate::smtp::trace::{self, Arrival};
use crate::store::spool::{Draft, Trouble};

/// What milters made of a message, beside its octets and its envelope.
#[derive(Debug, Default)]
pub(in crate::server) struct Settled {
    /// Fields that stand in front of it, behind the trace.
    pub(in crate::server) lead: Vec<u8>,
    /// What it still lacks.
    pub(in crate::server) lacks: Lacks,
    /// It waits for the operator.
    pub(in crate::server) held: bool,
    /// It is to be thrown away.
    pub(in crate::server) discard: bool,
}

/// What a milter did.
pub(super) enum Changed {
    Nothing,
    Something,
    Held,
}

/// One message.
pub(super) struct Letter {
    draft: Draft,
    pub(super) header: Header,
    /// A body in place of the one in the draft.
    body: Option<Draft>,
    pub(super) settled: Settled,
    ingress: Rc<Ingress>,
    _header_bytes: Held,
}

/// Octets of the shard's share for header sections.
struct Held {
    used: Rc<Cell<usize>>,
    bytes: usize,
}

impl Held {
    fn new(ingress: &Ingress) -> Self {
        Self { used: Rc::clone(&ingress.milter_bytes), bytes: 0 }
    }

    fn more(&mut self, bytes: usize) -> bool {
        let Some(sum) = self.used.get().checked_add(bytes) else { return false };
        if sum > MILTER_HEADERS_BYTES_MAX {
            return false;
        }
        self.used.set(sum);
        self.bytes += bytes;
        true
    }

    /// That many are enough.
    fn keep(&mut self, bytes: usize) {
        self.used.set(self.used.get() - self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.used.set(self.used.get() - self.bytes);
    }
}

impl Letter {
    /// Reads the header section.
    pub(super) async fn open(
        ingress: &Rc<Ingress>,
        mut draft: Draft,
        lacks: Lacks,
    ) -> Result<Self, Answer> {
        let mut held = Held::new(ingress);
        let mut text = Vec::new();
        let mut header = loop {
            let at = wide(text.len());
            let portion = draft.read(at, MILTER_BODY_BYTES_MAX).await.map_err(refused)?;
            if !held.more(portion.len()) {
                return Err(Answer::Refused(Fault::Busy));
            }
            text.extend_from_slice(&portion);
            let whole = wide(text.len()) >= draft.len();
            match Header::parse(text.clone(), whole) {
                Some(header) if header.octets() <= MILTER_HEADER_BYTES_MAX => {
                    held.keep(header.octets());
                    break header;
                }
                None if text.len() <= MILTER_HEADER_BYTES_MAX && !portion.is_empty() => {}
                Some(_) | None => return Err(Answer::Refused(Fault::TooLarge)),
            }
        };
        let (now, _) = shard::wall();
        let id = draft.name().to_string();
        let rules = ingress.rules();
        let arrival = Arrival {
            hostname: &rules.settings.hostname,
            id: &id,
            unix_seconds: now,
            cipher: None,
        };
        // Milters see, and sign, what is added.
        header.begin_with(trace::missing(lacks, arrival));
        let (body, settled, ingress) = (None, Settled::default(), Rc::clone(ingress));
        Ok(Self { draft, header, body, settled, ingress, _header_bytes: held })
    }

    /// Octets of its body.
    pub(super) fn body_bytes(&self) -> u64 {
        match &self.body {
            Some(body) => body.len(),
            None => self.draft.len() - wide(self.header.octets()),
        }
    }

    /// As much of the body from there as a milter takes at once.
    pub(super) async fn read_body(&self, at: u64) -> Result<Vec<u8>, Trouble> {
        let (draft, from) = match &self.body {
            Some(body) => (body, at),
            None => (&self.draft, at + wide(self.header.octets())),
        };
        // It may be as large as the disk: others have their turn.
        shard::yield_now().await;
        let portion = draft.read(from, MILTER_BODY_BYTES_MAX).await?;
        if portion.is_empty() { Err(Trouble::Broken) } else { Ok(portion) }
    }

    /// What a milter changes, all of it or nothing.
    pub(super) fn apply(
        &mut self,
        edits: Vec<Edit>,
        body: Option<Draft>,
        exact: bool,
        (ingress, envelope): (&Rc<Ingress>, &mut Envelope),
    ) -> Result<Changed, Broken> {
        let mut changed =
            if edits.is_empty() && body.is_none() { Changed::Nothing } else { Changed::Something };
        let (mut header, mut wanted) = (self.header.clone(), envelope.clone());
        let mut held = false;
        for edit in edits {
            match edit {
                Edit::Add { name, value } => header.add(&name, &value, exact),
                Edit::Insert { index, name, value } => header.insert(index, &name, &value, exact),
                Edit::Change { index, name, value } => header.change(index, &name, &value, exact),
                Edit::Sender(text) => wanted.sender = sender(&text)?,
                Edit::AddRecipient(text) => {
                    let mailbox = sender(&text)?.ok_or(Broken::Address(text))?;
                    add(&mut wanted, Recipient::Mailbox(mailbox), ingress);
                }
                Edit::DeleteRecipient(text) => {
                    // As it was told of it.
                    let is = |to: &To| to.recipient.to_string().eq_ignore_ascii_case(bare(&text));
                    wanted.recipients.retain(|to| !is(to));
                }
                Edit::Quarantine(why) => {
                    let id = self.draft.name();
                    tracing::info!(%id, why = %Printable(why.as_bytes()), "held for a milter");
                    held = true;
                }
            }
        }
        if wanted.recipients.is_empty() {
            // Nobody is left: as if the milter had said so.
            self.settled.discard = true;
            wanted.recipients = std::mem::take(&mut envelope.recipients);
        }
        (self.header, *envelope) = (header, wanted);
        self.body = body.or_else(|| self.body.take());
        if held {
            self.settled.held = true;
            changed = Changed::Held;
        }
        Ok(changed)
    }

    /// The message as it is to be committed.
    pub(super) async fn close(mut self) -> Result<(Draft, Settled), Answer> {
        let lead = self.header.lead().filter(|lead| lead.len() <= MILTER_LEAD_BYTES_MAX);
        if let (Some(lead), None) = (lead, &self.body) {
            self.settled.lead = lead;
            return Ok((self.draft, self.settled));
        }
        let mut draft = self.ingress.spool.draft();
        draft.take_name(&mut self.draft);
        draft.append(&self.header.render()).await.map_err(refused)?;
        let (mut at, all) = (0, self.body_bytes());
        while at < all {
            let portion = self.read_body(at).await.map_err(refused)?;
            at += wide(portion.len());
            draft.append(&portion).await.map_err(refused)?;
        }
        Ok((draft, self.settled))
    }
}

/// Whether the address is one that this client could have named.
fn add(envelope: &mut Envelope, recipient: Recipient, ingress: &Ingress) {
    let authenticated = envelope.protocol.authenticated;
    let client = Client { peer: envelope.peer.ip(), authenticated };
    let (router, now) = (&ingress.rules().router, shard::wall().0);
    if router.verdict(envelope.sender.as_ref(), &recipient, client, now) == Verdict::Taken {
        envelope.recipients.push(To { recipient, notify: None, original: None });
    } else {
        let address = recipient.to_string();
        let address = Printable(address.as_bytes());
        tracing::warn!(%address, "a milter adds a recipient that the client could not have named");
    }
}

/// Without the brackets that milters may put around an address.
fn bare(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

/// `<a@example.org>`; `None` for `<>`.
fn sender(text: &str) -> Result<Sender, Broken> {
    let address = bare(text);
    if address.is_empty() {
        return Ok(None);
    }
    let parsed = Mailbox::parse(address, true);
    parsed.map(Some).map_err(|_| Broken::Address(text.to_owned()))
}

fn refused(trouble: Trouble) -> Answer {
    Answer::Refused(accept_mail::fault(trouble))
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
