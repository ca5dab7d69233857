//! Deliveries on a simulated shard with a spool and mailboxes: what arrives, what is told, and what is left
//! when the power fails at any step.
//!
//! `SIM_SEEDS=N` runs more seeds, `SIM_SEED=x` one; every failure prints its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::mail::aliases::Aliases;
use crate::mail::rewrite::Verp;
use crate::mail::route::{Rules, Unknown, User};
use crate::server::sim_tests::{few_seeds, seeds};
use crate::shard::disk::Disk;
use crate::shard::{Links, Root, Sim};
use crate::smtp::address::{Domain, Mailbox, Recipient};
use crate::smtp::envelope::{BodyType, Envelope, Protocol, To};
use crate::store::spool;

mod crashes;
mod memory;
mod onward;
mod onward_crashes;
mod reports;
mod steps;

const SPOOL: &str = "/srv/spool";
const MAIL: &str = "/srv/mail";
pub(super) const TRACE: &[u8] = b"Received: from sim\r\n";
const ALIASES: &str = "both: ann, bob\nlist: ann, gone\nowner-list: bob\n";

/// One start of the deliveries.
#[derive(Clone)]
struct Place {
    spool: Spool,
    deliveries: Deliveries,
    policy: Rc<RefCell<Policy>>,
}

fn rules() -> Rules {
    Rules {
        hostname: "mx.sim.example".to_owned(),
        domains: vec!["sim.example".to_owned()],
        routes: Vec::new(),
        relay_from: Vec::new(),
        unknown: Unknown::Reject,
        catch_all: None,
        separator: "+".to_owned(),
        srs: None,
        verp: Verp::Off,
    }
}

fn router() -> Router {
    let user = |name: &str| User { name: name.to_owned(), addresses: Vec::new() };
    let aliases = Aliases::parse(ALIASES, &mut |_| Err(String::new())).unwrap();
    Router::new(rules(), ["ann", "bob", "me"].map(user), aliases)
}

fn policy() -> Policy {
    Policy {
        router: Arc::new(router()),
        hostname: "mx.sim.example".to_owned(),
        retry_seconds: 10,
        retry_seconds_max: 60,
        give_up_seconds: 300,
        mailbox_bytes_max: 0,
        relay: relay(),
        copies: Vec::new(),
        allowance: Allowance { total: 0, per_address: 0 },
        shards: 1,
        seed: 1,
    }
}

fn relay() -> Relay {
    Relay {
        retry_first_seconds: 10,
        retry_seconds: 20,
        retry_seconds_max: 60,
        give_up_seconds: 300,
        max_connections: 4,
        max_connections_per_destination: 2,
        max_messages_per_connection: 3,
        delay_notice_seconds: 0,
        idle_seconds: 2,
    }
}

impl Place {
    async fn open() -> Self {
        Self::open_with(policy()).await
    }

    async fn open_with(policy: Policy) -> Self {
        let settings = spool::Settings {
            segment_bytes: 64 << 10,
            memory_bytes: 100_000,
            reserve_bytes: 0,
            replaces: Note::replaces,
        };
        let root = Root::open(Path::new(SPOOL), Links::Deny).unwrap();
        let (spool, found) = Spool::open(&root, 0, 1, settings).await.unwrap();
        let root = Root::open(Path::new(MAIL), Links::Deny).unwrap();
        let maildirs = Maildirs::new(root, &policy.hostname);
        let policy = Rc::new(RefCell::new(policy));
        let current = Rc::clone(&policy);
        let deliveries =
            Deliveries::new(spool.clone(), maildirs, move || Rc::new(current.borrow().clone()));
        deliveries.recover(found).await.unwrap();
        Self { spool, deliveries, policy }
    }

    fn message(&self, envelope: Envelope) -> Message {
        let targets = self.policy.borrow().router.targets(&envelope, &[]);
        let (accepted, _) = shard::wall();
        Message { envelope, accepted, trace: TRACE.to_vec(), targets, held: false }
    }

    /// Commits a message; delivering it begins.
    async fn post(&self, envelope: Envelope, octets: &[u8]) -> Result<QueueId, spool::Trouble> {
        let message = self.message(envelope);
        let mut draft = self.spool.draft();
        for piece in octets.chunks(5000) {
            draft.append(piece).await?;
        }
        let committed = draft.commit(|_| message.encode()).await?;
        let id = committed.id;
        self.deliveries.accept(committed, message);
        Ok(id)
    }

    fn waiting(&self) -> u64 {
        self.spool.stats().messages
    }

    /// Waits until nothing is left to do; false when that takes too long.
    async fn settled(&self, seconds: u64) -> bool {
        let deadline = shard::now().after(Duration::from_secs(seconds));
        while self.waiting() > 0 {
            if shard::now() >= deadline {
                return false;
            }
            pause(1).await;
        }
        true
    }

    async fn close(self) {
        self.deliveries.close().await;
        self.spool.close().await;
    }
}

async fn pause(seconds: u64) {
    shard::sleep_until(shard::now().after(Duration::from_secs(seconds))).await;
}

fn boot(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    sim.disk().plant_dir(SPOOL);
    sim.disk().plant_dir(MAIL);
    sim
}

fn mailbox(text: &str) -> Mailbox {
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, "sim.example"));
    Mailbox { local: local.to_owned(), domain: Domain::Name(domain.to_owned()) }
}

pub(super) fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    let to = |text: &&str| To {
        recipient: Recipient::Mailbox(mailbox(text)),
        notify: None,
        original: None,
    };
    Envelope {
        sender: (!sender.is_empty()).then(|| mailbox(sender)),
        recipients: recipients.iter().map(to).collect(),
        body: BodyType::default(),
        ret: None,
        envelope_id: None,
        helo: "sim".to_owned(),
        peer: "192.0.2.1:2000".parse().unwrap(),
        protocol: Protocol::default(),
    }
}

/// A message that no other number and no other length has.
fn text(number: u64, len: usize) -> Vec<u8> {
    let mut text = format!("Subject: {number}\r\n\r\n").into_bytes();
    let random = shard::rng::Rng::new(number ^ 0xE417).bytes(len);
    text.extend(random);
    text
}

fn delivered(sender: &str, octets: &[u8]) -> Vec<u8> {
    let head = if sender.is_empty() {
        "Return-Path: <>\r\n".to_owned()
    } else {
        format!("Return-Path: <{}>\r\n", mailbox(sender))
    };
    [head.as_bytes(), TRACE, octets].concat()
}

/// Contents of what is in `new/` (or `cur/`) of each mailbox.
fn mail(disk: &Disk) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut mail: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, octets) in disk.files(MAIL) {
        let path = String::from_utf8(path).unwrap();
        let (place, name) = path.rsplit_once('/').unwrap();
        let mailbox = place.strip_suffix("/new").or_else(|| place.strip_suffix("/cur"));
        if let Some(mailbox) = mailbox {
            assert!(name.contains(".Q") && name.contains(",S="), "{name}");
            mail.entry(mailbox.to_owned()).or_default().push(octets);
        }
    }
    mail
}

fn assert_clean(sim: &Sim, place: Place) {
    sim.run(place.close());
    sim.pass(Duration::from_secs(5));
    let names = sim.world().executor.names_alive();
    assert_eq!((sim.census().blocks, names), (0, Vec::new()));
    let panics = sim.world().executor.panics();
    assert!(panics.is_empty(), "{panics:?}");
}
