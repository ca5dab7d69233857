//! server::relay::visit – from a message that is due to the end of a connection that took it, and others.
//!
//! ```text
//!  carry: candidates ─▶ visit, one after the other ─┬ nothing came through ─▶ the next one
//!                          ▲        │               └ converse: message after message ─▶ idle ─▶ quit
//!                          └ in clear, after a handshake that failed (`tls = "may"`)
//! ```
//! What a connection was lost with before any octet of the message was sent says something about the server;
//! what it was lost with after that may be the message's doing, and no other message waits for it.
//!
//! Promises: a message under way goes back to the schedule whatever happens, once.
//! Not here: the dialogue (`talk`), what the outcomes mean for the message (`deliver`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Refusal;
use super::body::Body;
use super::letter::{self, Letter};
use super::login::Login;
use super::reach::{self, Candidate, Tries};
use super::talk::{Means, Talk};
use crate::mail::hop::{Hop, Onward, TlsPolicy};
use crate::mail::schedule::{Ended, Place};
use crate::server::deliver::{Errand, Outcome};
use crate::server::ingress::Ingress;
use crate::shard;
use crate::smtp::client::outcome::Fate;
use crate::smtp::client::step::{Settings, Tls};
use crate::tls::{Demand, Info};

/// Takes the message to its destination, and others after it on the same connection.
pub(super) async fn carry(ingress: Rc<Ingress>, errand: Errand) {
    let mut trip = Trip {
        place: errand.place(),
        route: Arc::clone(&errand.route),
        domain: errand.domain.clone(),
        ingress,
        load: Some(errand),
        ended: None,
    };
    let ended = Box::pin(trip.run()).await;
    trip.ended = Some(ended);
}

/// One place of the schedule; given back when dropped.
struct Trip {
    ingress: Rc<Ingress>,
    place: Place,
    route: Arc<Onward>,
    domain: String,
    /// The message under way.
    load: Option<Errand>,
    ended: Option<Ended>,
}

impl Drop for Trip {
    fn drop(&mut self) {
        // Still there after a panic: then it comes back by itself.
        drop(self.load.take());
        let ended =
            self.ended.take().unwrap_or_else(|| Ended::Unreachable("internal error".to_owned()));
        self.ingress.deliveries.end_connection(self.place, ended);
    }
}

/// What became of one address.
enum Visit {
    /// It took what there was for it, or said why not.
    Over,
    /// Nothing came through to it.
    Nothing(Refusal),
    /// The message under way never comes through, or not now.
    Stuck(String),
}

/// What became of the message under way.
enum Given {
    /// It was decided about; the connection may be used again.
    Decided(bool),
    /// The connection was lost before the message was begun.
    Lost(String),
    /// The connection was lost amid the message.
    Torn(String),
}

impl Trip {
    async fn run(&mut self) -> Ended {
        let resolver = Rc::clone(&self.ingress.resolver);
        let candidates = match reach::candidates(&self.route, &self.domain, &resolver).await {
            Ok(candidates) => candidates,
            Err(refusal) => return self.refuse(&refusal).await,
        };
        let (mut tries, mut last, mut forever) = (Tries::default(), None, true);
        for candidate in &candidates {
            if !tries.left() {
                break;
            }
            match Box::pin(self.visit(candidate, &mut tries)).await {
                Visit::Over => return Ended::Fine,
                Visit::Stuck(reason) => {
                    self.settle(&candidate.to_string(), |_| Outcome::Deferred(reason.clone()));
                    return Ended::Fine;
                }
                Visit::Nothing(refusal) => {
                    tracing::debug!(peer = %candidate, reason = refusal.reason, "relay");
                    forever &= refusal.forever;
                    last = Some(refusal);
                }
            }
        }
        let nobody = || Refusal::later("4.4.1 there is no way to any of its addresses".to_owned());
        let refusal = Refusal { forever, ..last.unwrap_or_else(nobody) };
        self.refuse(&refusal).await
    }

    /// Nothing can be sent: the message under way hears it, and if it stays so all others.
    async fn refuse(&mut self, refusal: &Refusal) -> Ended {
        let Refusal { reason, forever } = refusal;
        if !forever {
            self.settle("", |_| Outcome::Deferred(reason.clone()));
            return Ended::Unreachable(reason.clone());
        }
        let mut count = 0;
        loop {
            self.settle("", |_| Outcome::Failed(reason.clone()));
            count += 1;
            self.load = self.ingress.deliveries.next_errand_for(self.place, count).await;
            if self.load.is_none() {
                return Ended::Fine;
            }
        }
    }

    /// The message under way is over for now, the same for all of its targets.
    fn settle(&mut self, peer: &str, outcome: impl Fn(u32) -> Outcome) {
        if let Some(errand) = self.load.take() {
            let outcomes = errand.targets.iter().map(|number| (*number, outcome(*number)));
            let outcomes = outcomes.collect();
            self.ingress.deliveries.finish_errand(errand, outcomes, peer);
        }
    }

    // ------------------------------------------------------------ one address

    async fn visit(&mut self, candidate: &Candidate, tries: &mut Tries) -> Visit {
        let mut clear = self.route.tls == TlsPolicy::None;
        loop {
            let mut talk = match self.dial(candidate, clear).await {
                Ok(talk) => talk,
                Err((refusal, error)) => {
                    tries.count(error.as_ref());
                    return Visit::Nothing(refusal);
                }
            };
            tries.count(None);
            if Box::pin(talk.open()).await {
                if let Some(Info { version, cipher, resumed, .. }) = talk.info() {
                    tracing::debug!(peer = %candidate, version, cipher, resumed, "TLS");
                }
                match Box::pin(self.converse(candidate, &mut talk)).await {
                    // Taken up again: the server only had enough of that connection.
                    None => continue,
                    Some(visit) => return visit,
                }
            }
            match talk.unsecured() {
                // RFC 7435 §3: better in clear than not at all, where nothing else was asked for.
                Some(why) if self.route.tls == TlsPolicy::May && !clear => {
                    tracing::info!(peer = %candidate, why, "no TLS; tried again in clear");
                    clear = true;
                }
                _ => return Visit::Nothing(refusal(candidate, &talk)),
            }
        }
    }

    async fn dial(
        &self,
        candidate: &Candidate,
        clear: bool,
    ) -> Result<Talk, (Refusal, Option<std::io::Error>)> {
        let login = match &self.route.login {
            Some(login) => {
                let read = Login::read(login).await;
                Some(read.map_err(|reason| (Refusal::later(reason), None))?)
            }
            None => None,
        };
        let demand = match self.route.tls {
            TlsPolicy::Must => Demand::Verified,
            TlsPolicy::May | TlsPolicy::None => Demand::Anybody,
        };
        let client = self.ingress.local.shared.outbound.load();
        let errand = client.as_ref().filter(|_| !clear);
        let errand = errand.and_then(|client| client.errand(&candidate.host, demand));
        let tls = match (self.route.tls, &errand) {
            (TlsPolicy::None, _) | (TlsPolicy::May, None) => Tls::Never,
            (TlsPolicy::May, Some(_)) => Tls::May,
            (TlsPolicy::Must, _) => Tls::Must,
        };
        if tls == Tls::Must && errand.is_none() {
            let why = format!("4.7.5 {candidate}: no certificate can be for that name");
            return Err((Refusal::later(why), None));
        }
        let config = self.ingress.local.shared.config.load();
        let settings = Settings {
            hostname: config.server.hostname.clone(),
            lmtp: matches!(self.route.hop, Hop::Lmtp { .. } | Hop::LmtpUnix(_)),
            tls,
            secure: false,
            login: login.is_some(),
        };
        let link = candidate
            .connect(self.route.source_address)
            .await
            .map_err(|error| (Refusal::later(candidate.unreachable(&error)), Some(error)))?;
        Ok(Talk::new(link, Rc::new(settings), Means { tls: errand, login }))
    }

    /// Message after message; `None`: to be taken up again on another connection.
    async fn converse(&mut self, candidate: &Candidate, talk: &mut Talk) -> Option<Visit> {
        let mut sent = 0;
        loop {
            match self.give(candidate, talk).await {
                Given::Decided(true) => sent += 1,
                Given::Decided(false) => return Some(Visit::Over),
                Given::Lost(_) if sent > 0 => return None,
                Given::Lost(reason) => return Some(Visit::Nothing(Refusal::later(reason))),
                Given::Torn(reason) => return Some(Visit::Stuck(reason)),
            }
            if talk.has_room() {
                self.load = self.another(talk, sent).await;
            }
            if self.load.is_none() {
                Box::pin(talk.quit()).await;
                return Some(Visit::Over);
            }
        }
    }

    /// Another message for this connection; waits a little for one, unless it carried enough.
    async fn another(&self, talk: &mut Talk, sent: u32) -> Option<Errand> {
        let deliveries = &self.ingress.deliveries;
        let seconds = self.ingress.local.shared.config.load().relay.idle_seconds;
        let until = shard::now().after(Duration::from_secs(u64::from(seconds)));
        if let Some(errand) = deliveries.next_errand_for(self.place, sent).await {
            return Some(errand);
        }
        let mut disturbed = std::pin::pin!(talk.disturbed());
        let waiting = async {
            while !deliveries.is_closed() && !deliveries.is_spent(self.place, sent) {
                deliveries.errands_due().await;
                if let Some(errand) = deliveries.next_errand_for(self.place, sent).await {
                    return Some(errand);
                }
            }
            None
        };
        let mut waiting = std::pin::pin!(waiting);
        let either = std::future::poll_fn(|context| {
            use std::task::Poll;
            // What the server says first: no message is begun on a connection that has ended.
            if disturbed.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            waiting.as_mut().poll(context)
        });
        shard::within(until, either).await.flatten()
    }

    // ------------------------------------------------------------ one message

    /// Gives the message under way to the server, in as many transactions as it takes.
    async fn give(&mut self, candidate: &Candidate, talk: &mut Talk) -> Given {
        let Some(errand) = &self.load else { return Given::Decided(false) };
        let router = Arc::clone(&self.ingress.rules().router);
        let mut letters = letter::letters(&errand.message.borrow(), &errand.targets, &router);
        let mut outcomes: Vec<(u32, Outcome)> = Vec::with_capacity(errand.targets.len());
        let (peer, mut open) = (candidate.peer(), true);
        while let Some(Letter { from, mut targets }) = letters.pop() {
            if targets.is_empty() {
                continue;
            }
            let rest = targets.split_off(talk.recipients_max().min(targets.len()));
            let head = letter::head(&errand.message.borrow(), &from);
            let body = Body::new(head, errand.content.clone());
            let mail = letter::mail(&errand.message.borrow(), &from, &targets, body.len());
            let Some(mail) = mail else {
                let reason = "5.1.3 the address cannot be said to another server".to_owned();
                outcomes.extend(targets.iter().map(|one| (*one, Outcome::Failed(reason.clone()))));
                letters.push(Letter { from, targets: rest });
                continue;
            };
            let sent = talk.send(mail, &body).await;
            open = sent.open;
            let lost = !open
                && outcomes.is_empty()
                && sent.outcomes.iter().all(|one| one.fate == Fate::Deferred && !one.in_doubt);
            if lost {
                let reason = sent.outcomes.first().map_or_else(
                    || format!("4.4.2 {peer}: the connection was lost"),
                    |outcome| outcome.told_by(&peer),
                );
                return if talk.is_torn() { Given::Torn(reason) } else { Given::Lost(reason) };
            }
            if sent.outcomes.iter().any(|one| one.in_doubt) {
                let id = errand.id;
                tracing::warn!(%id, %peer, "the reply to the end of a message was lost: it may arrive twice");
            }
            let mut left = Vec::new();
            for (number, outcome) in targets.into_iter().zip(sent.outcomes) {
                let taken =
                    talk.notifies() && letter::wants_success(&errand.message.borrow(), number);
                match decide(&outcome, &peer, taken) {
                    Some(outcome) => outcomes.push((number, outcome)),
                    None => left.push(number),
                }
            }
            left.extend(rest);
            letters.push(Letter { from, targets: left });
            if !open {
                let reason = format!("4.4.2 {peer}: the connection ended before");
                let rest = letters.drain(..).flat_map(|letter| letter.targets);
                outcomes.extend(rest.map(|one| (one, Outcome::Deferred(reason.clone()))));
            }
        }
        if let Some(errand) = self.load.take() {
            self.ingress.deliveries.finish_errand(errand, outcomes, &candidate.to_string());
        }
        Given::Decided(open)
    }
}

/// What the words of the server mean for a target; `None`: it was not tried.
fn decide(
    outcome: &crate::smtp::client::outcome::Outcome,
    peer: &str,
    reported: bool,
) -> Option<Outcome> {
    let told = || outcome.told_by(peer);
    match outcome.fate {
        Fate::Delivered => {
            let reply = outcome.reply.as_ref().map(ToString::to_string).unwrap_or_default();
            Some(Outcome::Delivered { reported, reply })
        }
        Fate::Deferred => Some(Outcome::Deferred(told())),
        Fate::Failed => Some(Outcome::Failed(told())),
        Fate::Leftover => None,
    }
}

/// Why a connection was of no use.
fn refusal(candidate: &Candidate, talk: &Talk) -> Refusal {
    let peer = candidate.peer();
    if let Some(why) = talk.unsecured() {
        return Refusal::later(format!("4.7.5 {peer}: TLS: {why}"));
    }
    match talk.trouble() {
        Some(trouble) => {
            Refusal { reason: trouble.told_by(&peer), forever: trouble.fate == Fate::Failed }
        }
        None => Refusal::later(format!("4.4.2 {peer}: the connection was lost")),
    }
}
