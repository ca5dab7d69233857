//! ftp::work – what operation number n is: its verb, its file, its size, its mishaps.
//!
//! Everything follows from the seed and the number, so that a run can be repeated. Contents of what
//! is stored come from `pattern`, so that they can be checked at any offset without being kept.
//!
//! Promises: the same seed and number give the same operation.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};

use crate::client::pattern;

/// Appended to one file at most so often, or reading it back would become all the work.
const APPENDS_PER_FILE: u32 = 8;
/// Where in a file of unknown size a transfer is aborted, at most.
const ABORT_BYTES_UNKNOWN: u64 = 64 << 10;
/// Largest file a distribution yields unless told.
const SIZE_MAX: u64 = 1 << 30;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Fetch.
    Retr,
    /// Store.
    Stor,
    /// Append.
    Appe,
    /// List for people.
    List,
    /// List for programs.
    Mlsd,
    /// Connect, log in, quit.
    Login,
    /// Delete; for tidying up, not part of a mix.
    Dele,
}

impl Verb {
    /// Names in the report, by `Verb as usize`; the last is for transfers that were cut short on purpose.
    pub const NAMES: [&'static str; 8] =
        ["RETR", "STOR", "APPE", "LIST", "MLSD", "login", "DELE", "aborted"];
    /// The kind of transfers that were cut short on purpose.
    pub const ABORTED: usize = 7;

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether octets flow to the server.
    pub fn stores(self) -> bool {
        matches!(self, Self::Stor | Self::Appe)
    }
}

/// Verbs by weight: `retr=8,stor=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(Vec<(Verb, f64)>);

impl Mix {
    /// Only that.
    pub fn only(verb: Verb) -> Self {
        Self(vec![(verb, 1.0)])
    }

    /// Whether `verb` is in it.
    pub fn has(&self, verb: Verb) -> bool {
        self.0.iter().any(|(one, _)| *one == verb)
    }

    fn pick(&self, chance: &mut SmallRng) -> Verb {
        let mut at = chance.random::<f64>() * self.0.iter().map(|(_, weight)| weight).sum::<f64>();
        for (verb, weight) in &self.0 {
            at -= weight;
            if at < 0.0 {
                return *verb;
            }
        }
        self.0[0].0
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (verb, weight)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(out, "{comma}{} {weight}", verb.name())?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = BTreeMap::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let verb = match name.trim().to_ascii_lowercase().as_str() {
                "retr" => Verb::Retr,
                "stor" => Verb::Stor,
                "appe" => Verb::Appe,
                "list" => Verb::List,
                "mlsd" => Verb::Mlsd,
                "login" => Verb::Login,
                other => {
                    return Err(format!(
                        "{other:?} is none of retr, stor, appe, list, mlsd, login"
                    ));
                }
            };
            let weight: f64 =
                weight.trim().parse().map_err(|_| format!("{weight:?} is no weight"))?;
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(format!("{weight} is no weight"));
            }
            weights.insert(verb, weight);
        }
        weights.retain(|_, weight| *weight > 0.0);
        if weights.is_empty() {
            Err("no weight above 0".to_owned())
        } else {
            Ok(Self(weights.into_iter().collect()))
        }
    }
}

/// How large files are.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// All the same.
    Fixed(u64),
    /// As files on disks are: many small, few large.
    LogNormal { distribution: LogNormal<f64>, max: u64 },
    /// One of these.
    Listed(Vec<u64>),
}

impl Sizes {
    fn pick(&self, chance: &mut SmallRng) -> u64 {
        match self {
            Self::Fixed(size) => *size,
            Self::LogNormal { distribution, max } => (distribution.sample(chance) as u64).min(*max),
            Self::Listed(sizes) => sizes[chance.random_range(0..sizes.len())],
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.splitn(2, ':').collect();
        match parts[..] {
            ["lognormal", rest] => {
                let parts: Vec<&str> = rest.split(':').collect();
                let (median, sigma, max) = match parts[..] {
                    [median, sigma] => (octets(median)?, sigma, SIZE_MAX),
                    [median, sigma, max] => (octets(median)?, sigma, octets(max)?),
                    _ => return Err("lognormal:MEDIAN:SIGMA[:MAX]".to_owned()),
                };
                let sigma: f64 = sigma.parse().map_err(|_| format!("{sigma:?} is no sigma"))?;
                let distribution = LogNormal::new((median.max(1) as f64).ln(), sigma)
                    .map_err(|error| format!("sigma {sigma}: {error}"))?;
                Ok(Self::LogNormal { distribution, max })
            }
            ["manifest", file] => {
                let sizes: Vec<u64> =
                    read_files(Path::new(file))?.iter().filter_map(|file| file.size).collect();
                if sizes.is_empty() {
                    return Err(format!("{file}: no line with a size (PATH SIZE)"));
                }
                Ok(Self::Listed(sizes))
            }
            _ => octets(text).map(Self::Fixed),
        }
    }
}

/// `512`, `16k`, `1.5m`, `2g`, in powers of 1024.
pub fn octets(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = match unit {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("{text:?} is no size, like 512, 16k, 1.5m or 2g")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no size, like 16k"))?;
    let size = number * unit;
    // A tebibyte: beyond it somebody mistook the unit.
    if size > 1024.0_f64.powi(4) { Err("more than 1024g".to_owned()) } else { Ok(size as u64) }
}

/// A file on the server that is fetched.
#[derive(Debug, Default)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Its size, if known beforehand.
    pub size: Option<u64>,
    /// CRC-32C of its contents, if known beforehand.
    pub crc: Option<u32>,
    /// The pattern it was made of, if we made it.
    pub seed: Option<u64>,
    /// Size and checksum as the first whole transfer found them.
    pub learned: OnceLock<(u64, Option<u32>)>,
}

impl File {
    /// The size, if it is known by now.
    pub fn size(&self) -> Option<u64> {
        self.size.or_else(|| self.learned.get().map(|(size, _)| *size))
    }

    /// The checksum, if it is known by now.
    pub fn crc(&self) -> Option<u32> {
        self.crc.or_else(|| self.learned.get().and_then(|(_, crc)| *crc))
    }
}

/// Reads a list of files: `PATH [SIZE [CRC32C]]` by line, fields parted by tabs or, if there is no
/// tab, by blanks; `#` begins a comment.
pub fn read_files(file: &Path) -> Result<Vec<File>, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut files = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |what: &str| format!("{}:{}: {what}", file.display(), number + 1);
        let mut fields = if line.contains('\t') {
            line.split('\t').collect::<Vec<_>>()
        } else {
            line.split_whitespace().collect()
        }
        .into_iter();
        let path = fields.next().unwrap_or_default();
        check_path(path).map_err(|why| bad(&why))?;
        let size = fields.next().map(str::parse).transpose();
        let crc = fields.next().map(|crc| u32::from_str_radix(crc, 16)).transpose();
        files.push(File {
            path: path.to_owned(),
            size: size.map_err(|_| bad("the size is no number of octets"))?,
            crc: crc.map_err(|_| bad("the checksum is no CRC-32C in hexadecimal"))?,
            ..File::default()
        });
    }
    if files.is_empty() { Err(format!("{}: no file in it", file.display())) } else { Ok(files) }
}

/// A path must be one argument of one command.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() || path.contains(['\r', '\n', '\0']) {
        return Err(format!("{path:?} cannot be the argument of a command"));
    }
    Ok(())
}

/// How transfers are cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AbortBy {
    /// With ABOR.
    Abor,
    /// By resetting the data connection.
    Reset,
    /// By closing the data connection.
    Close,
}

/// What all operations have in common.
#[derive(Debug)]
pub struct Work {
    /// Verbs by weight.
    pub mix: Mix,
    /// Sizes of what is stored.
    pub sizes: Sizes,
    /// What is fetched.
    pub files: Vec<File>,
    /// What is listed.
    pub list_path: String,
    /// Where uploads go, with its slash.
    pub upload_dir: String,
    /// Names uploads take turns in; 0 = a new name each.
    pub upload_names: u64,
    /// Distinguishes the names of this run.
    pub run: String,
    /// Share of transfers that begin in the middle.
    pub rest: f64,
    /// Share of transfers that are slow.
    pub slow: f64,
    /// Share of transfers that are cut short.
    pub abort: f64,
    /// Where chance begins.
    pub seed: u64,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub path: String,
    /// Which of `Work::files` is fetched.
    pub file: Option<usize>,
    /// Contents that are stored: the pattern and how many octets of it.
    pub content: (u64, u64),
    /// Where it begins.
    pub offset: u64,
    /// Whether it is slow.
    pub slow: bool,
    /// After how many octets it is cut short.
    pub abort_after: Option<u64>,
}

/// What a session appended to, so that it can be read back.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    file: u32,
    /// The pieces so far.
    pub pieces: Vec<(u64, u64)>,
}

impl Work {
    /// Operation number `number`; `session` names what it appends to.
    pub fn job(&self, number: u64, session: u64, appended: &mut Appended) -> Job {
        let mut chance =
            SmallRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let verb = self.mix.pick(&mut chance);
        let mut job = Job {
            verb,
            path: String::new(),
            file: None,
            content: (0, 0),
            offset: 0,
            slow: chance.random::<f64>() < self.slow,
            abort_after: None,
        };
        let mut length = None;
        match verb {
            Verb::Retr | Verb::Dele => {
                let at = if verb == Verb::Dele {
                    number as usize % self.files.len().max(1)
                } else {
                    chance.random_range(0..self.files.len().max(1))
                };
                job.file = Some(at);
                job.path = self.files.get(at).map(|file| file.path.clone()).unwrap_or_default();
                length = self.files.get(at).and_then(File::size);
            }
            Verb::Stor => {
                let name = if self.upload_names == 0 { number } else { number % self.upload_names };
                job.path = format!("{}lt-{}-{name}", self.upload_dir, self.run);
                job.content = (number, self.sizes.pick(&mut chance));
                length = Some(job.content.1);
            }
            Verb::Appe => {
                if appended.pieces.len() as u32 >= APPENDS_PER_FILE {
                    appended.next();
                }
                let file = appended.file;
                job.path = format!("{}lt-{}-appe-{session}-{file}", self.upload_dir, self.run);
                job.content = (number, self.sizes.pick(&mut chance));
            }
            Verb::List | Verb::Mlsd => job.path.clone_from(&self.list_path),
            Verb::Login => {}
        }
        let transfers = matches!(verb, Verb::Retr | Verb::Stor);
        let (rest, abort) = (chance.random::<f64>(), chance.random::<f64>());
        if transfers && abort < self.abort {
            let most = length.unwrap_or(ABORT_BYTES_UNKNOWN).max(1);
            job.abort_after = Some(chance.random_range(0..most));
        } else if transfers
            && rest < self.rest
            && let Some(size) = length.filter(|size| *size > 1)
        {
            job.offset = chance.random_range(1..size);
        }
        job
    }
}

impl Appended {
    /// Begins another file.
    pub fn next(&mut self) {
        self.file += 1;
        self.pieces.clear();
    }
}

/// Contents that are expected, piece after piece.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pieces: Vec<(u64, u64)>,
    at: u64,
    /// Whether everything so far was as expected.
    pub right: bool,
}

impl Expected {
    /// These pieces (pattern, length), from `offset` of the first on.
    pub fn new(pieces: Vec<(u64, u64)>, offset: u64) -> Self {
        Self { pieces, at: offset, right: true }
    }

    /// How many octets there are in all.
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|(_, length)| length).sum()
    }

    /// Compares what came.
    pub fn take(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && self.right {
            let mut start = 0;
            let here = self.pieces.iter().find(|(_, length)| {
                let inside = self.at < start + length;
                if !inside {
                    start += length;
                }
                inside
            });
            let Some((seed, length)) = here else {
                self.right = false;
                return;
            };
            let within = self.at - start;
            let count = octets.len().min(usize::try_from(length - within).unwrap_or(usize::MAX));
            self.right = pattern::matches(*seed, within, &octets[..count]);
            self.at += count as u64;
            octets = &octets[count..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(mix: &str, size: &str) -> Work {
        Work {
            mix: mix.parse().unwrap(),
            sizes: size.parse().unwrap(),
            files: vec![
                File { path: "/a".into(), size: Some(1000), ..File::default() },
                File { path: "/b".into(), ..File::default() },
            ],
            list_path: "/".into(),
            upload_dir: "/in/".into(),
            upload_names: 0,
            run: "r".into(),
            rest: 0.5,
            slow: 0.25,
            abort: 0.25,
            seed: 7,
        }
    }

    fn jobs(work: &Work) -> Vec<Job> {
        let mut appended = Appended::default();
        (0..4000).map(|number| work.job(number, 3, &mut appended)).collect()
    }

    #[test]
    fn weights_and_shares_are_kept_and_the_same_seed_gives_the_same() {
        let work = work("retr=6, stor=3,list=1,mlsd=0", "16k");
        let all = jobs(&work);
        assert_eq!(all, jobs(&work));
        let share = |want: &dyn Fn(&Job) -> bool| {
            all.iter().filter(|job| want(job)).count() as f64 / all.len() as f64
        };
        for (verb, expected) in [(Verb::Retr, 0.6), (Verb::Stor, 0.3), (Verb::List, 0.1)] {
            let found = share(&|job| job.verb == verb);
            assert!((found - expected).abs() < 0.03, "{verb:?} {found}");
        }
        assert!((share(&|job| job.slow) - 0.25).abs() < 0.03);
        assert!((share(&|job| job.abort_after.is_some()) - 0.9 * 0.25).abs() < 0.03);
        assert!(all.iter().all(|job| job.path != "/b" || job.offset == 0), "its size is unknown");
        assert!(all.iter().any(|job| job.path == "/a" && job.offset > 0));
        assert!(
            all.iter()
                .all(|job| job.offset < 16 << 10 && job.abort_after.is_none_or(|at| at < 64 << 10))
        );
    }

    #[test]
    fn sizes_follow_their_distribution() {
        let chance = &mut SmallRng::seed_from_u64(1);
        let sizes: Sizes = "lognormal:64k:1.0:10m".parse().unwrap();
        let mut drawn: Vec<u64> = (0..4001).map(|_| sizes.pick(chance)).collect();
        drawn.sort_unstable();
        let median = drawn[2000] as f64 / 65536.0;
        assert!((0.85..1.15).contains(&median), "{median}");
        // One sigma above the median is e times it.
        let upper = drawn[(4001.0 * 0.8413) as usize] as f64 / drawn[2000] as f64;
        assert!((2.3..3.2).contains(&upper), "{upper}");
        assert!(drawn[4000] <= 10 << 20);
        assert_eq!("16k".parse(), Ok(Sizes::Fixed(16 << 10)));
        assert_eq!(octets("1.5m"), Ok(3 << 19));
        for wrong in
            ["", "k", "5x", "-1", "1e99", "lognormal:1k", "lognormal:1k:x", "manifest:/none"]
        {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
        for wrong in ["", "retr=x", "dele=1", "retr=0", "retr=-1", "retr=inf"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_files_has_paths_sizes_and_checksums() {
        let directory = std::env::temp_dir().join(format!("loadtest-files-{}", std::process::id()));
        std::fs::write(&directory, "# all\n/a 10 DEADBEEF\n/with\ttabs and blanks\n\n/c\n")
            .unwrap();
        let error = read_files(&directory).unwrap_err();
        assert!(error.contains(":3: the size"), "{error}");
        std::fs::write(&directory, "# all\n/a 10 DEADBEEF\n/two words\t7\n\n/c\n").unwrap();
        let files = read_files(&directory).unwrap();
        std::fs::remove_file(&directory).unwrap();
        let seen: Vec<_> =
            files.iter().map(|file| (file.path.as_str(), file.size, file.crc)).collect();
        assert_eq!(
            seen,
            [
                ("/a", Some(10), Some(0xDEAD_BEEF)),
                ("/two words", Some(7), None),
                ("/c", None, None)
            ]
        );
        assert!(check_path("/a\r\nDELE /b").is_err());
    }

    #[test]
    fn expected_contents_are_compared_over_their_pieces() {
        let mut whole = Vec::new();
        pattern::write(&mut whole, 1, 1000).unwrap();
        pattern::write(&mut whole, 2, 500).unwrap();
        let pieces = vec![(1, 1000), (2, 500)];
        for (offset, size) in [(0, 7), (10, 333), (0, 1500)] {
            let mut expected = Expected::new(pieces.clone(), offset as u64);
            whole[offset..].chunks(size).for_each(|chunk| expected.take(chunk));
            assert!(expected.right, "{offset} {size}");
            expected.take(b"x");
            assert!(!expected.right, "more than there was");
        }
        whole[1200] ^= 1;
        let mut expected = Expected::new(pieces, 0);
        expected.take(&whole);
        assert!(!expected.right);
    }
}
