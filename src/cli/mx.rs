//! cli::mx – `sluicegate mx`: where mail for a domain would go, as the server would find out.
//!
//! Asks the configured resolvers itself; needs no running server, and changes nothing.
//! Not here: what answers mean (`mx`), asking (`dns`).

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;

use super::{load, say};
use crate::config::{Config, Origin};
use crate::dns;
use crate::limits::DNS_QUESTION_SECONDS_MAX;
use crate::mx::{Answer, Lookup, Question, Step, Trouble, Verdict, Walk};
use crate::server::{Failure, resolver};
use crate::shard;
use crate::smtp::address::Domain;

/// A question has that long, and a little for its turn.
const PATIENCE: Duration = Duration::from_secs(DNS_QUESTION_SECONDS_MAX + 5);

#[derive(Debug, Args)]
pub(super) struct Mx {
    /// Domains, or addresses in brackets
    #[arg(required = true, value_name = "DOMAIN")]
    domains: Vec<String>,
    /// Configuration file, for its resolvers; without it the embedded default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(mx: &Mx) -> Result<(), Failure> {
    let config = load(&Origin { file: mx.config.clone(), data: None })?;
    let Some(smtp) = &config.smtp else {
        return Err(Failure::Usage(
            "[smtp]: no such section, so no resolvers (add it, or leave --config out)".to_owned(),
        ));
    };
    let client = dns::Client::start(resolver::settings(smtp))
        .map_err(|error| Failure::Running(format!("resolver: {error}")))?;
    let mut failed = 0;
    for domain in &mx.domains {
        let verdict = resolve(&config, &client, domain);
        failed += usize::from(!matches!(verdict, Verdict::Reach(_)));
        say::out(&shown(domain, &verdict))?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Running(format!(
            "mx: mail cannot be brought to {failed} of {} (see above)",
            mx.domains.len()
        ))),
    }
}

fn resolve(config: &Config, client: &dns::Client, domain: &str) -> Verdict {
    let ourselves = resolver::ourselves(config, &shard::local_addresses().unwrap_or_default());
    let domain = Domain::Name(domain.to_owned()).key();
    // Any seed will do: equals are shown in one of their orders.
    let (mut walk, mut step) = Walk::mail(&domain, u64::from(std::process::id()), &ourselves);
    loop {
        match step {
            Step::Done(verdict) => return verdict,
            Step::Ask(questions) => step = walk.resume(&ask(client, questions), &ourselves),
        }
    }
}

/// All at once, in the order of the questions.
fn ask(client: &dns::Client, questions: Vec<Question>) -> Vec<Rc<Answer>> {
    let (replies, answers) = mpsc::channel();
    let count = questions.len();
    for (number, question) in questions.into_iter().enumerate() {
        let replies = replies.clone();
        // Whoever asked may be gone when a late answer comes.
        client.ask(question, Box::new(move |answer| drop(replies.send((number, answer)))));
    }
    let late = Rc::new(Answer::trouble(Trouble::Timeout));
    let mut found = vec![late; count];
    for _ in 0..count {
        let Ok((number, answer)) = answers.recv_timeout(PATIENCE) else { break };
        if let Some(place) = found.get_mut(number) {
            *place = Rc::new(answer);
        }
    }
    found
}

fn shown(domain: &str, verdict: &Verdict) -> String {
    let mut text = format!("{domain}\n");
    match verdict {
        Verdict::Reach(destination) => {
            for host in &destination.hosts {
                let addresses: Vec<String> =
                    host.addresses.iter().map(ToString::to_string).collect();
                let (preference, name) = (host.preference, &host.name);
                text.push_str(&format!("{preference:>7}  {name}  {}\n", addresses.join(" ")));
            }
            for note in &destination.notes {
                text.push_str(&format!("   note  {note}\n"));
            }
        }
        Verdict::Never(refusal) => text.push_str(&format!("  never  {refusal}\n")),
        Verdict::Later(refusal) => text.push_str(&format!("  later  {refusal}\n")),
    }
    text
}
