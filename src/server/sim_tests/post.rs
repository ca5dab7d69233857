//! The server under test, as far as mail is concerned: one shard's SMTP sessions, spool and mailboxes on
//! a simulated disk.

use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::client::{Client, Reply};
use super::house;
use crate::config::{Config, Encryption, Mail, Senders, Smtp, UnknownLocalPart};
use crate::server::ingress::Ingress;
use crate::server::inlet;
use crate::server::routing::Routing;
use crate::server::shared::{Local, Shared};
use crate::server::sockets::Service;
use crate::shard::client::ClientSocket;
use crate::shard::disk::Disk;
use crate::shard::names::Table;
use crate::shard::rng::Rng;
use crate::shard::{self, Sim};
use crate::store::accounts::{Access, Accounts, User};
use crate::tls::{self, testing};
use crate::wire::data::BareNewlines;

/// Where accepted mail lies on the simulated disk.
pub(super) const SPOOL: &str = "/srv/spool";
/// Where mailboxes lie.
pub(super) const MAIL: &str = "/srv/mail";
/// Seconds between commands, and of one message.
pub(super) const LIMIT: u32 = 600;
/// Octets per second that a message must keep up.
pub(super) const RATE: u64 = 100;

/// One start of the server.
#[derive(Clone)]
pub(super) struct Post {
    ingress: Rc<Ingress>,
}

impl Post {
    /// Directories that a server finds when it starts for the first time.
    pub(super) fn plant(disk: &Disk) {
        disk.plant_dir(SPOOL);
        disk.plant_dir(MAIL);
    }

    /// Starts on the current simulated shard.
    pub(super) async fn open() -> Self {
        Self::open_with(config()).await
    }

    /// The same, configured otherwise.
    pub(super) fn open_with(config: Config) -> Pin<Box<dyn Future<Output = Self>>> {
        Self::open_among(config, Table::default())
    }

    /// The same in a world with these names.
    pub(super) fn open_among(config: Config, names: Table) -> Pin<Box<dyn Future<Output = Self>>> {
        Box::pin(async move {
            let accounts = accounts();
            let router = Routing::default().load(&config, &accounts, None).unwrap();
            let shared = Shared::new(config.clone(), accounts, testing::keeper().0, 1)
                .with_names(Arc::new(names));
            shared.replace_router(router.unwrap());
            let believes = testing::keeper().1.roots();
            shared.outbound.store(Some(Arc::new(tls::Client::new(believes).unwrap())));
            let local = Local::new(Arc::new(shared));
            let ingress = Ingress::open(&local, &config).await.unwrap().unwrap();
            Self { ingress }
        })
    }

    /// A connection, without having read the greeting.
    pub(super) fn connect(&self) -> Client {
        Client::new(self.connect_to(Service::Smtp, 25))
    }

    /// A connection to the listener that speaks TLS from the first octet.
    pub(super) fn connect_tls(&self) -> ClientSocket {
        self.connect_to(Service::Smtps, 465)
    }

    /// A connection to a listener of that service.
    pub(super) fn connect_to(&self, service: Service, port: u16) -> ClientSocket {
        let (socket, stream) = ClientSocket::pair(port);
        inlet::begin(Rc::clone(&self.ingress), stream, service);
        socket
    }

    /// A client that said EHLO.
    pub(super) async fn greeted(&self) -> Client {
        let mut client = self.connect();
        client.expect_reply(&[220]).await;
        client.expect("EHLO sim.example.net", 250).await;
        client
    }

    pub(super) fn ingress(&self) -> &Rc<Ingress> {
        &self.ingress
    }

    /// Waits until no message is left to be delivered; false when that takes longer than `patience`.
    pub(super) async fn settled(&self, patience: Duration) -> bool {
        let deadline = shard::now().after(patience);
        while self.ingress.spool.stats().messages > 0 {
            if shard::now() >= deadline {
                return false;
            }
            shard::sleep_until(shard::now().after(Duration::from_millis(100))).await;
        }
        true
    }

    /// Ends as a drained shard does.
    pub(super) async fn close(self) {
        self.ingress.close().await;
    }
}

/// Sends one message by DATA; the last reply.
pub(super) async fn send(client: &mut Client, to: &str, text: &[u8]) -> std::io::Result<Reply> {
    for line in ["MAIL FROM:<me@example.net>", &format!("RCPT TO:<{to}@sim.example>")] {
        let reply = client.command(line).await?;
        if reply.code != 250 {
            return Ok(reply);
        }
    }
    let reply = client.command("DATA").await?;
    if reply.code != 354 {
        return Ok(reply);
    }
    client.control.write(text).await?;
    client.control.write(b".\r\n").await?;
    client.reply().await
}

/// A message that no other seed and no other length has; without a line that begins with a dot.
pub(super) fn message(seed: u64, len: usize) -> Vec<u8> {
    const LINE: usize = 70;
    let rng = Rng::new(seed ^ 0xF17E);
    let letters = super::letters(&rng);
    let mut text = format!("Subject: {seed}\r\n\r\n").into_bytes();
    for begin in (0..len).step_by(LINE) {
        let at = rng.range(0, letters.len() - LINE);
        text.extend_from_slice(&letters[at..at + LINE.min(len - begin)]);
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// What is in the mailbox of `user`, less the lines that the server put before it.
pub(super) fn mailbox(disk: &Disk, user: &str) -> Vec<Vec<u8>> {
    let files = disk.files(MAIL);
    let new = format!("{user}/new/").into_bytes();
    let found = files.into_iter().filter(|(path, _)| path.starts_with(&new));
    found.map(|(_, octets)| body(octets)).collect()
}

fn body(octets: Vec<u8>) -> Vec<u8> {
    let at = octets.windows(9).position(|nine| nine == b"Subject: ");
    octets[at.unwrap_or(0)..].to_vec()
}

/// Asserts that nothing of any session is left, and ends the server.
pub(super) fn assert_clean(sim: &Sim, post: Post) {
    sim.run(post.close());
    sim.pass(Duration::from_secs(5));
    let census = sim.census();
    let names = sim.world().executor.names_alive();
    let left = (census.streams, census.blocks);
    assert_eq!(left, (0, 0), "streams, blocks; tasks {names:?}");
    let panics = sim.world().executor.panics();
    assert!(panics.is_empty(), "{panics:?}");
}

fn accounts() -> Accounts {
    let mut accounts = Accounts::default();
    for name in ["ann", "bob"] {
        accounts.insert(User {
            name: name.into(),
            hash: house::cheap_hash(),
            scram: None,
            ftp: Access::None,
            ftp_root: None,
            mail: Vec::new(),
        });
    }
    accounts
}

pub(super) fn config() -> Config {
    let smtp = Smtp {
        listen: Vec::new(),
        listen_tls: Vec::new(),
        listen_submission: Vec::new(),
        listen_lmtp: Vec::new(),
        proxy_from: Vec::new(),
        xclient_from: Vec::new(),
        xforward_from: Vec::new(),
        tls: Encryption::Optional,
        domains: vec!["sim.example".into()],
        max_message_bytes: 10 << 20,
        max_recipients: 100,
        bare_newlines: BareNewlines::Reject,
        relay_from: Vec::new(),
        resolvers: Vec::new(),
        resolver_seconds: 5,
        routes: Vec::new(),
        milters: Vec::new(),
        banner: String::new(),
        spool: PathBuf::from(SPOOL),
        spool_segment_bytes: 256 << 10,
        spool_memory_bytes: 1 << 20,
        spool_reserve_bytes: 0,
        strict_syntax: false,
        drop_early_talkers: true,
        vrfy: false,
        expn: false,
        max_hops: 50,
        max_errors: 20,
        max_login_failures: 3,
        authenticated_senders: Senders::Own,
        max_messages: 0,
        idle_seconds: LIMIT,
        message_seconds: LIMIT,
        min_rate_bytes: RATE,
    };
    let mail = Mail {
        root: PathBuf::from(MAIL),
        unknown_local_part: UnknownLocalPart::Reject,
        aliases: PathBuf::from("/nonexistent/aliases"),
        retry_seconds: 5,
        retry_seconds_max: 60,
        ..house::config().mail
    };
    Config { ftp: None, smtp: Some(smtp), mail, ..house::config() }
}
