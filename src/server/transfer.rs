//! server::transfer – one transfer over a data connection, in two stages.
//!
//! ```text
//! start ──▶ Opening: file or directory, then the connection ──▶ Opened ──▶ Moving: the pump ──▶ Ended
//!              └──▶ Ended(Refused | NoConnection)
//! ```
//! The control driver polls it in its own task and may drop it at any point: the data connection is
//! closed and a temporary removed by that. Between the stages the dialogue gets its word (150).
//! Not here: what is moved (`retrieve.rs`, `store.rs`, `list.rs`).

use std::cell::Cell;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Duration;

use super::data_link::DataLink;
use super::link::HANDSHAKE;
use super::pace::Pace;
use super::shared::{Context, View};
use super::{list, retrieve, store};
use crate::config::DataTls;
use crate::ftp::path::VirtualPath;
use crate::ftp::step::{Channel, Job, News, Transfer};
use crate::log::Printable;
use crate::shard::{self, Instant, Passive, Stream};
use crate::store::files::Tree;
use crate::tls::{Binding, Offer};
use crate::xferlog::{Direction, XferLine};

/// How long somebody from another address may take to show that it is the client.
const STRANGER: Duration = Duration::from_secs(5);

/// What a transfer stands on.
pub(super) struct Ground {
    pub(super) context: Rc<Context>,
    pub(super) view: Rc<View>,
    pub(super) tree: Rc<Tree>,
    pub(super) passive: Option<Rc<Passive>>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// Octets on the wire so far.
    pub(super) progress: Rc<Cell<u64>>,
    pub(super) umask: u32,
    /// For the transfer log.
    pub(super) who: Rc<Who>,
    pub(super) begun: Instant,
    /// TYPE A or E.
    pub(super) text: bool,
    /// PROT P.
    pub(super) privacy: Option<Privacy>,
}

/// What a data connection in TLS must be.
pub(super) struct Privacy {
    pub(super) offer: Offer,
    /// The session of the control connection.
    pub(super) binding: Option<Binding>,
    pub(super) policy: DataTls,
}

impl Privacy {
    /// From where a passive port takes connections at all; `None`: from anywhere.
    fn accepts(&self, client: IpAddr, asked: Option<IpAddr>) -> Option<IpAddr> {
        match self.policy {
            DataTls::Require => asked,
            DataTls::SameIp => Some(client),
            DataTls::ResumeOrSameIp | DataTls::Off => None,
        }
    }

    /// Is this data connection the client's? RFC 4217 §15.2.6 leaves it to the server how it knows.
    fn takes(&self, same_ip: bool, binding: Option<Binding>) -> bool {
        let resumes = binding.is_some() && binding == self.binding;
        match self.policy {
            DataTls::Require => resumes,
            DataTls::ResumeOrSameIp => resumes || same_ip,
            DataTls::SameIp => same_ip,
            DataTls::Off => true,
        }
    }
}

/// A user as the transfer log names them.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) anonymous: bool,
    /// Login name, or what an anonymous user gave as a password.
    pub(super) name: Vec<u8>,
}

/// A transfer whose data connection is open.
pub(super) struct Opened {
    /// Made for STOU.
    pub(super) name: Option<Vec<u8>>,
    /// Octets to come, where known.
    pub(super) size_bytes: Option<u64>,
    pub(super) pump: Pump,
}

/// Moves the octets.
pub(super) type Pump = Pin<Box<dyn Future<Output = News>>>;
/// Everything before the first octet.
pub(super) type Opening = Pin<Box<dyn Future<Output = Result<Opened, News>>>>;

/// A transfer under way.
pub(super) enum Running {
    Opening(Opening),
    Moving(Pump),
}

/// What a transfer did.
pub(super) enum Change {
    Opened(Opened),
    Ended(News),
}

impl Running {
    pub(super) fn poll(&mut self, context: &mut task::Context<'_>) -> Poll<Change> {
        match self {
            Self::Opening(opening) => opening.as_mut().poll(context).map(|opened| match opened {
                Ok(opened) => Change::Opened(opened),
                Err(news) => Change::Ended(news),
            }),
            Self::Moving(pump) => pump.as_mut().poll(context).map(Change::Ended),
        }
    }
}

/// Begins a transfer; nothing happens until it is polled.
pub(super) fn start(ground: Ground, transfer: Transfer) -> Running {
    let Transfer { job, representation, channel, private: _ } = transfer;
    Running::Opening(match job {
        Job::Retrieve { path, offset_bytes } => {
            Box::pin(retrieve::open(ground, channel, representation, path, offset_bytes))
        }
        Job::Store { path, offset_bytes } => {
            let aim = if offset_bytes == 0 {
                store::Aim::Replace(path)
            } else {
                store::Aim::From(path, offset_bytes)
            };
            Box::pin(store::open(ground, channel, representation, aim))
        }
        Job::StoreUnique { directory, stem } => {
            let aim = store::Aim::Unique(directory, stem.unwrap_or_default());
            Box::pin(store::open(ground, channel, representation, aim))
        }
        Job::Append { path } => {
            Box::pin(store::open(ground, channel, representation, store::Aim::Append(path)))
        }
        Job::List { path, form, options } => {
            let request = list::Request { path, form, options };
            Box::pin(list::open(ground, channel, representation, request))
        }
    })
}

impl Ground {
    /// The data connection, from the listener or to the client.
    pub(super) async fn connect(&self, channel: Channel) -> Result<Stream, News> {
        let deadline = shard::now().after(self.view.accept());
        let connected = match channel {
            Channel::Passive(asked) => match &self.passive {
                Some(passive) => {
                    let client = self.peer.ip().to_canonical();
                    let privacy = self.privacy.as_ref();
                    let from = privacy.map_or(asked, |privacy| privacy.accepts(client, asked));
                    shard::within(deadline, passive.accept(from)).await
                }
                None => None,
            },
            Channel::Active(remote) => {
                let local = SocketAddr::new(self.local.ip(), data_port(self.local.port()));
                shard::within(deadline, shard::connect(local, remote)).await
            }
        };
        match connected {
            Some(Ok(stream)) => Ok(stream),
            Some(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "no data connection");
                Err(News::NoConnection)
            }
            None => Err(News::NoConnection),
        }
    }

    /// Makes of the data connection what PROT says. Comes after 150, for which clients wait before they
    /// begin TLS (RFC 4217 §12.6).
    ///
    /// Where another address may be the client's, whoever comes from one has little time to show its
    /// ticket, and whoever comes next is looked at then: a stranger can delay a transfer, not take it.
    pub(super) async fn secured(&mut self, mut stream: Stream) -> Result<DataLink, News> {
        let passive = self.passive.take();
        let Some(privacy) = &self.privacy else { return Ok(DataLink::clear(stream)) };
        let end = shard::now().after(self.view.accept());
        loop {
            let same_ip = stream.peer().ip() == self.peer.ip().to_canonical();
            let again = passive.as_ref().filter(|_| !same_ip);
            let limit = if again.is_some() { STRANGER } else { HANDSHAKE };
            let limit = shard::now().after(limit);
            let local = &self.context.local;
            let news = match DataLink::secure(local, stream, &privacy.offer, limit).await {
                Ok((link, info)) if privacy.takes(same_ip, info.bound) => return Ok(link),
                Ok((link, _)) => {
                    link.close();
                    News::NotResumed
                }
                Err(_) => News::NotSecured,
            };
            tracing::debug!(peer = %self.peer, same_ip, ?news, "a data connection was not taken");
            let Some(passive) = again else { return Err(news) };
            match shard::within(end, passive.accept(None)).await {
                Some(Ok(next)) => stream = next,
                Some(Err(_)) | None => return Err(news),
            }
        }
    }

    /// The clock of this transfer.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.view.stall, self.view.ftp.min_rate_bytes)
    }

    /// Octets went to the client.
    pub(super) fn sent(&self, bytes: u64) {
        self.progress.set(self.progress.get().saturating_add(bytes));
        self.context.counters().bytes_out.add(bytes);
    }

    /// Octets came from the client.
    pub(super) fn received(&self, bytes: u64) {
        self.progress.set(self.progress.get().saturating_add(bytes));
        self.context.counters().bytes_in.add(bytes);
    }

    /// A file went out whole, or came in and is in place.
    pub(super) fn log(&self, path: &VirtualPath, bytes: u64, direction: Direction) {
        tracing::debug!(peer = %self.peer, path = %Printable(path.as_bytes()), bytes, ?direction, "transferred");
        if let Some(xferlog) = self.context.shared.xferlog() {
            xferlog.write(&XferLine {
                ended: shard::wall().0,
                seconds: shard::now().since(self.begun).as_secs(),
                remote: self.peer.ip(),
                bytes,
                path: path.as_bytes(),
                text: self.text,
                direction,
                anonymous: self.who.anonymous,
                user: &self.who.name,
                complete: true,
            });
        }
    }

    /// Counts this transfer among those of its shard as long as the answer lives.
    pub(super) fn counted(&self) -> Counted {
        let context = Rc::clone(&self.context);
        context.transfers.set(context.transfers.get() + 1);
        Counted(context)
    }
}

/// One transfer of this shard.
pub(super) struct Counted(Rc<Context>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.transfers.set(self.0.transfers.get() - 1);
    }
}

/// RFC 959 §3.2: the server's default data port "is the port adjacent to the control connection port
/// (i.e., L-1)". Where that needs a privilege the shard tries it and takes any if refused; where it does
/// not, many connections from one port would only collide.
fn data_port(control: u16) -> u16 {
    if (2..=1024).contains(&control) { control - 1 } else { 0 }
}
