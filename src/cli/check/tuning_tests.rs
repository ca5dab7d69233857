//! `check` and `tuning/apply` against each other, on machines made of files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A machine below a directory of its own.
struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    /// As a kernel without tuning has it: two processors, a card with one queue.
    fn new() -> Self {
        let fake = Self { root: tempfile::tempdir().unwrap() };
        for (path, text) in [
            ("proc/sys/net/core/somaxconn", "4096"),
            ("proc/sys/net/core/default_qdisc", "pfifo_fast"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
            ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1"),
            ("proc/sys/net/ipv4/tcp_congestion_control", "cubic"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", ""),
            ("proc/sys/vm/dirty_background_bytes", "0"),
            ("proc/sys/vm/dirty_background_ratio", "10"),
            ("proc/sys/vm/dirty_bytes", "0"),
            ("proc/sys/vm/dirty_ratio", "20"),
            ("sys/devices/system/cpu/online", "0-1"),
            ("sys/class/net/eth0/device/vendor", "0x1af4"),
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0"),
            ("sys/class/net/lo/queues/rx-0/rps_cpus", "0"),
        ] {
            fake.set(path, text);
        }
        let device = fake.machine().device().unwrap();
        fake.set(&format!("sys/dev/block/{device}/queue/scheduler"), "none mq-deadline [bfq]");
        let mounts = format!(
            "22 1 0:5 / /proc rw - proc proc rw\n30 1 {device} / /srv rw,relatime - ext4 /dev/x rw"
        );
        fake.set("proc/self/mountinfo", &mounts);
        fake
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn machine(&self) -> Machine<'_> {
        Machine {
            root: self.root.path(),
            data_dir: self.root.path(),
            passive_ports: Some((40_000, 49_999)),
        }
    }

    /// What `check` sees of everything but limits, which are those of a process.
    fn seen(&self) -> BTreeMap<String, (String, bool)> {
        let tables = TABLES.iter().map(|text| read(text).unwrap());
        let looked = tables
            .filter(|table| table.group != "limits")
            .flat_map(|table| look(&self.machine(), &table));
        looked.map(|one| (one.name, (one.value, one.met))).collect()
    }

    fn apply(&self, arguments: &[&str]) -> String {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/apply");
        let output = Command::new("python3")
            .arg(program)
            .arg("--system")
            .arg(self.root.path())
            .arg("--data")
            .arg(self.root.path())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "apply {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `apply` sees; of congestion control only what `check` speaks of.
    fn seen_by_apply(&self) -> BTreeMap<String, (String, bool)> {
        let groups = ["sysctl", "disk", "nic", "congestion"];
        let text = self.apply(&[&groups[..], &["--dry-run", "--json"]].concat());
        let looked: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let optional = |one: &serde_json::Value| one["group"] == "congestion";
        let spoken = self.seen();
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        looked
            .iter()
            .filter(|one| !optional(one) || spoken.contains_key(&word(&one["name"])))
            .map(|one| (word(&one["name"]), (word(&one["value"]), one["met"].as_bool().unwrap())))
            .collect()
    }

    /// Every file but what `apply` remembers.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![self.root.path().to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("sluicegate-tuning") || path.ends_with("commands") {
                    continue;
                }
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    found.insert(path.clone(), fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }
}

/// `tuning/apply` needs Python 3.11.
fn python() -> bool {
    let able = Command::new("python3").args(["-c", "import tomllib"]).status();
    let able = able.is_ok_and(|status| status.success());
    if !able {
        // The checks of a change run where there is one.
        eprintln!("skipped: no python3 with tomllib");
    }
    able
}

#[test]
fn every_table_is_read_and_says_all_that_people_need() {
    let rules = [
        "at-least",
        "at-most",
        "exactly",
        "one-of",
        "has",
        "covers",
        "fewer-queues",
        "as-many-queues",
    ];
    for text in TABLES {
        let table = read(text).expect("a table");
        assert!(!table.about.is_empty());
        let raw: toml::Table = toml::from_str(text).unwrap();
        for (setting, raw) in table.setting.iter().zip(raw["setting"].as_array().unwrap()) {
            let name = &setting.name;
            assert!(rules.contains(&setting.rule.as_str()), "{name}: rule {}", setting.rule);
            for key in ["why", "default", "known"] {
                assert!(raw[key].as_str().is_some_and(|text| !text.is_empty()), "{name}: {key}");
            }
            let measured = raw["known"].as_str() == Some("measured");
            assert_eq!(raw.get("measure").is_some(), measured, "{name}: measured by what?");
        }
    }
}

#[test]
fn check_and_apply_see_the_same() {
    if !python() {
        return;
    }
    let stock = Fake::new();
    let odd = Fake::new();
    // More than enough, just enough, too little; bbr without fq; a card with a queue for each processor.
    odd.set("proc/sys/net/core/somaxconn", "65535");
    odd.set("proc/sys/net/ipv4/tcp_wmem", "4096 16384 67108864");
    odd.set("proc/sys/net/ipv4/tcp_rmem", "8192 131072 67108863");
    odd.set("proc/sys/net/ipv4/tcp_congestion_control", "bbr");
    odd.set("proc/sys/net/ipv4/ip_local_reserved_ports", "21,40000-44999,45000-49999");
    odd.set("proc/sys/net/ipv4/ip_local_port_range", "45000 60999");
    odd.set("proc/sys/vm/dirty_bytes", "1048576");
    odd.set("sys/class/net/eth0/queues/rx-1/rps_cpus", "0");
    odd.set("sys/class/net/eth0/queues/tx-0/xps_cpus", "00000000,00000001");
    odd.set("sys/class/net/eth0/queues/tx-1/xps_cpus", "1");
    odd.set("sys/class/net/eth0/device/msi_irqs/25", "msi");
    odd.set("sys/class/net/eth0/device/msi_irqs/26", "msi");
    odd.set("proc/interrupts", "   CPU0\n 25:  1 2  PCI-MSI  virtio0-input.0\n 26: 1  PCI-MSI eth0-TxRx-1\n 27: 1 PCI-MSI eth1-rx-1\n");
    odd.set("proc/irq/25/smp_affinity_list", "0");
    odd.set("proc/irq/26/smp_affinity_list", "0-1");
    odd.set("proc/irq/27/smp_affinity_list", "0-1");
    let elsewhere = Fake::new();
    elsewhere.set("proc/sys/net/ipv4/ip_local_port_range", "50000 60999");
    elsewhere.set("sys/devices/system/cpu/online", "0-39");
    for (fake, unmet) in [(&stock, 10), (&odd, 9), (&elsewhere, 10)] {
        let seen = fake.seen();
        assert_eq!(seen, fake.seen_by_apply());
        let kernel = |name: &str| fake.machine().kernel(name).unwrap();
        let taken = crate::cli::check::taken_by_others(
            40_000,
            49_999,
            &kernel("net.ipv4.ip_local_port_range"),
            &kernel("net.ipv4.ip_local_reserved_ports"),
        );
        let reserved = seen.get("net.ipv4.ip_local_reserved_ports");
        assert_eq!(taken, reserved.is_some_and(|(_, met)| !met));
        assert_eq!(seen.values().filter(|(_, met)| !met).count(), unmet, "{seen:#?}");
    }
    assert!(!elsewhere.seen().contains_key("net.ipv4.ip_local_reserved_ports"));
    assert_eq!(elsewhere.seen()["eth0 rx-0 rps_cpus"].0, "000000ff,ffffffff");
    assert!(!stock.seen().contains_key("net.core.default_qdisc"), "cubic needs no fq");
    assert_eq!(odd.seen()["net.core.default_qdisc"], ("fq".to_owned(), false));
}

#[test]
fn what_apply_sets_check_finds_right_and_undo_puts_back() {
    if !python() {
        return;
    }
    let fake = Fake::new();
    fake.set("proc/sys/net/ipv4/tcp_congestion_control", "bbr");
    fake.set("etc/sysctl.d/90-sluicegate.conf", "vm.swappiness = 1");
    fake.set("sys/devices/system/cpu/online", "0-3");
    let before = fake.files();
    fake.apply(&["--dry-run"]);
    assert_eq!(fake.files(), before, "a dry run changes nothing");

    let groups = ["sysctl", "limits", "disk", "nic", "congestion", "unit"];
    fake.apply(&groups);
    let commands = fs::read_to_string(fake.root.path().join("commands")).unwrap();
    assert_eq!(commands, "mount -o remount,noatime /srv\nsystemctl daemon-reload\n");
    let mounts = fake.root.path().join("proc/self/mountinfo");
    let unmounted = fs::read_to_string(&mounts).unwrap();
    fs::write(&mounts, unmounted.replace("relatime", "noatime")).unwrap();
    let unmet: Vec<_> = fake.seen().into_iter().filter(|(_, (_, met))| !met).collect();
    assert_eq!(unmet, [], "after apply");

    let once = fake.files();
    fake.apply(&groups);
    assert_eq!(fake.files(), once, "a second run changes nothing");
    let conf = &once[&fake.root.path().join("etc/sysctl.d/90-sluicegate.conf")];
    assert!(conf.contains("net.ipv4.tcp_wmem = 4096 16384 67108864\n"), "{conf}");
    let limits = &once[&fake.root.path().join("etc/security/limits.d/90-sluicegate.conf")];
    assert!(limits.contains("sluicegate - memlock unlimited\n"), "{limits}");

    fake.apply(&["--undo"]);
    fs::write(&mounts, unmounted).unwrap();
    // A kernel shows the others beside the one that was written.
    let scheduler = format!("sys/dev/block/{}/queue/scheduler", fake.machine().device().unwrap());
    assert_eq!(fake.machine().read(&scheduler).unwrap(), "bfq");
    fake.set(&scheduler, "none mq-deadline [bfq]");
    assert_eq!(fake.files(), before, "after undo");
    assert!(fake.apply(&["--undo"]).starts_with("nothing to undo"));
}

#[test]
fn what_others_changed_meanwhile_stays_theirs() {
    if !python() {
        return;
    }
    let fake = Fake::new();
    fake.apply(&["sysctl"]);
    fake.set("proc/sys/net/core/somaxconn", "10000");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/apply");
    let output = Command::new("python3")
        .args([program.as_os_str(), "--undo".as_ref(), "--system".as_ref()])
        .arg(fake.root.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it is 10000 now, not the 8192 that was set; left as it is"), "{said}");
    assert_eq!(fake.machine().kernel("net.core.somaxconn").unwrap(), "10000");
    assert_eq!(fake.machine().kernel("net.ipv4.tcp_slow_start_after_idle").unwrap(), "1");
}

#[test]
fn a_group_is_one_line() {
    let fake = Fake::new();
    let table = read(TABLES[2]).unwrap();
    let line = finding(&fake.machine(), &table).unwrap().to_string();
    assert!(
        line.starts_with(
            "warn  tuning, the disk of data_dir: scheduler is none mq-deadline [bfq], not none mq-deadline; \
             mount /srv is rw,relatime, not noatime (not needed to run; tuning/apply --dry-run disk "
        ),
        "{line}"
    );
    let congestion = read(TABLES[4]).unwrap();
    assert_eq!(finding(&fake.machine(), &congestion), None, "optional, and cubic");
}
