//! cli – the program as people and scripts meet it: exit status, standard output, standard error.
//!
//! No server is started and no fixed port is used; every test has a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What became of one command.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: i32,
    out: String,
    err: String,
}

fn sluicegate(directory: &Path, arguments: &[&str], input: &str) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may be gone already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    Outcome {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[track_caller]
fn good(directory: &Path, arguments: &[&str], input: &str) -> String {
    let outcome = sluicegate(directory, arguments, input);
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{outcome:?}");
    outcome.out
}

#[track_caller]
fn bad(directory: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let outcome = sluicegate(directory, arguments, input);
    assert_eq!(outcome.out, "", "{outcome:?}");
    (outcome.status, outcome.err)
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

// ---------------------------------------------------------------- usage

#[test]
fn usage_errors_are_one_line_and_status_2() {
    let here = directory();
    let cases: [(&[&str], &str); 5] = [
        (&[], "no command: say what to do (try sluicegate --help)"),
        (
            &["srve"],
            "unrecognized subcommand 'srve' (a similar subcommand exists: 'serve'; try sluicegate --help)",
        ),
        (&["serve", "--foo"], "unexpected argument '--foo' found (try sluicegate --help)"),
        (
            &["user", "list", "--data", "d", "--config", "f"],
            "the argument '--data <DIR>' cannot be used with '--config <FILE>' (try sluicegate --help)",
        ),
        (
            &["man", "nope"],
            "man: no subcommand \"nope\" (known: serve, check, config, user, status, queue, mx, spool, completions, man, help)",
        ),
    ];
    for (arguments, message) in cases {
        assert_eq!(
            bad(here.path(), arguments, ""),
            (2, format!("sluicegate: {message}\n")),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_and_version_are_everywhere() {
    let here = directory();
    let expected = format!("sluicegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(good(here.path(), &["--version"], ""), expected);
    for command in [
        &[][..],
        &["serve"],
        &["check"],
        &["config"],
        &["config", "show"],
        &["user"],
        &["user", "add"],
        &["status"],
        &["queue"],
        &["queue", "list"],
        &["queue", "delete"],
        &["spool"],
        &["spool", "verify"],
        &["spool", "export"],
        &["man"],
    ] {
        for flag in ["-h", "--help"] {
            let help = good(here.path(), &[command, &[flag]].concat(), "");
            assert!(help.contains("Usage: sluicegate"), "{command:?} {flag}: {help}");
        }
    }
}

#[test]
fn pages_and_completions() {
    let here = directory();
    assert!(good(here.path(), &["man"], "").contains(".TH SLUICEGATE 1"));
    assert!(good(here.path(), &["man", "user", "add"], "").contains("\\-\\-password\\-stdin"));
    good(here.path(), &["man", "--dir", "."], "");
    for page in ["user-add", "status", "queue-delete", "spool-export"] {
        assert!(here.path().join(format!("sluicegate-{page}.1")).is_file(), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            good(here.path(), &["completions", shell], "").contains("password-stdin"),
            "{shell}"
        );
        assert!(good(here.path(), &["completions", shell], "").contains("older-than"), "{shell}");
    }
}

// ---------------------------------------------------------------- configuration

#[test]
fn the_default_can_be_saved_checked_and_shown() {
    let here = directory();
    let text = good(here.path(), &["config", "default"], "");
    fs::write(here.path().join("s.toml"), &text).unwrap();
    let shown = good(here.path(), &["config", "show", "--config", "s.toml"], "");
    assert!(
        shown.contains("anonymous = \"read\"\n") && shown.contains("[log]\nlevel = \"info\"\n"),
        "{shown}"
    );
    fs::write(here.path().join("again.toml"), &shown).unwrap();
    assert_eq!(good(here.path(), &["config", "show", "--config", "again.toml"], ""), shown);
}

#[test]
fn without_a_file_the_embedded_default_is_shown() {
    let here = directory();
    let shown = good(here.path(), &["config", "show"], "");
    for line in [
        "anonymous = \"upload\"",
        "upload_dirs = [\"/incoming\"]",
        "anonymous_overwrite = true",
        "uploads_readable = true",
        "listen = [\"127.0.0.1:2121\"]",
        "metrics_listen = \"127.0.0.1:9180\"",
        "listen = [\"127.0.0.1:2525\"]",
        "unknown_local_part = \"accept\"",
        &format!(
            "data_dir = \"{}/sluicegate-data\"",
            here.path().canonicalize().unwrap().display()
        ),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(!here.path().join("sluicegate-data").exists(), "show makes nothing");
}

#[test]
fn every_problem_of_a_configuration_is_told() {
    let here = directory();
    fs::write(
        here.path().join("s.toml"),
        "[server]\ndata_dri = \"x\"\n[ftp]\nidle_seconds = 0\nroot = 7\n",
    )
    .unwrap();
    let expected = "\
        sluicegate: s.toml:2:1: unknown key of [server] \"data_dri\" (did you mean \"data_dir\"?)\n\
        sluicegate: s.toml:4:16: idle_seconds = 0: not allowed (allowed: a whole number of seconds from 1 to 86400)\n\
        sluicegate: s.toml:5:8: root = 7: not allowed (allowed: the path of a directory)\n";
    for command in [&["check"][..], &["config", "show"], &["serve"], &["user", "list"]] {
        assert_eq!(
            bad(here.path(), &[command, &["--config", "s.toml"]].concat(), ""),
            (2, expected.to_owned()),
            "{command:?}"
        );
    }
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let here = directory();
    let expected = "sluicegate: no.toml: cannot read: No such file or directory (os error 2) (give a readable TOML file, or see `sluicegate config default`)\n";
    assert_eq!(bad(here.path(), &["check", "--config", "no.toml"], ""), (2, expected.to_owned()));
    fs::write(here.path().join("latin1.toml"), b"# \xfc\n").unwrap();
    let expected = "sluicegate: latin1.toml: not UTF-8 at octet 2 (save it as UTF-8)\n";
    assert_eq!(
        bad(here.path(), &["config", "show", "--config", "latin1.toml"], ""),
        (2, expected.to_owned())
    );
}

#[test]
fn serve_refuses_a_missing_root() {
    let here = directory();
    let root = here.path().join("tree");
    fs::write(here.path().join("s.toml"), format!("[ftp]\nroot = {root:?}\n")).unwrap();
    let remedy = "make it, or name a path relative to data_dir, which is made for you";
    let expected = format!(
        "sluicegate: {}: [ftp] root: No such file or directory (os error 2) ({remedy})\n",
        root.display()
    );
    assert_eq!(bad(here.path(), &["serve", "--config", "s.toml"], ""), (2, expected));
}

// ---------------------------------------------------------------- check

#[test]
fn check_names_what_would_stop_the_server() {
    let here = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!(
        "[server]\nmetrics_listen = \"\"\nmax_connections = 10\n[ftp]\nlisten = [\"{address}\", \"127.0.0.1:0\"]\nroot = {:?}\n",
        here.path().join("tree")
    );
    fs::write(here.path().join("s.toml"), text).unwrap();
    let outcome = sluicegate(here.path(), &["check", "--config", "s.toml"], "");
    let line = |start: &str| {
        outcome
            .out
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} is not in\n{}", outcome.out))
    };
    assert_eq!(line("ok    configuration"), "ok    configuration s.toml");
    assert_eq!(
        line("FAIL  ftp"),
        format!(
            "FAIL  ftp {address}: Address already in use (os error 98) (stop what listens there (is it this server, running?), or change [ftp] listen)"
        )
    );
    assert_eq!(
        line("FAIL  [ftp] root"),
        format!(
            "FAIL  [ftp] root {}/tree: No such file or directory (os error 2) (make it and let the server's user read it, or change [ftp] root)",
            here.path().display()
        )
    );
    assert_eq!(line("ok    ftp"), "ok    ftp 127.0.0.1:0 is free");
    assert!(line("ok    data directory").ends_with("/sluicegate-data will be made"));
    assert!(
        outcome.err.ends_with(" findings must be mended (see the lines marked FAIL)\n"),
        "{}",
        outcome.err
    );
    assert_eq!(outcome.status, 2);
    assert!(!here.path().join("sluicegate-data").exists(), "check makes nothing");
}

#[test]
fn check_looks_at_users_toml() {
    let here = directory();
    let data = here.path().join("sluicegate-data");
    fs::create_dir(&data).unwrap();
    let check = || sluicegate(here.path(), &["check"], "").out;
    assert!(check().contains("ok    users.toml: none yet; `sluicegate user add` makes it\n"));
    let users = data.join("users.toml");
    fs::write(&users, "version = 1\n").unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(check().contains("may be read by others (mode 644) (chmod 600 "));
    fs::write(&users, "version = 9\n").unwrap();
    assert!(check().contains("users.toml:1:11: version = 9: not allowed (allowed: 1 or 2; this program reads no other format)\n"));
}

// ---------------------------------------------------------------- users

#[test]
fn users_come_and_go() {
    let here = directory();
    let users = here.path().join("sluicegate-data/users.toml");
    good(
        here.path(),
        &[
            "user",
            "add",
            "alice",
            "--password-stdin",
            "--ftp",
            "write",
            "--ftp-root",
            "/home/alice",
            "--mail",
            "a@example.org",
        ],
        "secret\n",
    );
    assert_eq!(fs::metadata(&users).unwrap().mode() & 0o777, 0o600);
    assert!(here.path().join("sluicegate-data/ftp/home/alice").is_dir());
    assert!(here.path().join("sluicegate-data/ftp/incoming").is_dir());
    good(here.path(), &["user", "add", "bob", "--password-stdin"], "secret");
    let listed = "NAME   FTP    ROOT                  MAIL\n\
                  alice  write  home/alice            a@example.org\n\
                  bob    read   -                     -\n";
    assert_eq!(good(here.path(), &["user", "list"], ""), listed);
    let json = good(here.path(), &["user", "list", "--json"], "");
    assert!(json.contains("\"ftp_root\": \"home/alice\"") && !json.contains("argon2"), "{json}");

    let before = fs::read_to_string(&users).unwrap();
    assert!(
        before.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !before.contains("secret"),
        "{before}"
    );
    good(here.path(), &["user", "passwd", "bob", "--password-stdin"], "other\r\n");
    assert_ne!(fs::read_to_string(&users).unwrap(), before);
    good(here.path(), &["user", "remove", "alice"], "");
    assert_eq!(good(here.path(), &["user", "list"], "").lines().count(), 2);
}

#[track_caller]
fn user_fails(cases: &[(&[&str], &str, &str)], status: i32) {
    let here = directory();
    good(here.path(), &["user", "add", "alice", "--password-stdin"], "secret\n");
    let users = here.path().join("sluicegate-data/users.toml");
    let before = fs::read(&users).unwrap();
    for (arguments, input, message) in cases {
        let outcome = bad(here.path(), &[&["user"], *arguments].concat(), input);
        assert_eq!(outcome, (status, format!("sluicegate: {message}\n")), "{arguments:?}");
    }
    assert_eq!(fs::read(&users).unwrap(), before, "nothing was changed");
}

#[test]
fn users_that_are_there_or_not() {
    const NOBODY: &str = "user \"bob\": no such user (`sluicegate user list` shows who there is)";
    const TAKEN: &str =
        "user \"alice\": exists already (`sluicegate user passwd` changes the password)";
    user_fails(
        &[
            (&["add", "alice", "--password-stdin"], "x", TAKEN),
            (&["passwd", "bob", "--password-stdin"], "x", NOBODY),
            (&["remove", "bob"], "", NOBODY),
        ],
        1,
    );
}

#[test]
fn users_that_cannot_be() {
    const RESERVED: &str =
        "user \"Anonymous\": that name means an anonymous login (choose another name)";
    const NAME: &str = "user \"a/b\": a name has no spaces, control characters, quotes, \
                        or any of / \\ : , (choose another name)";
    const EMPTY: &str = "password: a password has 1 to 512 octets (choose another)";
    const NO_TERMINAL: &str = "password: there is no terminal to ask on (use --password-stdin)";
    const ROOT: &str = "--ftp-root: a user's root is below [ftp] root: no .. \
                        (give a path like \"home/alice\")";
    const MAIL: &str = "--mail \"bob\": an address looks like name@example.org (correct it)";
    const HASH: &str = "--password-hash: only Argon2id ($argon2id$…) and SHA-512-crypt ($6$…) \
                        hashes are understood (quote it, for $ means something to the shell)";
    user_fails(
        &[
            (&["add", "Anonymous", "--password-stdin"], "x", RESERVED),
            (&["add", "a/b", "--password-stdin"], "x", NAME),
            (&["add", "bob", "--password-stdin"], "", EMPTY),
            (&["add", "bob"], "x", NO_TERMINAL),
            (&["add", "bob", "--ftp-root", "../x"], "x", ROOT),
            (&["add", "bob", "--mail", "bob"], "x", MAIL),
            (&["add", "bob", "--password-hash", "$1$x$y"], "", HASH),
        ],
        2,
    );
}

#[test]
fn an_address_has_one_owner() {
    let here = directory();
    with_mail(here.path());
    let add = |name: &str, mail: &str| {
        let add = ["user", "add", name, "--password-stdin", "--config", "s.toml", "--mail", mail];
        let outcome = sluicegate(here.path(), &add, "secret\n");
        (outcome.status, outcome.err)
    };
    let fine = (0, String::new());
    let refused = |what: &str, why: &str, remedy: &str| {
        (1, format!("sluicegate: {what}: {why} ({remedy})\n"))
    };
    assert_eq!(add("alice", "al@example.org"), fine);
    fs::write(here.path().join("sluicegate-data/aliases"), "# who\nsales: alice\n").unwrap();
    let first = "take it from there first";
    assert_eq!(
        add("bob", "AL@Example.org"),
        refused("--mail \"AL@Example.org\"", "user \"alice\" has that address", first)
    );
    assert_eq!(
        add("bob", "Alice@example.org"),
        refused(
            "--mail \"Alice@example.org\"",
            "user \"alice\" has that mail, for a name is an address in every domain",
            first
        )
    );
    assert_eq!(
        add("bob", "Sales@example.org"),
        refused("--mail \"Sales@example.org\"", "the alias sales (line 2) gets that mail", first)
    );
    assert_eq!(
        add("Alice", "bob@example.org"),
        refused(
            "user \"Alice\"",
            "user \"alice\" differs in case only, and mail knows no case",
            "choose another name"
        )
    );
    assert_eq!(add("bob", "bob@example.org"), fine);
    assert_eq!(add("carl", "al@elsewhere.example"), fine);
}

#[test]
fn verifiers_for_scram_are_asked_for() {
    const HASH: &str =
        "--scram: a verifier is made of a password, not of a hash (leave one of them out)";
    let here = directory();
    let users = || fs::read_to_string(here.path().join("sluicegate-data/users.toml")).unwrap();
    let alice = ["user", "passwd", "alice", "--password-stdin"];
    good(here.path(), &["user", "add", "alice", "--password-stdin", "--scram"], "secret\n");
    let first = users();
    assert!(
        first.contains("version = 2\n") && first.contains("scram = \"SCRAM-SHA-256$100000:"),
        "{first}"
    );
    let json = good(here.path(), &["user", "list", "--json"], "");
    assert!(json.contains("\"scram\": true") && !json.contains("100000"), "{json}");
    // Another password: another verifier, although nobody said so again.
    good(here.path(), &alice, "other\n");
    assert!(users().contains("scram = \"") && users() != first);
    good(here.path(), &[&alice[..], &["--no-scram"]].concat(), "other\n");
    assert!(users().contains("version = 1\n") && !users().contains("scram"), "{}", users());
    good(here.path(), &[&alice[..], &["--scram"]].concat(), "other\n");
    // A hash has none, and the one there was is of another password.
    let hash = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    let imported = ["user", "passwd", "alice", "--password-hash", hash];
    let refused = bad(here.path(), &[&imported[..], &["--scram"]].concat(), "");
    assert_eq!(refused, (2, format!("sluicegate: {HASH}\n")));
    assert!(users().contains("scram = \""));
    good(here.path(), &imported, "");
    assert!(!users().contains("scram"), "{}", users());
}

#[test]
fn hashes_of_other_systems_are_taken() {
    // Of "Hello world!", made by `openssl passwd -6 -salt saltstring`.
    const SHA512: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    let here = directory();
    good(here.path(), &["user", "add", "alice", "--password-hash", SHA512, "--data", "d"], "");
    assert!(fs::read_to_string(here.path().join("d/users.toml")).unwrap().contains(SHA512));
}

#[test]
fn commands_at_once_lose_nothing() {
    let here = directory();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = here.path();
            scope.spawn(move || {
                good(path, &["user", "add", &format!("user{number}"), "--password-stdin"], "secret")
            });
        }
    });
    assert_eq!(good(here.path(), &["user", "list"], "").lines().count(), 9);
}

// ---------------------------------------------------------------- mail

/// A configuration with mail and nothing else.
fn with_mail(directory: &Path) {
    let text = "[server]\nmetrics_listen = \"\"\nmax_connections = 10\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n\
                domains = [\"example.org\"]\n";
    fs::write(directory.join("s.toml"), text).unwrap();
}

#[test]
fn an_open_relay_refuses_to_start() {
    let here = directory();
    fs::write(here.path().join("s.toml"), "[smtp]\nrelay_from = [\"10.0.0.0/8\", \"0.0.0.0/0\"]\n")
        .unwrap();
    let expected = "sluicegate: s.toml:2:29: relay_from = \"0.0.0.0/0\": this would be an open relay \
                    (name the networks of your own machines, /8 or narrower; others need not be listed \
                    to send to your domains)\n";
    for command in [&["serve"][..], &["check"]] {
        assert_eq!(
            bad(here.path(), &[command, &["--config", "s.toml"]].concat(), ""),
            (2, expected.to_owned())
        );
    }
}

#[test]
fn check_looks_at_what_mail_needs() {
    let here = directory();
    with_mail(here.path());
    let check = || sluicegate(here.path(), &["check", "--config", "s.toml"], "").out;
    let text = check();
    for line in [
        "ok    mail is taken for example.org\n",
        "ok    smtp 127.0.0.1:0 is free\n",
        "sluicegate-data/spool will be made on ",
        "  spool: a durable write of 4 KiB takes ",
        "sluicegate-data/mail will be made\n",
        "ok    aliases: none, ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!here.path().join("sluicegate-data").exists(), "check makes nothing");
    fs::create_dir(here.path().join("sluicegate-data")).unwrap();
    fs::write(here.path().join("sluicegate-data/aliases"), "a: b\na b\n").unwrap();
    let text = check();
    assert!(
        text.lines().any(|line| line.starts_with("FAIL  ") && line.contains("aliases:2:")),
        "{text}"
    );
    fs::write(here.path().join("s.toml"), "[server]\nmetrics_listen = \"\"\n").unwrap();
    assert!(
        check()
            .contains("FAIL  neither [ftp] nor [smtp]: nothing would be served (add one of them;")
    );
}

#[test]
fn mail_that_leads_nowhere_is_named_with_its_line() {
    let here = directory();
    let text = "[server]\nmetrics_listen = \"\"\nmax_connections = 10\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n\
                domains = [\"example.org\"]\n[[smtp.route]]\nrecipient = \"*@other.example\"\n\
                to = \"local\"\n[mail]\ncatch_all = \"nosuch\"\n";
    fs::write(here.path().join("s.toml"), text).unwrap();
    let out = sluicegate(here.path(), &["check", "--config", "s.toml"], "").out;
    for start in [
        "s.toml:11:13: catch_all: nosuch leads to nobody: ignored (",
        "s.toml:8:13: route *@other.example to \"local\": nobody has such a mailbox (",
    ] {
        let found = out.lines().any(|line| line.starts_with("warn") && line.contains(start));
        assert!(found, "{start} is not in\n{out}");
    }
    fs::write(here.path().join("s.toml"), text.replace("*@other", "a b@other")).unwrap();
    let (status, error) = bad(here.path(), &["check", "--config", "s.toml"], "");
    assert!(
        status == 2 && error.starts_with("sluicegate: s.toml:8:13: recipient = \"a b@"),
        "{error}"
    );
}

#[test]
fn nothing_is_done_to_mail_without_a_selection() {
    let here = directory();
    with_mail(here.path());
    for action in ["hold", "release", "retry", "delete"] {
        let expected = "sluicegate: queue: no message is selected (name an ID, --sender, --recipient, \
                        --destination or --older-than, or say --all)\n";
        let arguments = ["queue", action, "--config", "s.toml"];
        assert_eq!(bad(here.path(), &arguments, ""), (2, expected.to_owned()), "{action}");
    }
    for (wrong, says) in [
        (&["queue", "delete", "abc"][..], "a queue id has 13 letters and digits"),
        (&["queue", "list", "--older-than", "2 weeks"], "a time is like 90s, 30m, 2h, 7d or 1d12h"),
        (&["queue", "delete", "--all", "--sender", "a@b"], "cannot be used with"),
    ] {
        let (status, text) = bad(here.path(), wrong, "");
        assert!(status == 2 && text.contains(says), "{wrong:?}: {text}");
    }
}

#[test]
fn commands_about_mail_say_what_is_missing() {
    let here = directory();
    with_mail(here.path());
    let data = here.path().join("sluicegate-data");
    let shown = data.display();
    let nowhere = format!(
        "sluicegate: {shown}: no such data directory (start the server once, or name the right one: --data DIR, --config FILE)\n"
    );
    for command in [&["queue", "list"][..], &["spool", "verify"], &["spool", "stat"]] {
        let outcome = bad(here.path(), &[command, &["--config", "s.toml"]].concat(), "");
        assert_eq!(outcome, (1, nowhere.clone()), "{command:?}");
    }
    let (status, text) = bad(here.path(), &["status", "--config", "s.toml"], "");
    assert!(status == 1 && text.contains("(no server runs there: start it, "), "{text}");
    fs::create_dir(&data).unwrap();
    let run =
        |arguments: &[&str]| good(here.path(), &[arguments, &["--config", "s.toml"]].concat(), "");
    assert_eq!(run(&["queue", "list"]), "nothing waits\n");
    assert_eq!(run(&["queue", "list", "--json"]), "[]\n");
    assert_eq!(run(&["queue", "delete", "--all"]), "no message matches\n");
    assert_eq!(run(&["spool", "stat"]), "no mail was ever taken here\n");
    assert!(run(&["spool", "verify"]).ends_with(": sound\n"));
    let (status, text) =
        bad(here.path(), &["queue", "show", "0000000000001", "--config", "s.toml"], "");
    assert!(status == 1 && text.contains("0000000000001: no such message waits"), "{text}");
    fs::write(here.path().join("s.toml"), "[ftp]\n").unwrap();
    let (status, text) = bad(here.path(), &["spool", "verify", "--config", "s.toml"], "");
    assert!(status == 2 && text.starts_with("sluicegate: [smtp]: "), "{text}");
}
