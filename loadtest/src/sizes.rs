//! sizes – how large things are: fixed, lognormal, or as often as a manifest says.
//!
//! ```text
//! 64KiB                      every one
//! lognormal:16KiB:1.5        median and sigma; lognormal:16KiB:1.5:10MiB cuts the tail off
//! manifest:FILE              a line each: SIZE [WEIGHT]; '#' begins a comment
//! ```
//!
//! Promises: the same seed draws the same sizes; a text that is none of these is refused with what is allowed.

use std::fs;
use std::str::FromStr;

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, LogNormal};

/// Where a lognormal tail is cut off unless said otherwise: this many times the median.
const TAIL_OVER_MEDIAN: u64 = 1000;
/// Lines of a manifest.
const MANIFEST_LINES_MAX: usize = 1_000_000;
const ALLOWED: &str = "a size (4096, 64KiB), lognormal:MEDIAN:SIGMA[:MOST] or manifest:FILE";

/// A distribution of sizes in octets.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    kind: Kind,
    text: String,
}

#[derive(Clone, Debug)]
enum Kind {
    Fixed(u64),
    Lognormal {
        drawn: LogNormal<f64>,
        most: u64,
    },
    /// Sizes with the sum of the weights up to each.
    Weighted(Vec<(u64, f64)>),
}

impl Sizes {
    /// Always the same.
    #[cfg(test)]
    pub(crate) fn fixed(octets: u64) -> Self {
        Self { kind: Kind::Fixed(octets), text: octets.to_string() }
    }

    /// The next one.
    pub(crate) fn draw(&self, chance: &mut StdRng) -> u64 {
        match &self.kind {
            Kind::Fixed(octets) => *octets,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a size is not negative, and `as` stops at the ends"
            )]
            Kind::Lognormal { drawn, most } => (drawn.sample(chance).round() as u64).min(*most),
            Kind::Weighted(table) => {
                let total = table.last().map_or(0.0, |(_, upto)| *upto);
                let wanted = chance.random::<f64>() * total;
                let at = table.partition_point(|(_, upto)| *upto <= wanted);
                table.get(at).or(table.last()).map_or(0, |(octets, _)| *octets)
            }
        }
    }

    /// Is there more than one?
    pub(crate) fn vary(&self) -> bool {
        !matches!(self.kind, Kind::Fixed(_))
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("{text:?}: {why} (give {ALLOWED})");
        let kind = match text.split_once(':') {
            None => Kind::Fixed(octets(text).map_err(|why| refuse(&why))?),
            Some(("manifest", file)) => Kind::Weighted(manifest(file)?),
            Some(("lognormal", rest)) => lognormal(rest).map_err(|why| refuse(&why))?,
            Some((other, _)) => return Err(refuse(&format!("{other:?} is no distribution"))),
        };
        Ok(Self { kind, text: text.to_owned() })
    }
}

/// `4096`, `64KiB`, `1.5MB`, `2G`: K, M and G are of 1024 with `i` or alone, of 1000 with `B`.
pub(crate) fn octets(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("{unit:?} is no unit")),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| "too large".to_owned());
    }
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "digits and one point: not negative, and `as` stops at the ends"
    )]
    Ok((number * factor as f64).round() as u64)
}

fn lognormal(rest: &str) -> Result<Kind, String> {
    let fields: Vec<&str> = rest.split(':').collect();
    let (median, sigma, most) = match fields[..] {
        [median, sigma] => (octets(median)?, sigma, None),
        [median, sigma, most] => (octets(median)?, sigma, Some(octets(most)?)),
        _ => return Err("it takes a median and a sigma".to_owned()),
    };
    let sigma: f64 = sigma.parse().map_err(|_| format!("{sigma:?} is no sigma"))?;
    if median == 0 || !(0.0..=10.0).contains(&sigma) {
        return Err("the median must be above 0, sigma between 0 and 10".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "a median, not an account")]
    let drawn = LogNormal::new((median as f64).ln(), sigma).map_err(|error| error.to_string())?;
    Ok(Kind::Lognormal { drawn, most: most.unwrap_or(median.saturating_mul(TAIL_OVER_MEDIAN)) })
}

fn manifest(file: &str) -> Result<Vec<(u64, f64)>, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("{file}: {error} (name a file of lines SIZE [WEIGHT])"))?;
    let (mut table, mut total) = (Vec::new(), 0.0);
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("{file}:{}: {why} (a line is SIZE [WEIGHT])", number + 1);
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(size) = words.next() else { continue };
        let weight: f64 = match words.next() {
            None => 1.0,
            Some(word) => word.parse().map_err(|_| wrong(&format!("{word:?} is no weight")))?,
        };
        if words.next().is_some() || !weight.is_finite() || weight < 0.0 {
            return Err(wrong("too many words, or a weight below 0"));
        }
        if table.len() == MANIFEST_LINES_MAX {
            return Err(wrong(&format!("more than {MANIFEST_LINES_MAX} lines")));
        }
        total += weight;
        table.push((octets(size).map_err(|why| wrong(&why))?, total));
    }
    if total <= 0.0 {
        return Err(format!("{file}: no size with a weight (a line is SIZE [WEIGHT])"));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn units() {
        let good = [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65536),
            ("64k", 65536),
            ("2MB", 2_000_000),
            ("1.5Mi", 1_572_864),
            ("1G", 1 << 30),
        ];
        for (text, wanted) in good {
            assert_eq!(octets(text), Ok(wanted), "{text}");
        }
        for bad in ["", "k", "-1", "1.2.3", "9999999999999999999G", "4 KiB", "1TiBs"] {
            assert!(octets(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lognormal_has_its_median_and_its_end() {
        let sizes: Sizes = "lognormal:16KiB:1.5:1MiB".parse().unwrap();
        let mut chance = StdRng::seed_from_u64(1);
        let mut drawn: Vec<u64> = (0..20_001).map(|_| sizes.draw(&mut chance)).collect();
        drawn.sort_unstable();
        let median = drawn[10_000];
        assert!((15_000..18_000).contains(&median), "median {median}");
        assert_eq!(drawn[20_000], 1 << 20, "the tail is cut off where it was said");
        assert!(sizes.vary() && !Sizes::fixed(1).vary());
    }

    #[test]
    fn a_manifest_is_drawn_by_weight() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sizes");
        let mut out = fs::File::create(&file).unwrap();
        write!(out, "# ours\n1KiB 3\n\n2KiB   # weight 1\n5 0\n").unwrap();
        let sizes: Sizes = format!("manifest:{}", file.display()).parse().unwrap();
        let mut chance = StdRng::seed_from_u64(1);
        let drawn: Vec<u64> = (0..4000).map(|_| sizes.draw(&mut chance)).collect();
        let small = drawn.iter().filter(|&&one| one == 1024).count();
        assert!((2850..3150).contains(&small), "{small} of 4000 are small");
        assert!(drawn.iter().all(|one| [1024, 2048].contains(one)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sizes");
        fs::write(&file, "1KiB\n2KiB x\n").unwrap();
        let said = format!("manifest:{}", file.display()).parse::<Sizes>().unwrap_err();
        assert!(said.contains("sizes:2: \"x\" is no weight"), "{said}");
        for bad in [
            "",
            "x",
            "normal:1:1",
            "lognormal:0:1",
            "lognormal:1:-1",
            "lognormal:1",
            "manifest:/none",
        ] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad}");
        }
    }
}
