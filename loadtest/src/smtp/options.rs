//! smtp::options – what `loadtest smtp` can be asked for, made into a run.
//!
//! Promises: what makes no sense together is refused before anything is sent; the password of a URL is
//! not repeated in any output.

#![allow(rustdoc::broken_intra_doc_links, reason = "help texts: brackets are what may be left out")]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;
use rand::RngExt as _;
use url::Url;

use super::corpus::{Corpus, Form};
use super::hostile::Hostile;
use super::journal::Journal;
use super::mail::{Login, Mail, Security, Way};
use crate::engine::tls::{Context, Trust};
use crate::options::LoadOptions;
use crate::run::{About, OutputOptions};
use crate::sizes::{self, Sizes};

const PORT: u16 = 25;
const PORT_TLS: u16 = 465;
/// Most messages of one body and size in a journal line.
const RECIPIENTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 1_000_000;

/// Sends mail to any SMTP server and measures how it is taken
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// smtp://[USER:PASSWORD@]HOST[:PORT], or smtps:// for TLS from the first octet
    #[arg(value_name = "URL")]
    url: Url,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    letters: Letters,
    #[command(flatten)]
    session: Dialogue,
    #[command(flatten)]
    output: OutputOptions,
}

/// What is sent, and for whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mail")]
struct Letters {
    /// Size of messages: 16KiB, lognormal:MEDIAN:SIGMA[:MOST] or manifest:FILE (lines SIZE [WEIGHT])
    #[arg(long, default_value = "4KiB", value_name = "SIZES")]
    size: Sizes,
    /// Send the .eml files of this folder instead, by turns, each marked with a line of its own
    #[arg(long, value_name = "DIR", conflicts_with = "size")]
    corpus: Option<PathBuf>,
    /// Text with octets above 127 (BODY=8BITMIME where it is offered)
    #[arg(long, conflicts_with = "corpus")]
    eight_bit: bool,
    /// Also send bodies that a server must refuse or keep as they are, and not take for two messages
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…")]
    hostile: Vec<Hostile>,
    /// With --hostile: every so manieth message is one
    #[arg(long, default_value_t = 1, value_name = "N", requires = "hostile",
        value_parser = clap::value_parser!(u64).range(1..))]
    hostile_every: u64,
    /// Sender; empty is the null sender
    #[arg(long, default_value = "loadtest@localhost", value_name = "ADDRESS")]
    from: String,
    /// Recipient; % is a number below --mailboxes; may be given several times
    #[arg(long, default_value = "loadtest@localhost", value_name = "ADDRESS")]
    to: Vec<String>,
    /// How many addresses --to with % stands for
    #[arg(long, default_value_t = 1, value_name = "N")]
    mailboxes: usize,
    /// Recipients of each message
    #[arg(long, default_value_t = 1, value_name = "N")]
    recipients: usize,
    /// Write every message sent, its hash and the queue id it was accepted under to this file,
    /// for `loadtest audit`; an existing file is continued
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// How it is sent.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Session")]
struct Dialogue {
    /// Messages of one connection; 0 is no limit
    #[arg(long, default_value_t = 1, value_name = "N")]
    messages_per_connection: u64,
    /// One command at a time, even to a server that offers PIPELINING
    #[arg(long)]
    no_pipelining: bool,
    /// Send with BDAT, in chunks of --chunk-size
    #[arg(long)]
    chunking: bool,
    /// Octets of a chunk
    #[arg(long, default_value = "64KiB", value_parser = sizes::octets, value_name = "SIZE")]
    chunk_size: u64,
    /// Send everything in random segments of at most so many octets
    #[arg(long, value_parser = sizes::octets, value_name = "SIZE")]
    segments: Option<u64>,
    /// Send and receive at most so many octets per second on each connection
    #[arg(long, value_parser = sizes::octets, value_name = "SIZE")]
    pace: Option<u64>,
    /// STARTTLS before anything else
    #[arg(long)]
    starttls: bool,
    /// Trust what this PEM file vouches for
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Take any certificate
    #[arg(long)]
    insecure: bool,
    /// A full TLS handshake for every connection
    #[arg(long)]
    no_resume: bool,
    /// How to log in when the URL has a user
    #[arg(long, value_enum, default_value = "plain")]
    auth: Way,
    /// Name given with EHLO
    #[arg(long, default_value = "loadtest.invalid", value_name = "NAME")]
    helo: String,
}

/// Carries out a run.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let about = options.about();
    let mut newest: Option<Arc<Mail>> = None;
    let written = |mail: &Option<Arc<Mail>>| {
        let why = mail.as_ref().and_then(|mail| mail.unwritten.get());
        why.map_or(Ok(()), |why| Err(why.clone()))
    };
    crate::run::run(&options.load, &options.output, &about, |repeat| {
        written(&newest)?;
        let mail = Arc::new(options.mail(repeat)?);
        newest = Some(Arc::clone(&mail));
        Ok(mail)
    })?;
    written(&newest)?;
    newest.and_then(|mail| mail.written.as_ref().map(Journal::sync)).unwrap_or(Ok(()))
}

impl Options {
    /// Refuses what makes no sense, before anything is opened.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (security, host, port) = self.server()?;
        self.load.plan()?;
        self.load.resolve(&host, port)?;
        self.tls(security, &host)?;
        self.login()?;
        self.letters.addresses()?;
        plain("--helo", &self.session.helo)?;
        plain("--from", &self.letters.from)?;
        if self.session.chunk_size == 0 || self.session.segments == Some(0) {
            return Err("--chunk-size and --segments must be above 0".to_owned());
        }
        Ok(())
    }

    /// What all sessions of one repeat share.
    fn mail(&self, repeat: usize) -> Result<Mail, String> {
        let (security, host, port) = self.server()?;
        let target = self.load.resolve(&host, port)?;
        let tls = self.tls(security, &host)?;
        let login = self.login()?;
        let addresses = self.letters.addresses()?;
        let run = format!("{:016x}", rand::rng().random::<u64>());
        let seed = self.load.seed.wrapping_add(repeat as u64);
        let corpus = self.letters.corpus(self.session.form(), &run, &addresses[0], seed)?;
        let journal = self.letters.journal.as_deref();
        let journal = journal.map(|path| Journal::open(path, &run, &target.to_string()));
        let messages = self.session.messages_per_connection;
        let octets = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Mail {
            target,
            security,
            tls,
            login,
            helo: plain("--helo", &self.session.helo)?,
            from: plain("--from", &self.letters.from)?,
            addresses,
            recipients_per_message: self.letters.recipients,
            messages_per_connection: if messages == 0 { u64::MAX } else { messages },
            pipelining: !self.session.no_pipelining,
            chunk_octets: octets(self.session.chunk_size),
            segment_octets_max: self.session.segments.map(octets),
            pace: self.session.pace,
            corpus,
            run,
            seed,
            written: journal.transpose()?,
            unwritten: OnceLock::new(),
        })
    }

    fn server(&self) -> Result<(Security, String, u16), String> {
        let (security, port) = match (self.url.scheme(), self.session.starttls) {
            ("smtp", false) => (Security::Plain, PORT),
            ("smtp", true) => (Security::StartTls, PORT),
            ("smtps", false) => (Security::Implicit, PORT_TLS),
            ("smtps", true) => {
                return Err(
                    "--starttls: smtps:// is TLS from the first octet (say smtp://)".to_owned()
                );
            }
            (other, _) => {
                return Err(format!("{other}://: not a server of mail (smtp:// or smtps://)"));
            }
        };
        let host = self.url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| "the URL has no host (smtp://HOST:PORT)".to_owned())?;
        Ok((security, host.to_owned(), self.url.port().unwrap_or(port)))
    }

    fn tls(&self, security: Security, host: &str) -> Result<Option<Context>, String> {
        if security == Security::Plain {
            return Ok(None);
        }
        let trust = match (&self.session.ca, self.session.insecure) {
            (Some(file), _) => Trust::File(file.clone()),
            (None, true) => Trust::Anybody,
            (None, false) => {
                return Err("TLS needs --ca FILE, or --insecure to take any certificate".to_owned());
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Context::new(&trust, host, !self.session.no_resume).map(Some)
    }

    fn login(&self) -> Result<Option<Login>, String> {
        if self.url.username().is_empty() {
            return Ok(None);
        }
        let password =
            self.url.password().ok_or("the URL has a user and no password (USER:PASSWORD@)")?;
        let (user, password) = (decoded(self.url.username())?, decoded(password)?);
        Ok(Some(Login { way: self.session.auth, user, password }))
    }

    fn about(&self) -> About {
        let mut target = self.url.clone();
        if target.password().is_some() {
            // Only a URL without a host refuses, and it is refused itself.
            target.set_password(Some("…")).unwrap_or_default();
        }
        let (letters, session) = (&self.letters, &self.session);
        let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
        let mut settings = vec![
            ("messages", letters.what()),
            ("recipients per message", letters.recipients.to_string()),
            (
                "messages per connection",
                match session.messages_per_connection {
                    0 => "no limit".to_owned(),
                    limit => limit.to_string(),
                },
            ),
            ("PIPELINING", yes(!session.no_pipelining)),
            (
                "CHUNKING",
                match session.chunking {
                    true => format!("chunks of {} octets", session.chunk_size),
                    false => yes(false),
                },
            ),
            (
                "TLS",
                match (self.url.scheme(), session.starttls) {
                    ("smtps", _) => "implicit".to_owned(),
                    (_, true) => "STARTTLS".to_owned(),
                    _ => yes(false),
                },
            ),
            (
                "AUTH",
                match self.url.username() {
                    "" => yes(false),
                    _ => format!("{:?}", session.auth).to_uppercase(),
                },
            ),
        ];
        if let Some(segments) = session.segments {
            settings.push(("segments", format!("random, at most {segments} octets")));
        }
        if let Some(pace) = session.pace {
            settings.push(("pace", format!("{pace} octets per second and connection")));
        }
        if let Some(journal) = &letters.journal {
            settings.push(("journal", journal.display().to_string()));
        }
        About { protocol: "smtp", target: target.to_string(), settings }
    }
}

impl Letters {
    fn addresses(&self) -> Result<Vec<String>, String> {
        if self.mailboxes == 0 || self.mailboxes > ADDRESSES_MAX {
            return Err(format!("--mailboxes: from 1 to {ADDRESSES_MAX}"));
        }
        let mut addresses = Vec::new();
        for pattern in &self.to {
            let pattern = plain("--to", pattern)?;
            let count = if pattern.contains('%') { self.mailboxes } else { 1 };
            addresses.extend((0..count).map(|one| pattern.replace('%', &one.to_string())));
        }
        let most = addresses.len().min(RECIPIENTS_MAX);
        if self.recipients == 0 || self.recipients > most {
            return Err(format!(
                "--recipients {}: from 1 to {most}, which is how many addresses there are at most (give \
                 more --to, or one with % and --mailboxes)",
                self.recipients
            ));
        }
        Ok(addresses)
    }

    fn corpus(&self, form: Form, run: &str, recipient: &str, seed: u64) -> Result<Corpus, String> {
        let corpus = match &self.corpus {
            Some(folder) => Corpus::folder(folder, form)?,
            None => Corpus::generated(&self.size, self.eight_bit, seed, form),
        };
        Ok(corpus.with_hostile(&self.hostile, self.hostile_every, run, recipient))
    }

    fn what(&self) -> String {
        let mut what = match &self.corpus {
            Some(folder) => format!("the .eml files of {}", folder.display()),
            None => format!("text of {} octets", self.size),
        };
        if self.eight_bit {
            what.push_str(", 8-bit");
        }
        if !self.hostile.is_empty() {
            what.push_str(&format!(", every {}. hostile: {:?}", self.hostile_every, self.hostile));
        }
        what
    }
}

impl Dialogue {
    fn form(&self) -> Form {
        if self.chunking { Form::Chunks } else { Form::Data }
    }
}

/// What goes into a command must not end it.
fn plain(option: &str, text: &str) -> Result<String, String> {
    if text.chars().any(|c| c.is_control() || c == '<' || c == '>') {
        return Err(format!(
            "{option} {text:?}: an angle or a control character has no place in it"
        ));
    }
    Ok(text.to_owned())
}

/// Undoes the %-encoding of a URL.
fn decoded(text: &str) -> Result<String, String> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            octets.push(first);
            continue;
        }
        let two = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let octet = two.and_then(|two| u8::from_str_radix(two, 16).ok());
        octets.push(octet.ok_or("the user or password of the URL has a % without two digits")?);
        rest = &tail[2..];
    }
    String::from_utf8(octets).map_err(|_| "the user or password of the URL is no UTF-8".to_owned())
}
