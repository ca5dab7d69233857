//! config tests: the default text proves the defaults, and every message is pinned.

use std::path::{Path, PathBuf};

use super::*;

fn machine() -> Machine {
    Machine { hostname: "edge.example.org".into(), cores: 4, directory: "/home/op".into() }
}

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(Path::new("s.toml"), text, &machine(), None)
}

#[track_caller]
fn good(text: &str) -> Config {
    match parse(text) {
        Ok(config) => config,
        Err(problems) => panic!("{}", lines(&problems).join("\n")),
    }
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn bad(text: &str) -> Vec<String> {
    lines(&parse(text).unwrap_err())
}

#[test]
fn the_default_text_is_the_defaults() {
    let config = good(&default_text());
    assert_eq!(config, good("[ftp]\n"));
    assert_eq!(
        config.server,
        Server {
            hostname: "edge.example.org".into(),
            data_dir: "/home/op/sluicegate-data".into(),
            shards: 4,
            cpus: vec![],
            metrics_listen: Some("127.0.0.1:9180".parse().unwrap()),
            max_connections: 100_000,
            max_connections_per_ip: 0,
            drain_seconds: 30,
            user: None,
        }
    );
    assert_eq!(config.log, Log { level: "info".into(), json: false, xferlog: None });
    assert_eq!(
        config.ftp.unwrap(),
        Ftp {
            listen: vec!["127.0.0.1:2121".parse().unwrap()],
            root: "/home/op/sluicegate-data/ftp".into(),
            anonymous: Anonymous::Read,
            upload_dirs: vec!["/incoming".into()],
            anonymous_overwrite: false,
            uploads_readable: false,
            symlinks: Symlinks::InRoot,
            banner: String::new(),
            passive_ports: 40000..=49999,
            passive_address: None,
            fxp: false,
            durable_uploads: true,
            idle_seconds: 300,
            login_seconds: 60,
            stall_seconds: 60,
            max_login_failures: 5,
            accept_seconds: 30,
            min_rate_bytes: 0,
            max_upload_bytes: 0,
            listing_depth: 5,
            listing_entries: 100_000,
            ebcdic: CodePage::Cp1047,
        }
    );
}

#[test]
fn an_absent_section_is_off() {
    assert_eq!(good("").ftp, None);
    assert_eq!(good("[server]\n[log]\n").ftp, None);
}

#[test]
fn the_embedded_default() {
    let config = Config::embedded(&machine(), Some(Path::new("d"))).unwrap();
    assert!(config.embedded);
    assert_eq!(config.server.data_dir, PathBuf::from("/home/op/d"));
    let ftp = config.ftp.unwrap();
    assert_eq!(ftp.anonymous, Anonymous::Upload);
    assert!(ftp.anonymous_overwrite && ftp.uploads_readable);
    assert_eq!(ftp.root, PathBuf::from("/home/op/d/ftp"));
}

#[test]
fn what_is_shown_parses_to_the_same() {
    for text in ["", "[ftp]\n", FULL] {
        let config = good(text);
        assert_eq!(good(&config.to_toml()), config, "{}", config.to_toml());
    }
}

const FULL: &str = r#"
[server]
hostname = "a.b"
data_dir = "/d"
shards = 2
cpus = [3, 1]
metrics_listen = ""
max_connections = 7
max_connections_per_ip = 3
drain_seconds = 0
user = "ftp"
[log]
level = "debug"
format = "json"
xferlog = "log/xfer\"log"
[ftp]
listen = ["0.0.0.0:21", "[::]:21"]
root = "/srv/ftp"
anonymous = "off"
upload_dirs = ["/a//b/", "/"]
anonymous_overwrite = true
uploads_readable = true
symlinks = "deny"
banner = "Hello\n\"you\""
passive_ports = "50000"
passive_address = "192.0.2.7"
fxp = true
durable_uploads = false
idle_seconds = 1
login_seconds = 2
stall_seconds = 3
max_login_failures = 4
accept_seconds = 5
min_rate_bytes = 6
max_upload_bytes = 7
listing_depth = 8
listing_entries = 9
ebcdic = "cp037"
"#;

#[test]
fn every_key_is_read() {
    // Every value of FULL differs from its default, so an ignored key would show.
    let (full, default) = (good(FULL), good("[ftp]\n"));
    let pairs = [
        (render::server(&full.server), render::server(&default.server)),
        (render::log(&full.log), render::log(&default.log)),
        (render::ftp(full.ftp.as_ref().unwrap()), render::ftp(default.ftp.as_ref().unwrap())),
    ];
    for ((full, default), section) in pairs.iter().zip(&keys::SECTIONS) {
        let names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(names, full.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (one, other) in full.iter().zip(default) {
            assert_ne!(one, other, "not read");
        }
    }
}

#[test]
fn every_key_refuses_a_wrong_type() {
    for section in &keys::SECTIONS {
        for key in section.keys {
            let found = bad(&format!("[{}]\n{} = 1979-05-27\n", section.name, key.name));
            let expected = format!(
                "s.toml:2:{}: {} = 1979-05-27: not allowed (allowed: ",
                key.name.len() + 4,
                key.name
            );
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}");
        }
    }
}

#[test]
fn unknown_names_come_with_the_nearest() {
    assert_eq!(
        bad("[fpt]\n[ftp]\nlisten_tls = []\nidle_secconds = 3\nxyzzy = 1\n[smtp]\n"),
        [
            r#"s.toml:1:2: unknown section "fpt" (did you mean "ftp"?)"#,
            r#"s.toml:3:1: unknown key of [ftp] "listen_tls" (did you mean "listen"?)"#,
            r#"s.toml:4:1: unknown key of [ftp] "idle_secconds" (did you mean "idle_seconds"?)"#,
            "s.toml:5:1: unknown key of [ftp] \"xyzzy\" (known: listen, root, anonymous, upload_dirs, anonymous_overwrite, \
         uploads_readable, symlinks, banner, passive_ports, passive_address, fxp, durable_uploads, idle_seconds, \
         login_seconds, stall_seconds, max_login_failures, accept_seconds, min_rate_bytes, max_upload_bytes, \
         listing_depth, listing_entries, ebcdic)",
            r#"s.toml:6:2: unknown section "smtp" (known: server, log, ftp)"#,
        ]
    );
}

#[test]
fn wrong_values_say_what_is_allowed() {
    assert_eq!(
        bad("server = 3\n"),
        ["s.toml:1:10: server = 3: not allowed (allowed: a section, begun by a line [server])"]
    );
    let found = bad(concat!(
        "[server]\ndrain_seconds = -1\nshards = \"two\"\ncpus = [0, 0]\n",
        "[ftp]\nlisten = [\"127.0.0.1:21\", \"localhost:21\"]\nanonymous = \"raed\"\npassive_ports = \"9-8\"\n",
        "upload_dirs = [\"../x\"]\npassive_address = \"0.0.0.0\"\nlisting_depth = 65\n",
    ));
    assert_eq!(
        found,
        [
            "s.toml:2:17: drain_seconds = -1: not allowed (allowed: a whole number of seconds from 0 to 86400)",
            r#"s.toml:3:10: shards = "two": not allowed (allowed: "auto" or a whole number from 1 to 1024)"#,
            "s.toml:4:8: cpus = [0, 0]: not allowed (allowed: each CPU at most once)",
            r#"s.toml:6:27: listen = "localhost:21": not allowed (allowed: ADDRESS:PORT, like "0.0.0.0:21" or "[::]:21")"#,
            r#"s.toml:7:13: anonymous = "raed": not allowed (allowed: "off" or "read" or "upload"; did you mean "read"?)"#,
            r#"s.toml:8:17: passive_ports = "9-8": not allowed (allowed: "FIRST-LAST", ports from 1024 to 65535, like "40000-49999")"#,
            r#"s.toml:9:16: upload_dirs = "../x": not allowed (allowed: a path below the root, like "/incoming")"#,
            r#"s.toml:10:19: passive_address = "0.0.0.0": not allowed (allowed: an IPv4 address, or "" for the local one)"#,
            "s.toml:11:17: listing_depth = 65: not allowed (allowed: a whole number of directories from 1 to 64)",
        ]
    );
}

#[test]
fn keys_that_must_agree() {
    assert_eq!(
        bad("[server]\nshards = 3\ncpus = [0, 1]\n"),
        [r#"s.toml:2:10: shards = 3: not allowed (allowed: "auto" or 2, as many as cpus lists)"#,]
    );
    assert_eq!(good("[server]\ncpus = [5, 7]\n").server.shards, 2);
    assert_eq!(
        bad("[server]\ndata_dir = \"/srv/ftp/data\"\n[ftp]\nroot = \"/srv/ftp\"\n"),
        [
            r#"s.toml:4:8: root = "/srv/ftp": not allowed (allowed: a directory that does not contain data_dir (/srv/ftp/data), where the passwords are)"#,
        ]
    );
    assert_eq!(bad("[ftp]\nroot = \".\"\n").len(), 1);
    assert_eq!(bad("[ftp]\nlisten = [\"[::]:21\", \"[::]:21\"]\n").len(), 1);
    assert_eq!(bad("[ftp]\nlisten = []\n").len(), 1);
    assert_eq!(
        good("[ftp]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n").ftp.unwrap().listen.len(),
        2
    );
}

#[test]
fn a_file_that_is_not_toml() {
    let found = bad("[server]\nshards = = 2\n");
    assert!(found[0].starts_with("s.toml:2:10: not TOML: "), "{found:?}");
    let found = bad("[server]\nuser = \"a\"\nuser = \"b\"\n");
    assert!(found[0].starts_with("s.toml:3:1: not TOML: duplicate key"), "{found:?}");
}

#[test]
fn prepare_makes_what_is_missing_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = Config::embedded(&machine(), Some(&data)).unwrap();
    config.prepare(None).unwrap();
    assert!(data.join("ftp/pub/welcome.txt").is_file());
    assert!(data.join("ftp/incoming").is_dir());
    std::fs::write(data.join("ftp/pub/welcome.txt"), "mine").unwrap();
    config.prepare(None).unwrap();
    assert_eq!(std::fs::read_to_string(data.join("ftp/pub/welcome.txt")).unwrap(), "mine");
}

#[test]
fn an_absolute_root_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("tree");
    let text = format!("[ftp]\nroot = {:?}\nanonymous = \"upload\"\n", root);
    let config =
        Config::parse(Path::new("s.toml"), &text, &machine(), Some(&directory.path().join("data")))
            .unwrap();
    let problem = config.prepare(None).unwrap_err().to_string();
    assert!(
        problem.contains("[ftp] root: No such file or directory") && problem.contains("make it"),
        "{problem}"
    );
    std::fs::create_dir(&root).unwrap();
    config.prepare(None).unwrap();
    assert!(root.join("incoming").is_dir());
    assert!(!root.join("pub").exists());
}
