//! cli::check::onward – routes to other servers: what they need on this machine, and whether somebody answers.
//!
//! Promises: every route at once, each for [`PATIENCE`] at the most; nothing is said to whoever answers.
//! Not here: names that MX records lead to (`names`), certificates of ours (`tls`).

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::config::{Config, Endpoint, Route, RouteTo, Smtp};
use crate::mail::hop::{Hop, Onward};
use crate::problem::{Finding, Problem};
use crate::server::{look_at_authorities, look_at_password};

/// How long all next hops together may take to be found and to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one address of them may.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);
/// More are not tried: each has a thread.
const TRIED_MAX: usize = 64;
const WAITS: &str = "mail there would wait";

pub(super) fn onward(config: &Config, smtp: &Smtp) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        look_at_authorities(config).map(Finding::from).into_iter().collect();
    let mut hops: BTreeSet<&Hop> = BTreeSet::new();
    for (route, onward) in smtp.routes.iter().filter_map(led) {
        findings.extend(password(route, onward));
        findings.extend(source(route, onward));
        if onward.hop != Hop::Mx {
            hops.insert(&onward.hop);
        }
    }
    let left_out = hops.len().saturating_sub(TRIED_MAX);
    let tried: Vec<&Hop> = hops.into_iter().take(TRIED_MAX).collect();
    for Tried { hop, addresses, answer } in tried_out(&tried) {
        if !leads_back(smtp, hop, &addresses) {
            findings.push(answered(hop, answer));
            continue;
        }
        let routes = smtp.routes.iter().filter_map(led);
        let there = routes.filter(|(_, onward)| onward.hop == *hop);
        findings.extend(there.map(|(route, _)| circle(route, hop)));
    }
    if left_out > 0 {
        findings.push(Finding::ok(format!("{left_out} more next hops were not tried")));
    }
    findings
}

fn led(route: &Route) -> Option<(&Route, &Onward)> {
    match &route.to {
        RouteTo::Onward(onward) => Some((route, onward)),
        RouteTo::Local | RouteTo::Discard => None,
    }
}

/// A finding with the line of the route before it.
fn at(route: &Route, make: fn(String, String) -> Finding, what: String, remedy: &str) -> Finding {
    let problem = Problem::new(what, "", "");
    let problem = match route.at.0.clone() {
        Some(place) => problem.at(place),
        None => problem,
    };
    make(problem.to_string(), remedy.to_owned())
}

fn password(route: &Route, onward: &Onward) -> Option<Finding> {
    let file = &onward.login.as_ref()?.password_file;
    if let Err(error) = look_at_password(file) {
        let what = format!("password_file {file}: {error}: {WAITS}");
        let remedy = "write the password into its first line, readable by the server's user only";
        return Some(at(route, Finding::fail, what, remedy));
    }
    let mode = fs::metadata(file).map_or(0, |metadata| metadata.mode() & 0o777);
    (mode & 0o077 != 0).then(|| {
        let what = format!("password_file {file} may be read by others (mode {mode:03o})");
        at(route, Finding::warn, what, &format!("chmod 600 {file}"))
    })
}

/// An address that this machine has can be bound.
fn source(route: &Route, onward: &Onward) -> Option<Finding> {
    let address = onward.source_address?;
    let error = UdpSocket::bind((address, 0)).err()?;
    let what = format!("source_address {address}: {error}: {WAITS}");
    Some(at(route, Finding::warn, what, "name an address of this machine, or leave it out"))
}

/// A next hop, as far as it came to be known in time.
struct Tried<'h> {
    hop: &'h Hop,
    addresses: Vec<SocketAddr>,
    answer: io::Result<()>,
}

/// What a thread learned of its hop.
enum News {
    Addresses(Vec<SocketAddr>),
    Answer(io::Result<()>),
}

/// Tries all, in their order. Each has a thread of its own, which is left behind when it is late: the name of a host may
/// hang in the system's resolver.
fn tried_out<'h>(hops: &[&'h Hop]) -> Vec<Tried<'h>> {
    let (sender, receiver) = mpsc::channel();
    let deadline = Instant::now() + PATIENCE;
    for (index, hop) in hops.iter().map(|hop| (*hop).clone()).enumerate() {
        let sender = sender.clone();
        // Nobody hears what comes too late.
        let tell = move |news| drop(sender.send((index, news)));
        std::thread::spawn(move || {
            let answer = reach(&hop, |addresses| tell(News::Addresses(addresses)));
            tell(News::Answer(answer));
        });
    }
    drop(sender);
    let late = |hop: &&'h Hop| {
        let answer = Err(ErrorKind::TimedOut.into());
        Tried { hop, addresses: Vec::new(), answer }
    };
    let mut all: Vec<Tried<'h>> = hops.iter().map(late).collect();
    while let Ok((index, news)) =
        receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        match (all.get_mut(index), news) {
            (Some(one), News::Addresses(addresses)) => one.addresses = addresses,
            (Some(one), News::Answer(answer)) => one.answer = answer,
            (None, _) => {}
        }
    }
    all
}

/// Says which addresses it has, and whether one of them takes connections.
fn reach(hop: &Hop, tell: impl Fn(Vec<SocketAddr>)) -> io::Result<()> {
    let (host, port) = match hop {
        Hop::Mx => return Ok(()),
        Hop::LmtpUnix(path) => return UnixStream::connect(path).map(drop),
        Hop::Relay { host, port } | Hop::Lmtp { host, port } => (host.as_str(), *port),
    };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    tell(addresses.clone());
    let mut last = Err(ErrorKind::NotFound.into());
    for address in &addresses {
        last = TcpStream::connect_timeout(address, ADDRESS_PATIENCE).map(drop);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn answered(hop: &Hop, answer: io::Result<()>) -> Finding {
    match answer {
        Ok(()) => Finding::ok(format!("next hop {hop} answers")),
        Err(error) => Finding::warn(
            format!("next hop {hop}: {error}: {WAITS}"),
            "start it, or correct to in [[smtp.route]]",
        ),
    }
}

/// Do we listen there ourselves?
fn leads_back(smtp: &Smtp, hop: &Hop, addresses: &[SocketAddr]) -> bool {
    match hop {
        Hop::Mx => false,
        Hop::LmtpUnix(path) => smtp
            .listen_lmtp
            .iter()
            .any(|one| matches!(one, Endpoint::Unix(own) if own == Path::new(path))),
        Hop::Relay { .. } | Hop::Lmtp { .. } => {
            addresses.iter().any(|address| is_ours(smtp, *address))
        }
    }
}

/// What comes back takes the same route again, unless that is for users only: what comes back is a stranger's.
fn circle(route: &Route, hop: &Hop) -> Finding {
    let what = format!("route {} to {hop}: this server listens there itself", route.recipient);
    let remedy = "name the next server, or to = \"local\"";
    match route.authenticated {
        Some(true) => at(route, Finding::warn, format!("{what}: mail comes back once"), remedy),
        Some(false) | None => {
            at(route, Finding::fail, format!("{what}: mail would go in circles"), remedy)
        }
    }
}

fn is_ours(smtp: &Smtp, address: SocketAddr) -> bool {
    let lmtp = smtp.listen_lmtp.iter().filter_map(|one| match one {
        Endpoint::Net(address) => Some(address),
        Endpoint::Unix(_) => None,
    });
    let listen = [&smtp.listen, &smtp.listen_tls, &smtp.listen_submission].into_iter().flatten();
    let ip = address.ip().to_canonical();
    listen.chain(lmtp).filter(|own| own.port() == address.port()).any(|own| {
        let own = own.ip().to_canonical();
        let every = own.is_unspecified() && (own.is_ipv6() || ip.is_ipv4());
        own == ip || (every && UdpSocket::bind((ip, 0)).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::config::Machine;

    fn lines(text: &str, data: &Path) -> Vec<String> {
        let machine = Machine { hostname: "edge".into(), cores: 1, directory: PathBuf::from("/") };
        let config = Config::parse(Path::new("s.toml"), text, &machine, Some(data)).unwrap();
        let found = onward(&config, config.smtp.as_ref().unwrap());
        found.iter().map(ToString::to_string).collect()
    }

    fn route(to: &str, more: &str) -> String {
        format!("[[smtp.route]]\nrecipient = \"*@a.example\"\nto = {to:?}\n{more}")
    }

    #[test]
    fn next_hops_that_do_not_answer_are_named() {
        let data = tempfile::tempdir().unwrap();
        // Nobody listens at an address that is taken.
        let taken =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let there = format!("relay:{}", taken.local_addr().unwrap().as_socket().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answers = format!("lmtp:{}", listener.local_addr().unwrap());
        let socket = data.path().join("none").display().to_string();
        let text = format!(
            "[smtp]\nlisten = [\"127.0.0.1:0\"]\n{}{}{}{}",
            route("mx", ""),
            route(&there, "tls = \"none\"\n"),
            route(&answers, "tls = \"none\"\n"),
            route(&format!("lmtp:unix:{socket}"), "")
        );
        let found = lines(&text, data.path());
        assert_eq!(found.len(), 3, "{found:?}");
        for line in [
            format!(
                "warn  next hop {there}: Connection refused (os error 111): {WAITS} (start it, or correct to in [[smtp.route]])"
            ),
            format!("ok    next hop {answers} answers"),
            format!(
                "warn  next hop lmtp:unix:{socket}: No such file or directory (os error 2): {WAITS} (start it, or correct to in [[smtp.route]])"
            ),
        ] {
            assert!(found.contains(&line), "{line} is not in {found:?}");
        }
    }

    #[test]
    fn passwords_are_looked_at() {
        let data = tempfile::tempdir().unwrap();
        let login = "tls = \"must\"\nusername = \"edge\"\npassword_file = \"key\"\n";
        let text =
            format!("[smtp]\nlisten = [\"127.0.0.1:0\"]\n{}", route("relay:127.0.0.1:1", login));
        let about = || -> Vec<String> {
            let found = lines(&text, data.path()).into_iter();
            found.filter(|line| line.contains("password_file")).collect()
        };
        let file = data.path().join("key");
        let shown = file.display();
        let remedy = "(write the password into its first line, readable by the server's user only)";
        let missing = "No such file or directory (os error 2)";
        assert_eq!(
            about(),
            [format!("FAIL  s.toml:4:13: password_file {shown}: {missing}: {WAITS} {remedy}")]
        );
        fs::write(&file, "\n").unwrap();
        let empty = "it is empty, or too long";
        assert_eq!(
            about(),
            [format!("FAIL  s.toml:4:13: password_file {shown}: {empty}: {WAITS} {remedy}")]
        );
        fs::write(&file, "secret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            about(),
            [format!(
                "warn  s.toml:4:13: password_file {shown} may be read by others (mode 640) (chmod 600 {shown})"
            )]
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(about(), [""; 0]);
    }

    #[test]
    fn routes_to_ourselves_are_named() {
        let data = tempfile::tempdir().unwrap();
        let judged = |smtp: &str, to: &str, more: &str| -> Vec<String> {
            let found = lines(&format!("[smtp]\n{smtp}\n{}", route(to, more)), data.path());
            let about = found.into_iter().filter(|line| line.contains("listens there itself"));
            about.collect()
        };
        let clear = "tls = \"none\"\n";
        let here = "listen = [\"127.0.0.1:1\"]";
        let circle = |line: u32, to: &str| {
            format!(
                "FAIL  s.toml:{line}:13: route *@a.example to {to}: this server listens there itself: mail would go in circles (name the next server, or to = \"local\")"
            )
        };
        // Nobody answers there yet: `check` comes before the start.
        assert_eq!(judged(here, "relay:127.0.0.1:1", clear), [circle(4, "relay:127.0.0.1:1")]);
        assert_eq!(judged(here, "relay:127.0.0.2:1", clear), [""; 0]);
        assert_eq!(judged(here, "relay:127.0.0.1:2", clear), [""; 0]);
        let all = "listen = [\"127.0.0.1:0\"]\nlisten_lmtp = [\"0.0.0.0:1\"]";
        assert_eq!(judged(all, "lmtp:127.0.0.7:1", clear), [circle(5, "lmtp:127.0.0.7:1")]);
        assert_eq!(judged(all, "lmtp:[::1]:1", clear), [""; 0]);
        let socket = "listen = [\"127.0.0.1:0\"]\nlisten_lmtp = [\"unix:/run/own\"]";
        assert_eq!(judged(socket, "lmtp:unix:/run/own", ""), [circle(5, "lmtp:unix:/run/own")]);
        let users = judged(here, "relay:127.0.0.1:1", "tls = \"none\"\nauthenticated = true\n");
        assert!(
            users[0].starts_with("warn  ") && users[0].contains("comes back once"),
            "{users:?}"
        );
    }

    #[test]
    fn sources_are_addresses_of_this_machine() {
        let data = tempfile::tempdir().unwrap();
        let text = |address: &str| {
            let more = format!("tls = \"none\"\nsource_address = {address:?}\n");
            format!("[smtp]\nlisten = [\"127.0.0.1:0\"]\n{}", route("mx", &more))
        };
        assert_eq!(lines(&text("127.0.0.1"), data.path()), [""; 0]);
        let found = lines(&text("192.0.2.77"), data.path());
        assert!(
            found[0].starts_with("warn  s.toml:4:13: source_address 192.0.2.77: "),
            "{found:?}"
        );
    }
}
