//! dns::upstream – one question, put to one resolver after another until one of them knows.
//!
//! hickory does the exchange with one resolver: random ports and numbers, answers to other questions passed
//! over, TCP where UDP was cut short, names that are aliases. The order of resolvers and what counts as an
//! answer are decided here: "there is none" is an answer; a failure, a refusal, silence and nonsense are
//! reasons to ask the next one, and after the last one the first again.
//!
//! Promises: whoever answered last is asked first, so that a dead resolver costs its patience once and not
//! with every question. Not here: keeping answers (`mx::Cache`); hickory's own cache is off.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::limits::{DNS_FAILURE_SECONDS, DNS_QUESTIONS_MAX};
use crate::mx::{Answer, Exchange, Found, Kind, Question, Trouble};

/// How often all resolvers are asked.
const ROUNDS: usize = 2;
/// Names that one answer may go through.
const ALIASES_MAX: usize = 16;
/// How long an absence is kept when nobody said, seconds: a negative answer without SOA should not be kept
/// (RFC 2308 §5), but it need not be asked for again at once.
const NEGATIVE_SECONDS: u32 = DNS_FAILURE_SECONDS;

/// Resolvers that are asked.
pub(super) struct Upstream {
    addresses: Vec<SocketAddr>,
    servers: Vec<TokioResolver>,
    patience: Duration,
    /// Who answered last.
    first: AtomicUsize,
}

impl Upstream {
    /// Inside the runtime that will ask.
    pub(super) fn new(addresses: &[SocketAddr], patience: Duration) -> Self {
        let mut servers = Vec::new();
        for address in addresses {
            match server(*address, patience) {
                Ok(server) => servers.push(server),
                Err(error) => tracing::error!(%error, "resolver {address} cannot be used"),
            }
        }
        Self { addresses: addresses.to_vec(), servers, patience, first: AtomicUsize::new(0) }
    }

    /// Those it was made of.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first answer; the last trouble where nobody has one.
    pub(super) async fn answer(&self, question: &Question) -> Answer {
        let Ok(name) = Name::from_ascii(format!("{}.", question.name)) else {
            return Answer { found: Found::NoName, ttl_seconds: NEGATIVE_SECONDS, alias: false };
        };
        let count = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut last = Trouble::NoResolver;
        for turn in 0..ROUNDS * count {
            let number = (first + turn) % count;
            match self.answer_of(&self.servers[number], &name, question.kind).await {
                Ok(answer) => {
                    self.first.store(number, Ordering::Relaxed);
                    return answer;
                }
                Err(trouble) => last = trouble,
            }
        }
        Answer::trouble(last)
    }

    async fn answer_of(
        &self,
        server: &TokioResolver,
        name: &Name,
        asked: Kind,
    ) -> Result<Answer, Trouble> {
        let error = match self.exchange(server, name, kind(asked)).await {
            Ok(lookup) => return records(name, asked, &lookup),
            Err(error) => error,
        };
        let answer = absence(&error)?;
        // Aliases that lead in circles, or nowhere for too long, look to hickory like a name without records;
        // but those come with an SOA (RFC 2308 §2.2), or are no alias.
        if answer.found == Found::Nothing
            && error.into_soa().is_none()
            && self.exchange(server, name, RecordType::CNAME).await.is_ok()
        {
            return Err(Trouble::Garbled);
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        server: &TokioResolver,
        name: &Name,
        kind: RecordType,
    ) -> Result<Lookup, NetError> {
        // hickory has the same patience with each link of a chain of aliases.
        let asked = tokio::time::timeout(2 * self.patience, server.lookup(name.clone(), kind));
        asked.await.unwrap_or(Err(NetError::Timeout))
    }
}

fn server(address: SocketAddr, patience: Duration) -> Result<TokioResolver, NetError> {
    let mut options = ResolverOpts::default();
    options.timeout = patience;
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // Larger answers by UDP (RFC 6891).
    options.edns0 = true;
    options.num_concurrent_reqs = 1;
    options.max_active_requests = DNS_QUESTIONS_MAX;
    // To see that a name is an alias.
    options.preserve_intermediates = true;
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.to_vec());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
}

fn kind(kind: Kind) -> RecordType {
    match kind {
        Kind::Mx => RecordType::MX,
        Kind::V4 => RecordType::A,
        Kind::V6 => RecordType::AAAA,
    }
}

/// The records of an answer that are of the kind asked for, and of that name or what it is an alias of.
fn records(name: &Name, asked: Kind, lookup: &Lookup) -> Result<Answer, Trouble> {
    let mut names = vec![name];
    let (mut exchanges, mut addresses) = (Vec::new(), Vec::new());
    let mut ttl_seconds = u32::MAX;
    for record in lookup.answers() {
        if !names.contains(&&record.name) {
            continue;
        }
        match (&record.data, asked) {
            (RData::MX(mx), Kind::Mx) => {
                exchanges.push(Exchange { preference: mx.preference, name: plain(&mx.exchange) });
            }
            (RData::A(address), Kind::V4) => addresses.push(IpAddr::V4(address.0)),
            (RData::AAAA(address), Kind::V6) => addresses.push(IpAddr::V6(address.0)),
            (RData::CNAME(target), _) if names.len() < ALIASES_MAX => names.push(&target.0),
            _ => continue,
        }
        ttl_seconds = ttl_seconds.min(record.ttl);
    }
    let found = match (exchanges.is_empty(), addresses.is_empty()) {
        (false, _) => Found::Exchanges(exchanges),
        (_, false) => Found::Addresses(addresses),
        // Only of other kinds, or an alias of nothing: neither "there is none" nor what was asked for.
        (true, true) => return Err(Trouble::Garbled),
    };
    Ok(Answer { found, ttl_seconds, alias: names.len() > 1 })
}

/// A name as text without the dot at its end; what is no letter of a name is escaped.
fn plain(name: &Name) -> String {
    let mut text = name.to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// "There is none" is an answer, anything else trouble.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "of another crate, and open: what is not known here makes no sense here"
)]
fn absence(error: &NetError) -> Result<Answer, Trouble> {
    let (code, ttl_seconds) = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            (none.response_code, none.negative_ttl.unwrap_or(NEGATIVE_SECONDS))
        }
        NetError::Dns(DnsError::ResponseCode(code)) => return Err(refusal(*code)),
        NetError::Timeout => return Err(Trouble::Timeout),
        NetError::Io(_) | NetError::NoConnections => return Err(Trouble::Unreachable),
        NetError::Busy => return Err(Trouble::Busy),
        _ => return Err(Trouble::Garbled),
    };
    let found = if code == ResponseCode::NXDomain {
        Found::NoName
    } else if code == ResponseCode::NoError {
        Found::Nothing
    } else {
        return Err(refusal(code));
    };
    Ok(Answer { found, ttl_seconds, alias: false })
}

fn refusal(code: ResponseCode) -> Trouble {
    if code == ResponseCode::Refused { Trouble::Refused } else { Trouble::Failed }
}
