//! server::shared – what all shards have in common, and what the sessions of one shard have.
//!
//! ```text
//! Shared (one, Arc) ─▶ Local (one per shard, Rc) ─┬▶ Context (FTP's) ─▶ View (one per configuration) ─▶ Tree
//!                                                 └▶ Ingress (SMTP's, `ingress`)
//! ```
//! A session keeps the view it began with; a reload makes a new view for those that come after.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::admin::Desk;
use super::admit::{Admission, Failures};
use super::gate::Gate;
use super::listing_cache::Listings;
use super::notice::{Notice, Phase};
use super::quota::Quota;
use super::size::Sizes;
use crate::config::{self, Anonymous, Config, Encryption};
use crate::ftp::session::{Settings, Tls};
use crate::mail::route::Router;
use crate::metrics::{Counters, Metrics};
use crate::mx::{Lookup, Nobody};
use crate::shard::{self, Root};
use crate::store::accounts::Accounts;
use crate::store::files::{Policy, Tree, Writes};
use crate::tls::Keeper;
use crate::xferlog::Xferlog;

/// Passwords one shard checks at a time.
const LOGINS_AT_ONCE: usize = 2;
/// Logins that may wait for their check on one shard.
const LOGINS_WAITING_MAX: usize = 256;
/// Files one shard counts for SIZE at a time.
const COUNTS_AT_ONCE: usize = 1;
/// SIZE commands that may wait for that.
const COUNTS_WAITING_MAX: usize = 64;

/// What all shards have in common.
pub(super) struct Shared {
    /// The configuration in force.
    pub(super) config: ArcSwap<Config>,
    /// The accounts in force.
    pub(super) accounts: ArcSwap<Accounts>,
    /// Who gets mail: from the configuration, the accounts and the aliases in force.
    pub(super) router: ArcSwapOption<Router>,
    /// Sessions there are.
    pub(super) admission: Arc<Admission>,
    /// Logins that failed, by address.
    pub(super) failures: Failures,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// Number of this start of the process; part of the names of temporaries.
    pub(super) start: u64,
    /// What TLS is offered.
    pub(super) tls: Keeper,
    /// Where each shard finds what the admin socket asks it.
    pub(super) desks: Vec<Desk>,
    /// Who is asked for names.
    pub(super) names: Arc<dyn Lookup>,
    xferlog: Option<Xferlog>,
    phase: AtomicU8,
    generation: AtomicU64,
}

impl Shared {
    /// Made before the first shard starts.
    pub(super) fn new(config: Config, accounts: Accounts, tls: Keeper, start: u64) -> Self {
        Self {
            metrics: Metrics::new(config.server.shards),
            desks: (0..config.server.shards).map(|_| Desk::default()).collect(),
            names: Arc::new(Nobody),
            xferlog: None,
            config: ArcSwap::from_pointee(config),
            accounts: ArcSwap::from_pointee(accounts),
            router: ArcSwapOption::empty(),
            admission: Arc::default(),
            failures: Failures::default(),
            tls,
            start,
            phase: AtomicU8::new(0),
            generation: AtomicU64::new(0),
        }
    }

    /// The same, with a transfer log.
    #[must_use]
    pub(super) fn with_xferlog(self, xferlog: Xferlog) -> Self {
        Self { xferlog: Some(xferlog), ..self }
    }

    /// The same, with somebody who knows names.
    #[must_use]
    pub(super) fn with_names(self, names: Arc<dyn Lookup>) -> Self {
        Self { names, ..self }
    }

    /// The transfer log, if there is one.
    pub(super) fn xferlog(&self) -> Option<&Xferlog> {
        self.xferlog.as_ref()
    }

    /// What the server is doing.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Enters a phase; never back to an earlier one.
    pub(super) fn enter(&self, phase: Phase) {
        let number = match phase {
            Phase::Running => 0,
            Phase::Draining => 1,
            Phase::Stopping => 2,
        };
        self.phase.fetch_max(number, Ordering::AcqRel);
    }

    /// Puts a configuration in force for sessions that begin from now on.
    pub(super) fn replace_config(&self, config: Config) {
        self.config.store(Arc::new(config));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts accounts in force for logins from now on.
    pub(super) fn replace_accounts(&self, accounts: Accounts) {
        self.accounts.store(Arc::new(accounts));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts a router in force for recipients from now on.
    pub(super) fn replace_router(&self, router: Router) {
        self.router.store(Some(Arc::new(router)));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes whenever something was put in force.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// What the sessions of one shard have in common, whatever they speak.
pub(super) struct Local {
    /// What all shards have in common.
    pub(super) shared: Arc<Shared>,
    /// How sessions learn that the server goes down.
    pub(super) notice: Notice,
    /// Sessions of this shard.
    pub(super) sessions: Cell<usize>,
    /// Lines in the log about logins that were refused unheard.
    pub(super) login_lines: Quota,
    pub(super) logins: Gate,
    index: usize,
}

impl Local {
    /// For this shard.
    pub(super) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let notice = Notice::default();
        Rc::new(Self {
            shared,
            notice,
            sessions: Cell::new(0),
            login_lines: Quota::default(),
            logins: Gate::new(LOGINS_AT_ONCE, LOGINS_WAITING_MAX),
            index: shard::index(),
        })
    }

    /// What this shard counts.
    pub(super) fn counters(&self) -> &Counters {
        self.shared.metrics.shard(self.index)
    }
}

/// What the FTP sessions of one shard have in common.
pub(super) struct Context {
    /// What those that speak otherwise share with them.
    pub(super) local: Rc<Local>,
    /// Transfers that move octets on this shard.
    pub(super) transfers: Cell<usize>,
    pub(super) listings: Rc<Listings>,
    pub(super) sizes: Sizes,
    pub(super) counts: Gate,
    root: Root,
    view: RefCell<Rc<View>>,
    keys: Cell<u64>,
}

impl Context {
    /// For this shard. `None` when the configuration has no FTP.
    pub(super) fn new(local: &Rc<Local>, root: Root) -> Option<Rc<Self>> {
        let view = View::new(&local.shared, &root, 0)?;
        Some(Rc::new(Self {
            local: Rc::clone(local),
            transfers: Cell::new(0),
            listings: Rc::default(),
            sizes: Sizes::default(),
            counts: Gate::new(COUNTS_AT_ONCE, COUNTS_WAITING_MAX),
            root,
            view: RefCell::new(Rc::new(view)),
            keys: Cell::new(1),
        }))
    }

    /// The configuration in force as sessions need it.
    pub(super) fn view(&self) -> Rc<View> {
        let generation = self.shared.generation();
        let current = Rc::clone(&self.view.borrow());
        if current.generation == generation {
            return current;
        }
        match View::new(&self.shared, &self.root, self.next_key()) {
            Some(view) => {
                let view = Rc::new(view);
                *self.view.borrow_mut() = Rc::clone(&view);
                view
            }
            // A reload cannot take FTP away; that needs a restart.
            None => current,
        }
    }

    pub(super) fn next_key(&self) -> u64 {
        let key = self.keys.get();
        self.keys.set(key + 1);
        key
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }
}

impl std::ops::Deref for Context {
    type Target = Local;

    fn deref(&self) -> &Local {
        &self.local
    }
}

/// One configuration as sessions need it.
pub(super) struct View {
    /// The section `[ftp]`.
    pub(super) ftp: config::Ftp,
    /// What the core needs.
    pub(super) settings: Rc<Settings>,
    /// No octet for this long breaks a transfer, and a control connection that does not read.
    pub(super) stall: Duration,
    pub(super) anonymous: Option<Rc<Tree>>,
    pub(super) trees: RefCell<HashMap<Vec<u8>, Rc<Tree>>>,
    generation: u64,
}

impl View {
    fn new(shared: &Shared, root: &Root, key: u64) -> Option<Self> {
        // The number first: a reload in between makes one view too many, never one that is stale.
        let generation = shared.generation();
        let config = shared.config.load_full();
        let ftp = config.ftp.clone()?;
        let anonymous = anonymous_policy(&ftp, shared.start)
            .map(|policy| Rc::new(Tree::new(root.clone(), policy, key)));
        Some(Self {
            settings: Rc::new(settings(&config, &ftp)),
            stall: Duration::from_secs(u64::from(ftp.stall_seconds)),
            anonymous,
            trees: RefCell::default(),
            generation,
            ftp,
        })
    }

    /// When data connections must be there.
    pub(super) fn accept(&self) -> Duration {
        Duration::from_secs(u64::from(self.ftp.accept_seconds))
    }
}

fn settings(config: &Config, ftp: &config::Ftp) -> Settings {
    Settings {
        hostname: config.server.hostname.clone(),
        banner: ftp.banner.clone(),
        anonymous: ftp.anonymous != Anonymous::Off,
        login_failures_max: ftp.max_login_failures,
        passive_address: ftp.passive_address,
        idle_seconds_max: ftp.idle_seconds.max(7200),
        idle_seconds: ftp.idle_seconds,
        code_page: ftp.ebcdic,
        tls: match ftp.tls {
            Encryption::Off => Tls::Off,
            Encryption::Optional => Tls::Optional,
            Encryption::Required => Tls::Required,
        },
    }
}

/// Upload directories as paths relative to the root.
pub(super) fn upload_directories(ftp: &config::Ftp) -> Vec<Vec<u8>> {
    ftp.upload_dirs.iter().map(|path| path.trim_matches('/').as_bytes().to_vec()).collect()
}

fn anonymous_policy(ftp: &config::Ftp, start: u64) -> Option<Policy> {
    let directories = upload_directories(ftp);
    // What strangers stored is not handed to strangers, also after uploads were switched off again.
    let unreadable = if ftp.uploads_readable { Vec::new() } else { directories.clone() };
    let writes = match ftp.anonymous {
        Anonymous::Off => return None,
        Anonymous::Read => Writes::Nowhere,
        Anonymous::Upload => Writes::Within { directories, overwrite: ftp.anonymous_overwrite },
    };
    Some(Policy { writes, unreadable, start })
}
