//! cli::check::names – who would be asked where mail goes, and whether anybody answers.
//!
//! Resolvers that the operator named are tried with one question; those of the machine are only named, for
//! nothing may need them.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use crate::config::{Config, Smtp};
use crate::dns;
use crate::mx::{Found, Kind, Lookup, Question, Trouble};
use crate::problem::Finding;
use crate::server::resolver;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn names(config: &Config, smtp: &Smtp) -> Vec<Finding> {
    let settings = resolver::settings(smtp);
    let addresses = settings.in_force();
    if addresses.is_empty() {
        return vec![Finding::warn(
            "no resolver: where mail for other domains goes cannot be found out",
            "name one in [smtp] resolvers, or a nameserver in /etc/resolv.conf",
        )];
    }
    if smtp.resolvers.is_empty() {
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let who = shown.join(", ");
        return vec![Finding::ok(format!("names are asked of {who} (/etc/resolv.conf)"))];
    }
    let name = config.server.hostname.trim_end_matches('.').to_ascii_lowercase();
    addresses.iter().map(|address| tried(*address, &name)).collect()
}

/// Any answer will do, also that there is no such name.
fn tried(address: SocketAddr, name: &str) -> Finding {
    let remedy = "see that it runs and lets this machine ask, or change [smtp] resolvers";
    match ask(address, name) {
        Ok(None) => Finding::ok(format!("resolver {address} answers")),
        Ok(Some(trouble)) => Finding::warn(format!("resolver {address}: {trouble}"), remedy),
        Err(error) => Finding::warn(format!("resolver {address}: {error}"), remedy),
    }
}

fn ask(address: SocketAddr, name: &str) -> std::io::Result<Option<Trouble>> {
    let client = dns::Client::start(dns::Settings::new(vec![address], PATIENCE / 2))?;
    let (reply, answer) = mpsc::channel();
    let question = Question { name: name.to_owned(), kind: Kind::V4, files: false };
    client.ask(question, Box::new(move |answer| drop(reply.send(answer))));
    Ok(match answer.recv_timeout(PATIENCE).map(|answer| answer.found) {
        Ok(Found::Trouble(trouble)) => Some(trouble),
        Ok(Found::Exchanges(_) | Found::Addresses(_) | Found::Nothing | Found::NoName) => None,
        Err(_) => Some(Trouble::Timeout),
    })
}
