//! smtp::session::vouching – XCLIENT and XFORWARD: a peer that is trusted says of whom it speaks.
//!
//! XCLIENT (Postfix's XCLIENT_README) makes the session that of another client, from the greeting on. XFORWARD
//! (XFORWARD_README) says where one message came from: for the log, and nothing else believes it.
//!
//! Promises: who is not trusted is told nothing and believed nothing; after XCLIENT nothing of the client
//! before is left, its login included; what was said in clear is forgotten with STARTTLS (RFC 3207 §4.2).
//! Not here: the arguments (`smtp::claims`); whether a user exists, limits: the driver asks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Asked, Session};
use crate::smtp::claims::{Claim, Forwarded};
use crate::smtp::reply::{self, Reply};
use crate::smtp::step::{Answer, Ask, Fault, Login, Next};
use crate::wire::outbox::Outbox;

/// What a peer is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trust {
    /// XCLIENT.
    pub client: bool,
    /// XFORWARD.
    pub forward: bool,
}

/// What a peer said of others.
#[derive(Debug)]
pub(super) struct Vouched {
    /// Where the peer itself is.
    peer: SocketAddr,
    /// The client's name.
    name: Option<String>,
    /// The client is authenticated, because the peer says so.
    login: bool,
    /// What the driver is being asked about.
    pending: Vec<Claim>,
    forwarded: Forwarded,
}

impl Session {
    /// What the peer is believed: right after `new`, unless nothing.
    pub fn trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    /// What XFORWARD said of the message that is on its way.
    pub fn forwarded(&self) -> Option<&Forwarded> {
        self.vouched.as_ref().map(|vouched| &vouched.forwarded).filter(|it| !it.is_empty())
    }

    /// The name that XCLIENT gave the client.
    pub fn client_name(&self) -> Option<&str> {
        self.vouched.as_ref()?.name.as_deref()
    }

    pub(super) fn order_of_claims(&self, trusted: bool) -> Result<(), Reply> {
        match self.in_transaction() {
            _ if !trusted => Err(reply::NOT_TRUSTED),
            true => Err(reply::VOUCH_IN_TRANSACTION),
            false => Ok(()),
        }
    }

    /// XCLIENT.
    pub(super) fn speak_for(&mut self, claims: Vec<Claim>) -> Option<Next<'static>> {
        let mut address = self.peer;
        let vouched = self.vouched_mut();
        let mut login = if vouched.login { Login::Same } else { Login::Nobody };
        for claim in &claims {
            match claim {
                // Of somebody nowhere nothing holds that holds of an address.
                Claim::Address(ip) => {
                    address.set_ip(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
                }
                Claim::Port(port) => address.set_port(port.unwrap_or(0)),
                Claim::Login(None) => login = Login::Nobody,
                Claim::Login(Some(name)) => login = Login::User(name.clone()),
                Claim::Name(_)
                | Claim::Protocol(_)
                | Claim::Helo(_)
                | Claim::Destination(_)
                | Claim::DestinationPort(_)
                | Claim::Ident(_)
                | Claim::Local(_) => {}
            }
        }
        vouched.pending = claims;
        self.asked = Some(Asked::Client);
        Some(Next::Ask(Ask::Client { address, login }))
    }

    pub(super) fn client_answered(&mut self, answer: &Answer, out: &mut Outbox) {
        let claims = std::mem::take(&mut self.vouched_mut().pending);
        match answer {
            Answer::Done => {
                self.become_client(claims);
                let settings = &self.settings;
                reply::greeting(&settings.hostname, &settings.banner, settings.lmtp, out);
            }
            Answer::Refused(Fault::Busy) => self.close(reply::TOO_MANY_OF_ADDRESS, out),
            Answer::Refused(fault) => self.refused(*fault, out),
            Answer::Verified(..)
            | Answer::Expanded(_)
            | Answer::Committed(_)
            | Answer::Said(_)
            | Answer::Challenge(_)
            | Answer::Authenticated => self.refused(Fault::Broken, out),
        }
    }

    /// The session begins anew, with another client.
    fn become_client(&mut self, claims: Vec<Claim>) {
        self.reset();
        self.forget_forwarded();
        self.data_refused = false;
        (self.errors, self.failures) = (0, 0);
        let (mut peer, mut helo, mut extended) = (self.peer, None, false);
        let vouched = self.vouched_mut();
        for claim in claims {
            match claim {
                Claim::Address(ip) => {
                    peer.set_ip(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
                }
                Claim::Port(port) => peer.set_port(port.unwrap_or(0)),
                Claim::Name(name) => vouched.name = name,
                Claim::Login(user) => vouched.login = user.is_some(),
                // As if the client had said so; what it says itself then, through the peer, counts.
                Claim::Helo(name) => helo = name,
                Claim::Protocol(name) => extended = name.is_some_and(|name| name != "SMTP"),
                // Where it connected to decides nothing here.
                Claim::Destination(_)
                | Claim::DestinationPort(_)
                | Claim::Ident(_)
                | Claim::Local(_) => {}
            }
        }
        let login = vouched.login;
        self.peer = peer;
        self.helo = helo.map(String::into_boxed_str);
        self.extended = extended;
        self.authenticated = login;
    }

    /// XFORWARD.
    pub(super) fn forward(
        &mut self,
        claims: Vec<Claim>,
        out: &mut Outbox,
    ) -> Option<Next<'static>> {
        self.vouched_mut().forwarded.add(claims);
        reply::FORWARDED.send(out);
        None
    }

    /// A transaction is over: what was forwarded belonged to it.
    pub(super) fn forget_forwarded(&mut self) {
        if let Some(vouched) = &mut self.vouched {
            vouched.forwarded = Forwarded::default();
        }
    }

    /// Nothing of what was said in clear is believed any more; the client is the peer itself again.
    pub(super) fn forget_vouched(&mut self) {
        if let Some(vouched) = self.vouched.take() {
            self.peer = vouched.peer;
        }
    }

    fn vouched_mut(&mut self) -> &mut Vouched {
        let peer = self.peer;
        self.vouched.get_or_insert_with(|| {
            Box::new(Vouched {
                peer,
                name: None,
                login: false,
                pending: Vec::new(),
                forwarded: Forwarded::default(),
            })
        })
    }
}
