//! cli::check::tuning – is this machine set as `tuning/` says?
//!
//! The tables beside `tuning/apply` are compiled in: there is no second list of values. Both programs look
//! at the same files of /proc and /sys by the same rules, which a test holds against each other.
//!
//! Promises: reads only; one line per group, with all that differs; what this kernel does not have is left out.
//! Not here: setting anything (`tuning/apply`), what a value is worth (`tuning/README.md`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Deserialize;

use crate::config::Config;
use crate::problem::Finding;

/// In the order in which they are shown.
const TABLES: [&str; 5] = [
    include_str!("../../../tuning/sysctl.toml"),
    include_str!("../../../tuning/limits.toml"),
    include_str!("../../../tuning/disk.toml"),
    include_str!("../../../tuning/nic.toml"),
    include_str!("../../../tuning/congestion.toml"),
];

/// A file of `tuning/`; what only people and `apply` read is passed over.
#[derive(Deserialize)]
struct Table {
    group: String,
    about: String,
    optional: bool,
    setting: Vec<Setting>,
}

#[derive(Deserialize)]
struct Setting {
    name: String,
    value: String,
    rule: String,
    /// Only where another one has that value: `name=value`.
    when: Option<String>,
    /// A key of the configuration that takes the place of the value.
    from: Option<String>,
}

/// What is looked at.
struct Machine<'a> {
    /// `/`, but in tests.
    root: &'a Path,
    data_dir: &'a Path,
    passive_ports: Option<(u16, u16)>,
}

/// One thing that a setting is about.
#[derive(Debug, PartialEq, Eq)]
struct Looked {
    name: String,
    present: String,
    value: String,
    met: bool,
}

pub(super) fn tuning(config: &Config) -> Vec<Finding> {
    // Of reserved ports `check` speaks where it looks at the passive ones.
    let machine =
        Machine { root: Path::new("/"), data_dir: &config.server.data_dir, passive_ports: None };
    TABLES.iter().filter_map(|text| finding(&machine, &read(text)?)).collect()
}

/// A table; a test reads each, so none fails.
fn read(text: &str) -> Option<Table> {
    toml::from_str(text).ok()
}

fn finding(machine: &Machine<'_>, table: &Table) -> Option<Finding> {
    let looked = look(machine, table);
    if looked.is_empty() {
        return None;
    }
    let differs: Vec<String> = looked
        .iter()
        .filter(|one| !one.met)
        .map(|one| {
            let present = if one.present.is_empty() { "nothing" } else { &one.present };
            format!("{} is {present}, not {}", one.name, one.value)
        })
        .collect();
    let Table { group, about, .. } = table;
    if differs.is_empty() {
        return Some(Finding::ok(format!("tuning, {about}: as in tuning/{group}.toml")));
    }
    Some(Finding::warn(
        format!("tuning, {about}: {}", differs.join("; ")),
        format!(
            "not needed to run; tuning/apply --dry-run {group} says what each is for, tuning/apply {group} sets it"
        ),
    ))
}

fn look(machine: &Machine<'_>, table: &Table) -> Vec<Looked> {
    let found = |name: &str| table.setting.iter().find(|setting| setting.name == name);
    match table.group.as_str() {
        "limits" => table.setting.iter().filter_map(|one| machine.limit(one)).collect(),
        "disk" => [
            found("scheduler").and_then(|one| machine.scheduler(one)),
            found("mount").and_then(|one| machine.mount(one)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        "nic" => machine.cards(&|name| found(name).map(|one| one.name.as_str())),
        _ => {
            let asked = |one: &&Setting| !table.optional || machine.applies(one);
            table.setting.iter().filter(asked).filter_map(|one| machine.sysctl(one)).collect()
        }
    }
}

impl Machine<'_> {
    fn read(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn kernel(&self, name: &str) -> Option<String> {
        let words = self.read(&format!("proc/sys/{}", name.replace('.', "/")))?;
        Some(words.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// A setting of an optional group is spoken of only where its condition holds.
    fn applies(&self, setting: &Setting) -> bool {
        let condition = setting.when.as_deref().and_then(|when| when.split_once('='));
        condition.is_some_and(|(name, value)| self.kernel(name).as_deref() == Some(value))
    }

    fn sysctl(&self, setting: &Setting) -> Option<Looked> {
        let present = self.kernel(&setting.name)?;
        let value = match setting.from {
            Some(_) => self.overlap()?,
            None => setting.value.clone(),
        };
        let met = met(&setting.rule, &value, &present);
        Some(Looked { name: setting.name.clone(), present, value, met })
    }

    /// The passive ports that the kernel gives to outgoing connections unless they are reserved.
    fn overlap(&self) -> Option<String> {
        let (first, last) = self.passive_ports?;
        let range = self.kernel("net.ipv4.ip_local_port_range")?;
        let (low, high) = range.split_once(' ')?;
        let (first, last) = (first.max(low.parse().ok()?), last.min(high.parse().ok()?));
        (first <= last).then(|| format!("{first}-{last}"))
    }

    /// Hard limits of this process.
    fn limit(&self, setting: &Setting) -> Option<Looked> {
        let line = match setting.name.as_str() {
            "nofile" => "Max open files",
            "memlock" => "Max locked memory",
            _ => return None,
        };
        let text = self.read("proc/self/limits")?;
        let rest = text.lines().find_map(|one| one.strip_prefix(line))?;
        let present = rest.split_whitespace().nth(1)?.to_owned();
        let met = met(&setting.rule, &setting.value, &present);
        Some(Looked { name: setting.name.clone(), present, value: setting.value.clone(), met })
    }

    /// The number of the disk that holds what there is of `data_dir`, as in /sys/dev/block.
    fn device(&self) -> Option<String> {
        let path = std::path::absolute(self.data_dir).ok()?;
        let device = path.ancestors().find_map(|above| fs::metadata(above).ok())?.dev();
        let major = (device >> 32) & 0xffff_f000 | (device >> 8) & 0xfff;
        let minor = (device >> 12) & 0xffff_ff00 | device & 0xff;
        Some(format!("{major}:{minor}"))
    }

    fn scheduler(&self, setting: &Setting) -> Option<Looked> {
        let device = self.device()?;
        // Of a partition, the disk has it.
        let read =
            |above: &str| self.read(&format!("sys/dev/block/{device}/{above}queue/scheduler"));
        let present = ["", "../"].into_iter().find_map(read)?;
        let met = met(&setting.rule, &setting.value, &present);
        Some(Looked { name: "scheduler".to_owned(), present, value: setting.value.clone(), met })
    }

    fn mount(&self, setting: &Setting) -> Option<Looked> {
        let device = self.device()?;
        let text = self.read("proc/self/mountinfo")?;
        let mut lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let line = lines.find(|words| words.get(2..4) == Some(&[device.as_str(), "/"][..]))?;
        let (point, options) = (line.get(4)?, line.get(5)?);
        let met = met(&setting.rule, &setting.value, options);
        let (name, present) = (format!("mount {point}"), (*options).to_owned());
        Some(Looked { name, present, value: setting.value.clone(), met })
    }

    /// Queues of network cards; `wanted` says which settings the table has.
    fn cards<'t>(&self, wanted: &dyn Fn(&str) -> Option<&'t str>) -> Vec<Looked> {
        let cpus = self.processors();
        let every = cpus.iter().fold(0, |mask, cpu| mask | bit(*cpu));
        let mut looked = Vec::new();
        for card in self.names("sys/class/net") {
            let folder = format!("sys/class/net/{card}");
            if !self.root.join(&folder).join("device").exists() {
                continue;
            }
            let queues = self.names(&format!("{folder}/queues"));
            let (receiving, sending) = (numbered(&queues, "rx-"), numbered(&queues, "tx-"));
            let mask = |setting: &str, queue: String, bits: u128| {
                let name = wanted(setting)?;
                let present = self.read(&format!("{folder}/queues/{queue}/{name}"))?;
                let met = mask(&present) == Some(bits);
                Some(Looked {
                    name: format!("{card} {queue} {name}"),
                    present,
                    value: masked(bits),
                    met,
                })
            };
            if 2 * receiving.len() < cpus.len() {
                let all =
                    receiving.iter().map(|number| mask("rps_cpus", format!("rx-{number}"), every));
                looked.extend(all.flatten());
            }
            if sending.len() == cpus.len() {
                let own = sending.iter().zip(&cpus);
                let own =
                    own.map(|(number, cpu)| mask("xps_cpus", format!("tx-{number}"), bit(*cpu)));
                looked.extend(own.flatten());
            }
            if receiving.len() == cpus.len() && wanted("irq").is_some() {
                looked.extend(self.interrupts(&card, &folder, &cpus));
            }
        }
        looked
    }

    /// The interrupt of queue n belongs to the n-th processor.
    fn interrupts(&self, card: &str, folder: &str, cpus: &[u32]) -> Vec<Looked> {
        let mut own = self.names(&format!("{folder}/device/msi_irqs"));
        if own.is_empty() {
            own = self.names(&format!("{folder}/device/../msi_irqs"));
        }
        let text = self.read("proc/interrupts").unwrap_or_default();
        let looked = text.lines().filter_map(|line| {
            let (irq, rest) = line.trim().split_once(':')?;
            let cpu = cpus.get(queue_of(rest.trim())?)?;
            let present = self.read(&format!("proc/irq/{irq}/smp_affinity_list"))?;
            let value = cpu.to_string();
            let met = present == value;
            own.iter().any(|one| one == irq).then(|| Looked {
                name: format!("{card} irq {irq}"),
                present,
                value,
                met,
            })
        });
        looked.collect()
    }

    fn processors(&self) -> Vec<u32> {
        let online = self.read("sys/devices/system/cpu/online").unwrap_or_else(|| "0".to_owned());
        ranges(&online).into_iter().flat_map(|(first, last)| first..=last).collect()
    }
}

/// Is what is there as good as the value? The same rules stand in `tuning/apply`.
fn met(rule: &str, value: &str, present: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (wanted, held) = (words(value), words(present));
    match rule {
        "at-least" => {
            wanted.len() == held.len()
                && wanted.iter().zip(&held).all(|(wanted, held)| number(held) >= number(wanted))
        }
        "at-most" => number(present) > Some(0) && number(present) <= number(value),
        "one-of" => match held.iter().find_map(|word| word.strip_prefix('[')?.strip_suffix(']')) {
            Some(chosen) => wanted.iter().any(|word| word == chosen),
            None => true,
        },
        "has" => present.split(',').any(|option| option == value),
        "covers" => {
            let held = ranges(present);
            let inside = |(first, last): (u32, u32)| {
                held.iter().any(|(low, high)| *low <= first && last <= *high)
            };
            ranges(value).into_iter().all(inside)
        }
        _ => wanted == held,
    }
}

/// `None` is less than any number.
fn number(word: &str) -> Option<u64> {
    if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
}

/// As in `21,40000-49999`.
fn ranges(text: &str) -> Vec<(u32, u32)> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.split(',').filter_map(range).collect()
}

fn bit(cpu: u32) -> u128 {
    1_u128.checked_shl(cpu).unwrap_or(0)
}

/// Processors as the kernel writes them: `ffffffff,00000001`.
fn mask(text: &str) -> Option<u128> {
    u128::from_str_radix(&text.replace(',', ""), 16).ok()
}

fn masked(bits: u128) -> String {
    let mut words = vec![format!("{:08x}", bits & 0xffff_ffff)];
    let mut rest = bits >> 32;
    while rest > 0 {
        words.insert(0, format!("{:08x}", rest & 0xffff_ffff));
        rest >>= 32;
    }
    words.join(",")
}

/// The numbers of queues, in order.
fn numbered(queues: &[String], kind: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> =
        queues.iter().filter_map(|name| name.strip_prefix(kind)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// The queue in the name of an interrupt: `virtio1-input.0`, `eth0-TxRx-3`, `mlx5-rx-1`.
fn queue_of(name: &str) -> Option<usize> {
    let (kind, number) = name.rsplit_once(['-', '.'])?;
    let kind = kind.to_ascii_lowercase();
    let known = ["input", "output", "txrx", "rx", "tx"].iter().any(|one| kind.ends_with(one));
    if known { number.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "tuning_tests.rs"]
mod tests;
