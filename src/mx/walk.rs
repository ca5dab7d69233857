//! mx::walk – one resolution, from a domain to a verdict, in at most two rounds of questions.
//!
//! ```text
//!  [192.0.2.1] ──────────────────────────────────────────────────────▶ verdict
//!  domain ─▶ MX? ─▶ some ─▶ candidates ─▶ their addresses? ──────────▶ verdict
//!                └▶ none ─▶ the domain itself (implicit MX) ─┘
//!  host of a route ──────▶ its addresses? ───────────────────────────▶ verdict
//! ```
//! Promises: a name that is not there, and one that takes no mail, is for ever; what nobody knows now is
//! not; a route's host is never for ever, for it is the operator who wrote it.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use super::select::{self, Candidate, Chosen, Hosts, Reachable};
use super::{
    Answer, Destination, Found, Host, Kind, Note, Ourselves, Question, Refusal, Trouble, Verdict,
};

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// These are to be asked, all at once; [`Walk::resume`] wants the answers in this order.
    Ask(Vec<Question>),
    /// Nothing more is to be asked.
    Done(Verdict),
}

/// One resolution.
#[derive(Debug)]
pub struct Walk {
    /// Domain or host, as it is shown.
    subject: String,
    seed: u64,
    stage: Stage,
    notes: Vec<Note>,
    ttl_seconds: u32,
}

#[derive(Debug)]
enum Stage {
    Exchanges,
    Addresses(Vec<Candidate>, Origin),
}

/// Where candidates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// MX records.
    Records,
    /// There are none: the domain itself (RFC 5321 §5.1).
    Implicit,
    /// A route.
    Route,
}

impl Walk {
    /// Where mail for a domain goes: `example.org` with A-labels, `[192.0.2.1]` or `[ipv6:2001:db8::1]`.
    /// The seed orders hosts of equal preference.
    pub fn mail(domain: &str, seed: u64, ourselves: &Ourselves) -> (Self, Step) {
        let domain = domain.to_ascii_lowercase();
        let inside = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let walk = Self::new(select::printable(&domain), seed, Stage::Exchanges);
        let step = match inside {
            Some(inside) => Step::Done(walk.literal(literal(inside), ourselves)),
            None => {
                let name = domain.strip_suffix('.').unwrap_or(&domain);
                if select::is_name(name) {
                    Step::Ask(vec![Question::new(name, Kind::Mx, false)])
                } else {
                    // Nobody could have this name (RFC 1035 §2.3.4): the same as not being there.
                    let text = "not a name that the DNS could have";
                    Step::Done(walk.never(550, "5.1.2", text))
                }
            }
        };
        (walk, step)
    }

    /// Where a host is that a route names: a name, or an address with or without brackets.
    pub fn host(host: &str) -> (Self, Step) {
        let host = host.to_ascii_lowercase();
        let name = host.strip_suffix('.').unwrap_or(&host).to_owned();
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
        let address = bare.parse().ok().or_else(|| literal(bare));
        let whole = select::is_name(&name);
        let candidate = Candidate { name: name.clone(), preference: 0, address };
        let questions = both(&candidate, true);
        let stage = Stage::Addresses(vec![candidate], Origin::Route);
        let walk = Self::new(select::printable(&name), 0, stage);
        let step = match address {
            Some(address) => Step::Done(Verdict::Reach(walk.one(bare.to_owned(), address))),
            None if whole => Step::Ask(questions),
            None => Step::Done(walk.later("4.4.4", "the host of the route is no name")),
        };
        (walk, step)
    }

    fn new(subject: String, seed: u64, stage: Stage) -> Self {
        Self { subject, seed, stage, notes: Vec::new(), ttl_seconds: u32::MAX }
    }

    /// Goes on with the answers to what was asked.
    pub fn resume(&mut self, answers: &[Rc<Answer>], ourselves: &Ourselves) -> Step {
        for answer in answers {
            self.ttl_seconds = self.ttl_seconds.min(answer.ttl_seconds);
        }
        match std::mem::replace(&mut self.stage, Stage::Exchanges) {
            Stage::Exchanges => match answers.first() {
                Some(answer) => self.exchanges(answer, ourselves),
                None => Step::Done(self.later("4.4.3", &said("MX", Trouble::Garbled))),
            },
            Stage::Addresses(candidates, origin) => {
                Step::Done(self.addresses(&candidates, origin, answers, ourselves))
            }
        }
    }

    // ------------------------------------------------------------ MX records

    fn exchanges(&mut self, answer: &Answer, ourselves: &Ourselves) -> Step {
        if answer.alias {
            // The name behind it is taken as if it were the first one (RFC 5321 §5.1); resolvers follow.
            self.notes.push(Note::Alias(self.subject.clone()));
        }
        let (candidates, origin) = match &answer.found {
            Found::Exchanges(exchanges) => {
                match select::candidates(exchanges, ourselves, self.seed, &mut self.notes) {
                    Chosen::Candidates(candidates) => (candidates, Origin::Records),
                    Chosen::Null => {
                        // RFC 7505 §4.2 has both numbers.
                        let text = "the domain takes no mail (null MX)";
                        return Step::Done(self.never(556, "5.1.10", text));
                    }
                    Chosen::Loop => return Step::Done(self.in_circles()),
                    Chosen::Unusable => {
                        let text = "no MX of the domain has a usable name";
                        return Step::Done(self.never(550, "5.4.4", text));
                    }
                }
            }
            // "If an empty list of MXs is returned, the address is treated as if it was associated with an
            // implicit MX RR with a preference of 0" (RFC 5321 §5.1).
            Found::Nothing => {
                let name = self.subject.strip_suffix('.').unwrap_or(&self.subject).to_owned();
                (vec![Candidate { name, preference: 0, address: None }], Origin::Implicit)
            }
            Found::NoName => return Step::Done(self.never(550, "5.1.2", "no such domain")),
            Found::Trouble(trouble) => {
                return Step::Done(self.later("4.4.3", &said("MX", *trouble)));
            }
            Found::Addresses(_) => {
                return Step::Done(self.later("4.4.3", &said("MX", Trouble::Garbled)));
            }
        };
        let questions: Vec<Question> =
            candidates.iter().flat_map(|candidate| both(candidate, false)).collect();
        if questions.is_empty() {
            return Step::Done(self.addresses(&candidates, origin, &[], ourselves));
        }
        self.stage = Stage::Addresses(candidates, origin);
        Step::Ask(questions)
    }

    // ------------------------------------------------------------ addresses

    fn addresses(
        &mut self,
        candidates: &[Candidate],
        origin: Origin,
        answers: &[Rc<Answer>],
        ourselves: &Ourselves,
    ) -> Verdict {
        // A route may lead to another server on this machine: a filter, a mailbox cluster.
        let nobody = Ourselves::default();
        let ourselves = if origin == Origin::Route { &nobody } else { ourselves };
        let missing = Answer::trouble(Trouble::Garbled);
        let mut answers = answers.iter();
        let mut next = || answers.next().map_or(&missing, |answer| &**answer);
        let mut gone = true;
        let mut outcomes = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            outcomes.push(match candidate.address {
                Some(address) if select::is_usable(&address) => Reachable::At(vec![address]),
                Some(_) => Reachable::Nowhere,
                None => {
                    let (v6, v4) = (next(), next());
                    gone &= [v6, v4].iter().all(|answer| answer.found == Found::NoName);
                    let alias = Note::Alias(candidate.name.clone());
                    if (v6.alias || v4.alias) && !self.notes.contains(&alias) {
                        self.notes.push(alias);
                    }
                    select::addresses(v6, v4, ourselves)
                }
            });
        }
        let found = select::hosts(candidates, outcomes, &mut self.notes);
        self.judge(found, origin, gone)
    }

    /// `gone`: every name that was looked up is not there.
    fn judge(&self, found: Hosts, origin: Origin, gone: bool) -> Verdict {
        if !found.hosts.is_empty() {
            return Verdict::Reach(Destination {
                hosts: found.hosts,
                ttl_seconds: self.ttl_seconds,
                notes: self.notes.clone(),
            });
        }
        if let Some(trouble) = found.trouble {
            let about = if origin == Origin::Records { "addresses of its MX" } else { "addresses" };
            return self.later("4.4.3", &said(about, trouble));
        }
        match origin {
            _ if found.ourselves => self.in_circles(),
            // MX records of which none can be used are an error, and no reason to try the domain itself
            // (RFC 5321 §5.1).
            Origin::Records => self.never(550, "5.4.4", "no MX of the domain has an address"),
            Origin::Implicit if gone => self.never(550, "5.1.2", "no such domain"),
            Origin::Implicit => self.never(550, "5.1.2", "the domain has neither MX nor addresses"),
            Origin::Route => self.later("4.4.4", "the host of the route has no address"),
        }
    }

    // ------------------------------------------------------------ without the DNS

    /// An address in brackets (RFC 5321 §4.1.3).
    fn literal(&self, address: Option<IpAddr>, ourselves: &Ourselves) -> Verdict {
        match address.map(|address| address.to_canonical()) {
            Some(address) if ourselves.has_address(&address) => self.in_circles(),
            Some(address) if select::is_usable(&address) => {
                Verdict::Reach(self.one(address.to_string(), address))
            }
            Some(_) => self.never(550, "5.1.2", "no host can have this address"),
            None => self.never(550, "5.1.2", "an address of a kind that is not known here"),
        }
    }

    fn one(&self, name: String, address: IpAddr) -> Destination {
        let host = Host { name, preference: 0, addresses: vec![address.to_canonical()] };
        Destination { hosts: vec![host], ttl_seconds: self.ttl_seconds, notes: self.notes.clone() }
    }

    // ------------------------------------------------------------ refusals

    fn in_circles(&self) -> Verdict {
        self.never(554, "5.4.6", "mail for the domain would come back to this server")
    }

    fn never(&self, code: u16, status: &'static str, text: &str) -> Verdict {
        Verdict::Never(Refusal { code, status, text: format!("{}: {text}", self.subject) })
    }

    fn later(&self, status: &'static str, text: &str) -> Verdict {
        Verdict::Later(Refusal { code: 451, status, text: format!("{}: {text}", self.subject) })
    }
}

fn said(about: &str, trouble: Trouble) -> String {
    format!("{about}: {trouble}")
}

/// What is to be asked about a host; nothing when its name is an address.
fn both(candidate: &Candidate, files: bool) -> Vec<Question> {
    if candidate.address.is_some() {
        return Vec::new();
    }
    [Kind::V6, Kind::V4].map(|kind| Question::new(&candidate.name, kind, files)).to_vec()
}

/// What stands between brackets; `None` for tags other than IPv6.
fn literal(inside: &str) -> Option<IpAddr> {
    match inside.strip_prefix("ipv6:") {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => inside.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4),
    }
}
