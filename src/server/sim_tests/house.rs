//! The server under test: one shard's sessions over a simulated tree.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

use super::client::Client;
use crate::config::{Anonymous, Config, DataTls, Encryption, Ftp, Log, Server, Symlinks};
use crate::ftp::convert::CodePage;
use crate::server::ftp::session;
use crate::server::shared::{Context, Local, Shared};
use crate::server::sockets::Service;
use crate::shard::client::ClientSocket;
use crate::shard::disk::Disk;
use crate::shard::{self, Links, Root, Sim};
use crate::store::accounts::{Access, Accounts, Hash, User};
use crate::store::files::{is_temporary, sweep};
use crate::tls::testing;

/// Where the tree lies on the simulated disk.
pub(super) const ROOT: &str = "/srv/ftp";

/// Seconds of every other limit in these tests.
pub(super) const LIMIT: u32 = 10;

/// Seconds between commands: the slowest network here takes long for one transfer.
const IDLE: u32 = 12 * LIMIT;

/// After this, whoever stalls or vanishes is gone: every limit once after another, and 5 s.
pub(super) const PATIENCE: Duration = Duration::from_secs((5 * LIMIT + IDLE) as u64 + 5);

/// One start of the server.
#[derive(Clone)]
pub(super) struct House {
    context: Rc<Context>,
}

impl House {
    /// Starts on the current simulated shard; `start` is the number of this start.
    pub(super) fn open(start: u64) -> Self {
        let shared = Shared::new(config(), accounts(), testing::keeper().0, start);
        let root = Root::open(ROOT.as_ref(), Links::InRoot).unwrap();
        Self { context: Context::new(&Local::new(Arc::new(shared)), root).unwrap() }
    }

    /// A control connection, without having read the greeting.
    pub(super) fn connect(&self) -> Client {
        let (socket, stream) = ClientSocket::pair(21);
        shard::spawn("session", session(Rc::clone(&self.context), stream, Service::Ftp));
        Client::new(socket)
    }

    /// A connection to the listener that speaks TLS from the first octet.
    pub(super) fn connect_tls(&self) -> ClientSocket {
        let (socket, stream) = ClientSocket::pair(990);
        shard::spawn("session", session(Rc::clone(&self.context), stream, Service::Ftps));
        socket
    }

    /// What the server is: for what goes beyond a session.
    pub(super) fn context(&self) -> Rc<Context> {
        Rc::clone(&self.context)
    }

    /// A client that is logged in.
    pub(super) async fn login(&self) -> Client {
        let mut client = self.connect();
        client.login().await;
        client
    }

    /// A client that may change everything.
    pub(super) async fn login_writer(&self) -> Client {
        let mut client = self.connect();
        client.login_as("writer", "sim").await;
        client
    }

    /// Removes what an earlier start left.
    pub(super) async fn sweep(start: u64) -> usize {
        let root = Root::open(ROOT.as_ref(), Links::InRoot).unwrap();
        sweep(&root, &[Vec::new()], start).await
    }
}

/// Asserts that nothing of any session is left.
pub(super) fn assert_clean(sim: &Sim, house: House) {
    let census = sim.census();
    let left = (census.tasks, census.files, census.streams, census.passives, census.blocks);
    let names = sim.world().executor.names_alive();
    assert_eq!(left, (0, 0, 0, 0, 0), "tasks {names:?}, files, streams, passives, blocks");
    drop(house);
    assert_eq!(sim.census().dirs, 0, "directories");
    assert_eq!(temporaries(&sim.disk()), Vec::<String>::new());
    let panics = sim.world().executor.panics();
    assert!(panics.is_empty(), "{panics:?}");
}

/// Temporaries in the tree.
pub(super) fn temporaries(disk: &Disk) -> Vec<String> {
    let name = |path: &Vec<u8>| path.rsplit(|&byte| byte == b'/').next().map(<[u8]>::to_vec);
    let paths = disk.files(ROOT).into_keys();
    let temporary = paths.filter(|path| name(path).is_some_and(|name| is_temporary(&name)));
    temporary.map(|path| String::from_utf8_lossy(&path).into_owned()).collect()
}

/// One user, with a hash that is cheap to check.
fn accounts() -> Accounts {
    let mut accounts = Accounts::default();
    accounts.insert(User {
        name: "writer".into(),
        hash: cheap_hash(),
        scram: None,
        ftp: Access::Write,
        ftp_root: None,
        mail: Vec::new(),
    });
    accounts
}

/// Of the password `sim`, cheap to check.
pub(super) fn cheap_hash() -> Hash {
    let cheap = Params::new(8, 1, 1, None).unwrap();
    let hash =
        Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap).hash_password(b"sim").unwrap();
    Hash::import(&hash.to_string()).unwrap()
}

pub(super) fn config() -> Config {
    Config {
        server: Server {
            hostname: "sim".into(),
            data_dir: PathBuf::from("/srv"),
            shards: 1,
            cpus: Vec::new(),
            metrics_listen: None,
            max_connections: 100,
            max_connections_per_ip: 100,
            drain_seconds: 10,
            user: None,
            admin_socket: None,
        },
        log: Log { level: "off".into(), json: false, xferlog: None },
        ftp: Some(Ftp {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            tls: Encryption::Optional,
            data_tls: DataTls::ResumeOrSameIp,
            close_notify_required: true,
            root: PathBuf::from(ROOT),
            anonymous: Anonymous::Upload,
            upload_dirs: vec!["/".into()],
            anonymous_overwrite: true,
            uploads_readable: true,
            symlinks: Symlinks::InRoot,
            banner: "simulated".into(),
            passive_ports: 50_000..=50_009,
            passive_address: None,
            fxp: false,
            durable_uploads: true,
            idle_seconds: IDLE,
            login_seconds: LIMIT,
            stall_seconds: LIMIT,
            max_login_failures: 5,
            accept_seconds: LIMIT,
            min_rate_bytes: 0,
            max_upload_bytes: 0,
            listing_depth: 5,
            listing_entries: 1000,
            ebcdic: CodePage::default(),
        }),
        smtp: None,
        mail: defaults().mail.clone(),
        relay: defaults().relay.clone(),
        tls: defaults().tls.clone(),
        embedded: false,
    }
}

/// What is so without a section. Read once: thousands of houses are opened.
fn defaults() -> &'static Config {
    static DEFAULTS: LazyLock<Config> = LazyLock::new(|| {
        let directory = PathBuf::from("/");
        let machine = crate::config::Machine { hostname: "sim".into(), cores: 1, directory };
        let nothing = Config::parse(std::path::Path::new("(none)"), "", &machine, None);
        nothing.unwrap_or_else(|problems| panic!("{problems:?}"))
    });
    &DEFAULTS
}
