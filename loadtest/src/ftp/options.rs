//! ftp::options – what `loadtest ftp` can be asked for, and the run itself.
//!
//! Promises: what makes no sense is refused before anything is sent; a password is in no report.

#![allow(rustdoc::broken_intra_doc_links, reason = "help texts: brackets are what may be left out")]

use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, FromArgMatches as _};
use url::Url;

use crate::engine::plan::{Load, Plan};
use crate::engine::{self, tls};
use crate::ftp::work::{AbortBy, File, Mix, Sizes, Verb, Work, check_path, octets, read_files};
use crate::ftp::{DataMode, Ftp, TlsMode};
use crate::options::{LoadOptions, Stop};
use crate::run::{self, About, OutputOptions};
use crate::sys;

/// Sessions that store what `--prepare` asks for.
const PREPARING_SESSIONS: usize = 8;
/// How long preparing may take.
const PREPARING: Duration = Duration::from_secs(600);

/// Drives an FTP server.
#[derive(Args, Clone, Debug)]
pub struct FtpOptions {
    /// `ftp://[USER[:PASSWORD]@]HOST[:PORT]/PATH`; `ftps://` for implicit TLS. A PATH that ends in `/` is
    /// the folder that is listed and stored into, any other the file that is fetched
    #[arg(value_parser = url)]
    url: Url,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    work: WorkOptions,
    #[command(flatten)]
    dialogue: DialogueOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// What is done.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Work")]
struct WorkOptions {
    /// Operations by weight: retr, stor, appe, list, mlsd, login [default: retr, or stor for a folder]
    #[arg(long, value_name = "VERB=WEIGHT,…")]
    mix: Option<Mix>,
    /// Fetch the files of this list, one PATH [SIZE [CRC32C]] a line, instead of the URL's
    #[arg(long, value_name = "FILE")]
    files: Option<PathBuf>,
    /// Store so many files of --size first, and fetch those
    #[arg(long, value_name = "N", conflicts_with = "files")]
    prepare: Option<NonZeroU64>,
    /// Sizes of what is stored: 16k, lognormal:MEDIAN:SIGMA[:MAX], or manifest:FILE
    #[arg(long, default_value = "16k", value_name = "SIZE")]
    size: Sizes,
    /// The folder that is stored into [default: the URL's]
    #[arg(long, value_name = "PATH")]
    upload_dir: Option<String>,
    /// Stored files take turns in so many names [default: a new name each]
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    upload_names: u64,
    /// Delete what was stored, after the operation's end was taken
    #[arg(long)]
    delete: bool,
    /// Compare contents: of what is fetched with its checksum (list, --prepare, or first seen), of what
    /// is stored by fetching it again after the operation's end was taken
    #[arg(long)]
    checksum: bool,
    /// Share of RETR that begin in the middle, of STOR that come in two parts (REST)
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    rest: f64,
    /// Share of transfers that are slow
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    slow: f64,
    /// How slow: octets per second
    #[arg(long, default_value = "16k", value_parser = octets, value_name = "OCTETS")]
    slow_rate: u64,
    /// Share of RETR and STOR that are cut short at a random place
    #[arg(long, default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    abort: f64,
    /// How they are cut short
    #[arg(long, value_enum, default_value = "abor")]
    abort_by: AbortBy,
}

/// How the server is spoken to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Dialogue")]
struct DialogueOptions {
    /// How data connections are made
    #[arg(long, value_enum, default_value = "epsv")]
    data: DataMode,
    /// When TLS begins [default: off, for ftps:// implicit]
    #[arg(long, value_enum)]
    tls: Option<TlsMode>,
    /// Accept certificates that this PEM file vouches for
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
    /// The name the certificate must have [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// Resume no TLS session, on data connections either (some servers insist that one does)
    #[arg(long)]
    no_resume: bool,
    /// With TLS: data connections in clear (PROT C)
    #[arg(long)]
    clear_data: bool,
    /// Operations after which a session quits and another takes its place [default: no end]
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    operations_per_session: u32,
}

/// Runs what was asked for.
pub fn run(options: &FtpOptions) -> Result<(), Stop> {
    let usage = Stop::Usage;
    sys::catch_interrupts();
    sys::raise_descriptor_limit().map_err(|error| format!("descriptor limit: {error}"))?;
    let plan = options.load.plan().map_err(usage)?;
    // Everything that may be wrong with the options comes out here, before the first packet.
    let first = options.protocol(0, plan.seed).map_err(usage)?;
    let about = options.about(&first);
    let mut prepared = Vec::new();
    if let Some(count) = options.work.prepare {
        prepared = prepare(&first, &plan, count.get())?;
    }
    let outcome = run::run(&options.load, &options.output, &about, |repeat| {
        let mut ftp = options.protocol(repeat, plan.seed)?;
        if !prepared.is_empty() {
            ftp.work.files = prepared.iter().map(copy).collect();
        }
        Ok(Arc::new(ftp))
    });
    if options.work.delete && !prepared.is_empty() {
        remove(options.protocol(0, plan.seed).map_err(usage)?, &plan, prepared)?;
    }
    outcome.map(drop).map_err(Stop::Failed)
}

impl FtpOptions {
    /// What a URL alone asks for.
    pub fn of(url: &str) -> Result<Self, String> {
        let command = Self::augment_args(clap::Command::new("loadtest"));
        let matches = command.try_get_matches_from(["loadtest", url]);
        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| error.to_string())
    }

    /// The sessions of one repeat.
    pub fn protocol(&self, repeat: usize, seed: u64) -> Result<Ftp, String> {
        let mode = self.tls_mode()?;
        let host = self.url.host_str().ok_or("the URL names no host")?;
        let default_port = if mode == TlsMode::Implicit { 990 } else { 21 };
        let address = self.load.resolve(host, self.url.port().unwrap_or(default_port))?;
        let local = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
            .and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr()))
            .map_err(|error| format!("{address}: {error}"))?
            .ip();
        if self.dialogue.data == DataMode::Port && local.is_ipv6() {
            return Err("--data port cannot name an IPv6 address (--data eprt can)".to_owned());
        }
        let tls = self.tls_context(mode, host)?;
        let (user, password) = self.login()?;
        Ok(Ftp {
            address,
            local,
            user,
            password,
            tls_mode: mode,
            data_tls: tls.is_some() && !self.dialogue.clear_data,
            tls,
            data: self.dialogue.data,
            work: self.work(repeat, seed)?,
            checksum: self.work.checksum,
            delete: self.work.delete,
            operations_per_session: self.dialogue.operations_per_session,
            slow_rate: self.work.slow_rate.max(1),
            abort_by: self.work.abort_by,
        })
    }

    fn tls_mode(&self) -> Result<TlsMode, String> {
        let implicit = self.url.scheme() == "ftps";
        match self.dialogue.tls {
            None if implicit => Ok(TlsMode::Implicit),
            None => Ok(TlsMode::Off),
            Some(TlsMode::Off | TlsMode::Explicit) if implicit => {
                Err("ftps:// is implicit TLS (ftp:// with --tls explicit is AUTH TLS)".to_owned())
            }
            Some(mode) => Ok(mode),
        }
    }

    fn tls_context(&self, mode: TlsMode, host: &str) -> Result<Option<tls::Context>, String> {
        let trust = match (mode, &self.dialogue.ca) {
            (TlsMode::Off, None) if !self.dialogue.insecure => return Ok(None),
            (TlsMode::Off, _) => {
                return Err("--ca and --insecure are for TLS (ftps://, or --tls)".to_owned());
            }
            (_, Some(file)) => tls::Trust::File(file.clone()),
            (_, None) if self.dialogue.insecure => tls::Trust::Anybody,
            (_, None) => {
                return Err(
                    "whose certificate is to be accepted? (--ca FILE, or --insecure for any)"
                        .to_owned(),
                );
            }
        };
        let name = self.dialogue.tls_name.as_deref().unwrap_or(host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        tls::Context::new(&trust, bare, !self.dialogue.no_resume).map(Some)
    }

    fn login(&self) -> Result<(String, String), String> {
        let user = decode(self.url.username())?;
        let password = self.url.password().map(decode).transpose()?;
        for text in [Some(&user), password.as_ref()].into_iter().flatten() {
            if text.contains(['\r', '\n', '\0']) {
                return Err("name or password cannot be the argument of a command".to_owned());
            }
        }
        let anonymous = user.is_empty();
        let user = if anonymous { "anonymous".to_owned() } else { user };
        Ok((user, password.unwrap_or_else(|| "loadtest@".to_owned())))
    }

    fn work(&self, repeat: usize, seed: u64) -> Result<Work, String> {
        let path = decode(self.url.path())?;
        check_path(&path)?;
        let folder = path[..=path.rfind('/').unwrap_or(0)].to_owned();
        let is_folder = path.ends_with('/');
        let fetches = !is_folder || self.work.files.is_some() || self.work.prepare.is_some();
        let mix = self
            .work
            .mix
            .clone()
            .unwrap_or_else(|| Mix::only(if fetches { Verb::Retr } else { Verb::Stor }));
        let files = match &self.work.files {
            Some(list) => read_files(list)?,
            None if is_folder => Vec::new(),
            None => vec![File { path: path.clone(), ..File::default() }],
        };
        if mix.has(Verb::Retr) && !fetches {
            return Err(
                "RETR of what? (a URL that ends in a file, --files, or --prepare)".to_owned()
            );
        }
        let mut upload_dir = self.work.upload_dir.clone().unwrap_or_else(|| folder.clone());
        check_path(&upload_dir)?;
        if !upload_dir.ends_with('/') {
            upload_dir.push('/');
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Work {
            mix,
            sizes: self.work.size.clone(),
            files,
            list_path: folder,
            upload_dir,
            upload_names: self.work.upload_names,
            run: format!("{:x}-{}-{repeat}", since.as_secs(), std::process::id()),
            rest: self.work.rest,
            slow: self.work.slow,
            abort: self.work.abort,
            seed: seed.wrapping_add(repeat as u64),
        })
    }

    fn about(&self, ftp: &Ftp) -> About {
        let mut target = self.url.clone();
        if target.password().is_some() {
            // A URL with a host can have a password.
            let _always = target.set_password(Some("…"));
        }
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        About {
            protocol: "ftp",
            target: target.to_string(),
            settings: vec![
                ("mix", ftp.work.mix.to_string()),
                ("sizes", format!("{:?}", ftp.work.sizes)),
                ("data connections", ftp.data.name().to_owned()),
                ("TLS", format!("{:?}", ftp.tls_mode).to_lowercase()),
                ("checksums", yes(ftp.checksum)),
                ("share resumed", ftp.work.rest.to_string()),
                ("share slow", ftp.work.slow.to_string()),
                ("share aborted", ftp.work.abort.to_string()),
            ],
        }
    }
}

/// Stores the files that will be fetched.
fn prepare(first: &Ftp, plan: &Plan, count: u64) -> Result<Vec<File>, String> {
    let work = Work {
        mix: Mix::only(Verb::Stor),
        sizes: first.work.sizes.clone(),
        files: Vec::new(),
        list_path: String::new(),
        upload_dir: first.work.upload_dir.clone(),
        upload_names: 0,
        run: format!("{}-p", first.work.run),
        rest: 0.0,
        slow: 0.0,
        abort: 0.0,
        seed: first.work.seed,
    };
    let job = |number| work.job(number, 0, &mut super::work::Appended::default());
    let files = (0..count)
        .map(|number| {
            let job = job(number);
            let (seed, size) = job.content;
            File { path: job.path, size: Some(size), seed: Some(seed), ..File::default() }
        })
        .collect();
    all_at_once(first.with(work), plan, count, "--prepare")?;
    Ok(files)
}

/// Deletes them.
fn remove(ftp: Ftp, plan: &Plan, files: Vec<File>) -> Result<(), String> {
    let count = files.len() as u64;
    let work = Work { mix: Mix::only(Verb::Dele), files, ..ftp.work };
    let ftp = Ftp { work, ..ftp };
    all_at_once(ftp, plan, count, "--delete of what --prepare stored")
}

fn all_at_once(ftp: Ftp, plan: &Plan, count: u64, what: &str) -> Result<(), String> {
    let plan = Plan {
        load: Load::Closed { sessions: PREPARING_SESSIONS },
        sessions_max: PREPARING_SESSIONS,
        threads: plan.threads.min(PREPARING_SESSIONS),
        duration: PREPARING,
        count: Some(count),
        warm_up: Duration::ZERO,
        idle: 0,
        ..plan.clone()
    };
    let recording = engine::run(&Arc::new(ftp), &plan, None)?;
    if recording.done == count {
        return Ok(());
    }
    let errors: Vec<String> =
        recording.errors.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
    Err(format!("{what}: {} of {count} done; {}", recording.done, errors.join(", ")))
}

impl Ftp {
    /// The same server with other work: plain, unchecked, kept.
    fn with(&self, work: Work) -> Self {
        Self {
            address: self.address,
            local: self.local,
            user: self.user.clone(),
            password: self.password.clone(),
            tls_mode: self.tls_mode,
            tls: self.tls.clone(),
            data_tls: self.data_tls,
            data: self.data,
            work,
            checksum: false,
            delete: false,
            operations_per_session: 0,
            slow_rate: self.slow_rate,
            abort_by: self.abort_by,
        }
    }
}

fn copy(file: &File) -> File {
    File {
        path: file.path.clone(),
        size: file.size,
        crc: file.crc,
        seed: file.seed,
        ..File::default()
    }
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{error} (like ftp://127.0.0.1:2121/pub/file)"))?;
    if !matches!(url.scheme(), "ftp" | "ftps") {
        return Err(format!("{}:// is neither ftp:// nor ftps://", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("names no host".to_owned());
    }
    Ok(url)
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a share, like 0.25".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not between 0 and 1".to_owned()) }
}

/// Resolves `%xx` of a URL.
fn decode(text: &str) -> Result<String, String> {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let digits = more.first_chunk::<2>().and_then(|two| std::str::from_utf8(two).ok());
        let octet = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        octets.push(octet.ok_or_else(|| format!("{text}: % wants two hexadecimal digits"))?);
        rest = &more[2..];
    }
    String::from_utf8(octets).map_err(|_| format!("{text}: not UTF-8"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        ftp: FtpOptions,
    }

    fn protocol(line: &str) -> Result<Ftp, String> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        only.ftp.load.plan()?;
        only.ftp.protocol(0, 1)
    }

    #[test]
    fn a_url_says_who_where_and_what() {
        let ftp = protocol("ftp://me%40x:p%3Aw@127.0.0.1:2121/pub/a%20b").unwrap();
        assert_eq!((ftp.user.as_str(), ftp.password.as_str()), ("me@x", "p:w"));
        assert_eq!(ftp.address, "127.0.0.1:2121".parse().unwrap());
        assert_eq!(ftp.work.files[0].path, "/pub/a b");
        assert_eq!((ftp.work.upload_dir.as_str(), ftp.work.list_path.as_str()), ("/pub/", "/pub/"));
        assert_eq!(ftp.work.mix, Mix::only(Verb::Retr));
        let ftp = protocol("ftps://127.0.0.1/incoming/ --insecure").unwrap();
        assert_eq!((ftp.address.port(), ftp.user.as_str()), (990, "anonymous"));
        assert_eq!(ftp.work.mix, Mix::only(Verb::Stor));
        assert!(ftp.data_tls && ftp.tls_mode == TlsMode::Implicit);
        assert_eq!(
            protocol("ftp://[::1]:21/x").unwrap().local,
            "::1".parse::<std::net::IpAddr>().unwrap()
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, why) in [
            ("http://127.0.0.1/x", "neither"),
            ("127.0.0.1/x", "like ftp://"),
            ("ftp://127.0.0.1/%zz", "hexadecimal"),
            ("ftp://127.0.0.1/a%0d%0aDELE%20b", "argument of a command"),
            ("ftp://a%0ab@127.0.0.1/x", "argument of a command"),
            ("ftp://127.0.0.1/ --mix retr", "RETR of what"),
            ("ftp://192.0.2.1/x", "--i-own-this-host"),
            ("ftp://127.0.0.1/x --tls explicit", "--insecure"),
            ("ftp://127.0.0.1/x --insecure", "for TLS"),
            ("ftps://127.0.0.1/x --tls explicit --insecure", "implicit"),
            ("ftp://127.0.0.1/x --tls explicit --ca /nonexistent", "/nonexistent"),
            ("ftp://[::1]/x --data port", "eprt"),
            ("ftp://127.0.0.1/x --abort 2", "between 0 and 1"),
            ("ftp://127.0.0.1/x --files /nonexistent", "/nonexistent"),
        ] {
            let error = protocol(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn a_password_is_in_no_report() {
        let words = ["loadtest", "ftp://me:secret@127.0.0.1/x"];
        let options = Only::try_parse_from(words).unwrap().ftp;
        let about = options.about(&options.protocol(0, 1).unwrap());
        assert!(!format!("{about:?}").contains("secret"), "{about:?}");
    }
}
