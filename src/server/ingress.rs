//! server::ingress – what the SMTP sessions of one shard have in common.
//!
//! ```text
//! Shared ─▶ Local ─▶ Ingress (one per shard, Rc) ─┬▶ Rulebook ─▶ Rules (one per configuration, Rc)
//!                                                 ├▶ Spool (the shard's log)
//!                                                 └▶ Deliveries
//! ```
//! Not here: a session (`smtp`), delivering (`deliver`).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::authenticate;
use super::deliver::{Deliveries, Policy};
use super::inlet::Peers;
use super::quota::Quota;
use super::relay;
use super::resolver::Resolver;
use super::shared::{Local, Shared};
use super::sockets::Service;
use crate::config::{self, Config, Encryption};
use crate::mail::route::Router;
use crate::mail::stored::Note;
use crate::mail::throttle::Allowance;
use crate::problem::Problem;
use crate::shard::{self, Links, Root};
use crate::smtp::session::{Security, Settings, Tls};
use crate::store::maildir::Maildirs;
use crate::store::spool::{self, Spool};

/// How often the figures of the queue are shown while there are messages in it.
const FIGURES: Duration = Duration::from_secs(1);
/// How long deliveries under way, and then the spool, may take to come to their end.
const PAUSE: Duration = Duration::from_secs(3);

/// What the SMTP sessions of one shard have in common.
pub(super) struct Ingress {
    /// What they share with those that speak otherwise.
    pub(super) local: Rc<Local>,
    /// The shard's log.
    pub(super) spool: Spool,
    /// Accepted messages on their way.
    pub(super) deliveries: Deliveries,
    /// Where mail goes on.
    pub(super) resolver: Rc<Resolver>,
    /// Lines in the log about senders and recipients that were refused.
    pub(super) refusal_lines: Quota,
    /// Octets of header sections that milters look at.
    pub(super) milter_bytes: Rc<Cell<usize>>,
    rulebook: Rc<Rulebook>,
    /// The figures of the queue are being shown.
    showing: Cell<bool>,
}

/// The configuration in force, as this shard understands it.
struct Rulebook {
    local: Rc<Local>,
    rules: RefCell<Rc<Rules>>,
}

/// One configuration as sessions need it.
pub(super) struct Rules {
    /// The section `[smtp]`.
    pub(super) smtp: config::Smtp,
    /// What the core needs.
    pub(super) settings: Rc<Settings>,
    /// The same for listeners of submission.
    submission: Rc<Settings>,
    /// For listeners of LMTP, and for those that are Unix sockets.
    lmtp: [Rc<Settings>; 2],
    /// Who is believed what.
    pub(super) peers: Peers,
    /// Who gets mail.
    pub(super) router: Arc<Router>,
    policy: Rc<Policy>,
    generation: u64,
}

impl Ingress {
    /// Opens and recovers the shard's spool. `None` when the configuration has no SMTP.
    pub(super) async fn open(
        local: &Rc<Local>,
        config: &Config,
    ) -> Result<Option<Rc<Self>>, Problem> {
        let Some(rules) = Rules::new(&local.shared) else { return Ok(None) };
        let smtp = &rules.smtp;
        let root = Root::open(&smtp.spool, Links::Beneath)
            .map_err(|error| Problem::path(&smtp.spool, error, "make it, or name another spool"))?;
        let shards = config.server.shards.max(1);
        let memory = usize::try_from(smtp.spool_memory_bytes).unwrap_or(usize::MAX) / shards;
        let mailboxes = Root::open(&config.mail.root, Links::Beneath).map_err(|error| {
            Problem::path(&config.mail.root, error, "make it, or name another root in [mail]")
        })?;
        let settings = spool::Settings {
            segment_bytes: smtp.spool_segment_bytes,
            memory_bytes: memory,
            reserve_bytes: smtp.spool_reserve_bytes,
            replaces: Note::replaces,
        };
        let (spool, found) = Spool::open(&root, shard::index(), shards, settings).await?;
        if !found.is_empty() {
            tracing::info!(messages = found.len(), "messages found in the spool");
        }
        let counted = Rc::clone(local);
        spool.on_commit(move |commit| {
            if commit.messages > 0 {
                counted.counters().mail.batches.observe(commit.messages);
            }
        });
        let spool_path = smtp.spool.clone();
        let rulebook =
            Rc::new(Rulebook { local: Rc::clone(local), rules: RefCell::new(Rc::new(rules)) });
        let policies = Rc::clone(&rulebook);
        let maildirs = Maildirs::new(mailboxes, &config.server.hostname);
        let deliveries = Deliveries::new(spool.clone(), maildirs, move || {
            Rc::clone(&policies.in_force().policy)
        });
        let remedy = "sluicegate spool verify says what is wrong, and where";
        deliveries
            .recover(found)
            .await
            .map_err(|error| Problem::path(&spool_path, error, remedy))?;
        let ingress = Rc::new(Self {
            local: Rc::clone(local),
            spool,
            deliveries,
            resolver: Resolver::new(local),
            refusal_lines: Quota::default(),
            milter_bytes: Rc::default(),
            rulebook,
            showing: Cell::new(false),
        });
        ingress.watch();
        shard::spawn("relay", relay::run(Rc::clone(&ingress)));
        Ok(Some(ingress))
    }

    /// The configuration in force.
    pub(super) fn rules(&self) -> Rc<Rules> {
        self.rulebook.in_force()
    }
    /// Deliveries pause, and what is pending in the log is committed. A disk that hangs is not waited for.
    pub(super) async fn close(&self) {
        let deadline = shard::now().after(PAUSE);
        if shard::within(deadline, self.deliveries.close()).await.is_none() {
            tracing::warn!("a delivery did not end in time; the next start looks after it");
        }
        let deadline = shard::now().after(PAUSE);
        if shard::within(deadline, self.spool.close()).await.is_none() {
            tracing::warn!("the spool did not close in time; what was acknowledged is safe");
        }
        self.show();
    }

    /// The queue grew: its figures are shown from now on, until it is empty.
    pub(super) fn watch(self: &Rc<Self>) {
        if !self.showing.replace(true) {
            self.show();
            shard::spawn("queue figures", figures(Rc::downgrade(self)));
        }
    }

    /// Shows how long the queue is; the messages in it.
    fn show(&self) -> u64 {
        let mail = &self.local.counters().mail;
        let stats = self.spool.stats();
        let (figures, counts) = (self.deliveries.figures(), self.deliveries.counts());
        let oldest = figures.oldest.and_then(|seconds| u64::try_from(seconds).ok());
        mail.queue_oldest.show(oldest.unwrap_or(0));
        mail.show_deliveries(
            [
                &counts.delivered,
                &counts.discarded,
                &counts.deferred,
                &counts.failed,
                &counts.relayed,
            ]
            .map(Cell::get),
        );
        mail.show_reports([&counts.reports, &counts.reports_limited].map(Cell::get));
        let cached = u64::try_from(self.resolver.cached().0).unwrap_or(u64::MAX);
        self.local.counters().names.cached.show(cached);
        mail.queue_messages.show(stats.messages);
        mail.queue_bytes.show(stats.bytes);
        mail.segments.show(stats.segments);
        mail.segments_free.show(stats.segments_free);
        mail.condemned.show(stats.condemned);
        stats.messages
    }
}

impl Rulebook {
    /// Made anew when something was put in force.
    fn in_force(&self) -> Rc<Rules> {
        let current = Rc::clone(&self.rules.borrow());
        if current.generation == self.local.shared.generation() {
            return current;
        }
        match Rules::new(&self.local.shared) {
            Some(rules) => {
                let rules = Rc::new(rules);
                *self.rules.borrow_mut() = Rc::clone(&rules);
                rules
            }
            // A reload cannot take SMTP away; that needs a restart.
            None => current,
        }
    }
}

impl Rules {
    fn new(shared: &Shared) -> Option<Self> {
        // The number first: a reload in between makes one set too many, never one that is stale.
        let generation = shared.generation();
        let config = shared.config.load_full();
        let smtp = config.smtp.clone()?;
        let security = security(shared, &smtp);
        let settings = settings(&config, &smtp, security);
        let mut submission = settings.clone();
        submission.security.submission = true;
        let lmtp = Settings { lmtp: true, ..settings.clone() };
        // What does not leave the machine needs no TLS.
        let unix = Settings { security: Security::default(), ..lmtp.clone() };
        let lmtp = [Rc::new(lmtp), Rc::new(unix)];
        let (settings, submission) = (Rc::new(settings), Rc::new(submission));
        let peers = Peers::new(&smtp);
        let router = shared.router.load_full()?;
        let policy = Rc::new(Policy {
            router: Arc::clone(&router),
            hostname: config.server.hostname.clone(),
            retry_seconds: config.mail.retry_seconds,
            retry_seconds_max: config.mail.retry_seconds_max,
            give_up_seconds: config.mail.give_up_seconds,
            mailbox_bytes_max: config.mail.mailbox_bytes_max,
            relay: config.relay.clone(),
            copies: config.mail.postmaster_copies.clone(),
            allowance: Allowance {
                total: config.mail.max_reports_per_hour,
                per_address: config.mail.max_reports_per_hour_per_address,
            },
            shards: config.server.shards.max(1),
            seed: shard::random(),
        });
        Some(Self { settings, submission, lmtp, peers, router, policy, generation, smtp })
    }

    /// What the core needs for a connection to that listener.
    pub(super) fn settings_of(&self, service: Service) -> &Rc<Settings> {
        match service {
            Service::Submission => &self.submission,
            Service::Lmtp => &self.lmtp[0],
            Service::LmtpUnix => &self.lmtp[1],
            Service::Smtp | Service::Smtps | Service::Ftp | Service::Ftps => &self.settings,
        }
    }
}

fn settings(config: &Config, smtp: &config::Smtp, security: Security) -> Settings {
    Settings {
        hostname: config.server.hostname.clone(),
        banner: smtp.banner.clone(),
        message_bytes_max: smtp.max_message_bytes,
        recipients_max: smtp.max_recipients,
        messages_max: smtp.max_messages,
        bare_newlines: smtp.bare_newlines,
        strict_syntax: smtp.strict_syntax,
        verify: smtp.vrfy,
        expand: smtp.expn,
        hops_max: smtp.max_hops,
        errors_max: smtp.max_errors,
        idle_seconds: smtp.idle_seconds,
        security,
        lmtp: false,
    }
}

fn security(shared: &Shared, smtp: &config::Smtp) -> Security {
    let accounts = shared.accounts.load();
    Security {
        tls: match smtp.tls {
            Encryption::Off => Tls::Off,
            Encryption::Optional => Tls::Optional,
            Encryption::Required => Tls::Required,
        },
        tls_ready: shared.tls.is_ready(),
        mechanisms: authenticate::mechanisms(&accounts),
        submission: false,
        login_failures_max: smtp.max_login_failures,
    }
}

/// Shows the figures while there are messages: an idle server has no timer.
async fn figures(ingress: Weak<Ingress>) {
    loop {
        shard::sleep_until(shard::now().after(FIGURES)).await;
        let Some(ingress) = ingress.upgrade() else { return };
        if ingress.show() == 0 {
            ingress.showing.set(false);
            return;
        }
    }
}
