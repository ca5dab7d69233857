//! The program as a process: signals, reload, logs, metrics, crashes, and machines it cannot run on.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use common::{
    Client, PASSWORD, PATIENCE, Setup, USER, add_user, eventually, finish, installed, pattern,
    program, root,
};
use nix::sys::signal::Signal;

const LARGE_BYTES: usize = 30_000_000;
const NOBODY: u32 = 65534;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Ended with 2, one line on standard error, and no panic.
fn refused_in_one_line(output: &Output, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with("sluicegate: "), "{said}");
    let lower = said.to_lowercase();
    assert!(words.iter().any(|word| lower.contains(word)), "none of {words:?} in {said}");
}

#[test]
fn sigterm_drains() {
    let contents = pattern(LARGE_BYTES);
    let mut server = Setup::new().user().file("pub/large", &contents).start();
    let mut idle = server.anonymous();
    let mut reader = server.anonymous();
    let mut download = reader.data();
    reader.expect("RETR /pub/large", 150);
    let mut got = vec![0; 1000];
    download.read_exact(&mut got).unwrap();
    let mut writer = server.login();
    let mut upload = writer.data();
    writer.expect("STOR /pub/up", 150);
    upload.write_all(&contents[..1_000_000]).unwrap();

    server.signal(Signal::SIGTERM);
    idle.expect_reply(421);
    idle.expect_end();
    let address = server.v4();
    // New sessions are not taken: refused, closed, or told 421.
    eventually("new sessions are refused", || {
        let Ok(mut stream) = TcpStream::connect(address) else { return Some(()) };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut first = [0; 3];
        match stream.read_exact(&mut first) {
            Ok(()) => (&first == b"421").then_some(()),
            Err(error) => {
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!silent, "neither taken nor refused");
                Some(())
            }
        }
    });
    assert!(server.alive(), "did not wait for the running transfers");
    upload.write_all(&contents[1_000_000..]).unwrap();
    drop(upload);
    writer.expect_reply(226);
    writer.expect_reply(421);
    writer.expect_end();
    download.read_to_end(&mut got).unwrap();
    assert!(got == contents);
    reader.expect_reply(226);
    reader.expect_reply(421);
    reader.expect_end();
    let status = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(fs::read(server.root().join("pub/up")).unwrap() == contents);
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let mut server = Setup::new().user().file("pub/large", &pattern(LARGE_BYTES)).start();
    let mut idle = server.anonymous();
    let mut client = server.anonymous();
    let mut data = client.data();
    client.expect("RETR /pub/large", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    let mut writer = server.login();
    let mut upload = writer.data();
    writer.expect("STOR /pub/up", 150);
    upload.write_all(b"a beginning").unwrap();
    server.signal(Signal::SIGTERM);
    idle.expect_reply(421);
    server.signal(Signal::SIGTERM);
    server.wait();
    assert!(!server.root().join("pub/up").exists());
}

#[test]
fn the_drain_has_an_end() {
    let mut server =
        Setup::new().server("drain_seconds = 1").file("pub/large", &pattern(LARGE_BYTES)).start();
    let mut client = server.anonymous();
    let mut data = client.data();
    client.expect("RETR /pub/large", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    server.signal(Signal::SIGTERM);
    server.wait();
}

#[test]
fn sighup_reloads_and_a_broken_file_changes_nothing() {
    let mut server = Setup::new().ftp("banner = \"the old banner\"").start();
    let mut before = server.anonymous();
    let greeting = |address| Client::raw(address).reply().text;
    let address = server.v4();
    assert!(greeting(address).contains("the old banner"));
    server.configure(|setup| setup.ftp("banner = \"the new banner\""));
    server.signal(Signal::SIGHUP);
    eventually("the new banner", || greeting(address).contains("the new banner").then_some(()));
    before.expect("NOOP", 200);
    let lines = server.log().lines().count();
    server.configure(|setup| setup.ftp("banner = 17"));
    server.signal(Signal::SIGHUP);
    eventually("a complaint about the configuration", || {
        let log = server.log();
        log.lines().skip(lines).any(|line| line.contains("banner")).then_some(())
    });
    assert!(greeting(address).contains("the new banner"));
    before.expect("NOOP", 200);
    server.configure(|setup| setup.ftp("banner = \"the third banner\""));
    server.signal(Signal::SIGHUP);
    eventually("the third banner", || greeting(address).contains("the third banner").then_some(()));
    server.stop();
}

#[test]
fn sigusr1_reopens_the_transfer_log() {
    let server = Setup::new().user().log("xferlog = \"xfer.log\"").file("pub/one", b"1").start();
    let path = server.data().join("xfer.log");
    let lines =
        |path: &std::path::Path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let mut client = server.login();
    assert_eq!(client.fetch("RETR /pub/one").1.code, 226);
    eventually("the first line", || (lines(&path) == 1).then_some(()));
    let old = server.data().join("xfer.log.1");
    fs::rename(&path, &old).unwrap();
    server.signal(Signal::SIGUSR1);
    eventually("a new file", || path.exists().then_some(()));
    assert_eq!(client.fetch("RETR /pub/one").1.code, 226);
    eventually("a line in the new file", || (lines(&path) == 1).then_some(()));
    assert_eq!(lines(&old), 1);
    server.stop();
}

#[test]
fn the_transfer_log_says_what_was_moved() {
    let server =
        Setup::new().user().log("xferlog = \"xfer.log\"").file("pub/a file", b"0123456789").start();
    let mut client = server.login();
    assert_eq!(client.fetch("RETR /pub/a file").1.code, 226);
    assert_eq!(client.store("STOR /pub/up", b"01234").code, 226);
    let mut guest = server.anonymous();
    assert_eq!(guest.fetch("RETR /pub/a file").1.code, 226);
    let path = server.data().join("xfer.log");
    let text = eventually("three lines", || {
        fs::read_to_string(&path).ok().filter(|text| text.lines().count() == 3)
    });
    let fields: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in &fields {
        // date (5), seconds, host, size, name, type, flag, direction, mode, user, service, authentication, id, state
        assert_eq!(line.len(), 18, "{line:?}");
        assert_eq!(line[6], "127.0.0.1");
        assert_eq!((line[9], line[14], line[17]), ("b", "ftp", "c"), "{line:?}");
    }
    assert_eq!(
        (fields[0][7], fields[0][8], fields[0][11], fields[0][12]),
        ("10", "/pub/a_file", "o", "r")
    );
    assert_eq!(
        (fields[1][7], fields[1][8], fields[1][11], fields[1][13]),
        ("5", "/pub/up", "i", USER)
    );
    assert_eq!((fields[2][11], fields[2][12]), ("o", "a"));
    server.stop();
}

#[test]
fn metrics_count() {
    let server = Setup::new().user().file("pub/one", &pattern(12_345)).start();
    let mut client = server.login();
    assert_eq!(client.fetch("RETR /pub/one").1.code, 226);
    assert_eq!(client.store("STOR /pub/up", &pattern(54_321)).code, 226);
    let page = server.metrics();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let samples = page.lines().filter(|line| line.starts_with("sluicegate_"));
    assert!(samples.count() >= 5, "{page}");
    for value in ["12345", "54321"] {
        eventually("the octets moved are counted", || {
            server
                .metrics()
                .lines()
                .any(|line| line.starts_with("sluicegate_") && line.ends_with(&format!(" {value}")))
                .then_some(())
        });
    }
    for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(line.starts_with("# TYPE sluicegate_"), "{line}");
    }
    server.stop();
}

#[test]
fn a_second_server_on_the_same_address_is_refused() {
    let server = Setup::new().start();
    let second = Setup::new().ftp(&format!("listen = [\"{}\"]", server.v4()));
    let output = second.run();
    assert!(!output.status.success());
    assert!(
        stderr(&output).to_lowercase().contains("address in use")
            || stderr(&output).to_lowercase().contains("address already in use"),
        "{}",
        stderr(&output)
    );
    for _ in 0..20 {
        server.connect().expect("NOOP", 200);
    }
    server.stop();
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Setup::new().start();
    let config = server.outside().join("second.toml");
    fs::write(&config, format!("[server]\ndata_dir = \"{}\"\nmetrics_listen = \"\"\n[ftp]\nlisten = [\"127.0.0.1:0\"]\n", server.data().display())).unwrap();
    let mut command = Command::new(program());
    command.arg("serve").arg("--config").arg(&config);
    let output = finish(command);
    assert!(!output.status.success(), "{}", stderr(&output));
    server.stop();
}

#[test]
fn accounts_change_while_it_runs() {
    let server = Setup::new().user().start();
    server.login();
    add_user(&server.data(), "later", "another one", "read");
    eventually("the new user can log in", || {
        let mut client = server.connect();
        client.command("USER later");
        (client.command("PASS another one").code == 230).then_some(())
    });
    let mut client = server.connect();
    client.login("later", "another one");
    let reply = client.store("STOR /pub/refused", b"x");
    assert!([550, 553].contains(&reply.code), "{reply:?}");
    let removed = Command::new(program())
        .args(["user", "remove", "later", "--data"])
        .arg(server.data())
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", stderr(&removed));
    eventually("the removed user cannot log in", || {
        let mut client = server.connect();
        client.command("USER later");
        (client.command("PASS another one").code != 230).then_some(())
    });
    let mut client = server.connect();
    client.login(USER, PASSWORD);
    server.stop();
}

#[test]
fn users_have_their_own_roots() {
    let setup = Setup::new().file("home/alice/mine", b"alice").file("home/bob/mine", b"bob");
    for name in ["alice", "bob"] {
        let mut child = Command::new(program())
            .args([
                "user",
                "add",
                name,
                "--password-stdin",
                "--ftp",
                "write",
                "--ftp-root",
                &format!("home/{name}"),
                "--data",
            ])
            .arg(setup.data())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(name.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    let server = setup.start();
    for name in ["alice", "bob"] {
        let mut client = server.connect();
        client.login(name, name);
        assert_eq!(client.fetch("RETR /mine").0, name.as_bytes());
        assert_eq!(client.fetch("RETR /../../home/bob/mine").1.code, 550);
        assert_eq!(client.store("STOR /new", name.as_bytes()).code, 226);
        assert_eq!(
            fs::read(server.root().join("home").join(name).join("new")).unwrap(),
            name.as_bytes()
        );
    }
    server.stop();
}

#[test]
fn a_crash_during_an_upload_leaves_the_old_file_and_no_remains() {
    for durable in ["true", "false"] {
        let setup = Setup::new()
            .user()
            .ftp(&format!("durable_uploads = {durable}"))
            .file("pub/file", b"old")
            .file("incoming/kept", b"x");
        let server = setup.start();
        let mut client = server.login();
        let mut data = client.data();
        client.expect("STOR /pub/file", 150);
        data.write_all(&pattern(3_000_000)).unwrap();
        let mut other = server.login();
        let mut second = other.data();
        other.expect("STOR /incoming/new", 150);
        second.write_all(&pattern(3_000)).unwrap();
        let server = server.crash_and_restart();
        assert_eq!(fs::read(server.root().join("pub/file")).unwrap(), b"old");
        eventually("what the crash left is swept", || {
            let expected = [server.root().join("incoming/kept"), server.root().join("pub/file")];
            (server.files() == expected).then_some(())
        });
        let mut client = server.login();
        assert_eq!(client.store("STOR /pub/file", b"new").code, 226);
        let server = server.crash_and_restart();
        assert_eq!(fs::read(server.root().join("pub/file")).unwrap(), b"new");
        server.stop();
    }
}

#[test]
fn runs_as_an_ordinary_user() {
    if !root() {
        eprintln!("skipped: every other test runs as an ordinary user already");
        return;
    }
    assert!(installed("setpriv"), "setpriv (util-linux) is missing");
    let server = Setup::new()
        .user()
        .file("pub/file", &pattern(2_000_000))
        .through(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .owned_by(NOBODY)
        .start();
    // Files of somebody else are only readable: what asks the page cache about them must cope.
    let other = server.root().join("pub/other");
    fs::write(&other, pattern(3_000_000)).unwrap();
    let mut client = server.login();
    let (bytes, reply) = client.fetch("RETR /pub/file");
    assert_eq!((bytes == pattern(2_000_000), reply.code), (true, 226));
    let (bytes, reply) = client.fetch("RETR /pub/other");
    assert_eq!((bytes == pattern(3_000_000), reply.code), (true, 226));
    assert_eq!(client.store("STOR /pub/up", b"contents").code, 226);
    fs::create_dir(server.root().join("closed")).unwrap();
    let reply = client.store("STOR /closed/up", b"contents");
    assert!([550, 553].contains(&reply.code), "{reply:?}");
    server.stop();
}

#[test]
fn drops_to_the_configured_user() {
    if !root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let server = Setup::new()
        .user()
        .server("user = \"nobody\"")
        .file("pub/file", b"contents")
        .owned_by(NOBODY)
        .start();
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let identity = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(identity.split_whitespace().skip(1).all(|uid| uid == "65534"), "{identity}");
    let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    let mut client = server.login();
    assert_eq!(client.fetch("RETR /pub/file").0, b"contents");
    assert_eq!(client.store("STOR /pub/up", b"x").code, 226);
    server.stop();
}

#[test]
fn without_io_uring_it_says_so() {
    if !installed("strace") {
        eprintln!("skipped: strace is missing");
        return;
    }
    for error in ["EPERM", "ENOSYS"] {
        let inject = format!("inject=io_uring_setup:error={error}");
        let output = Setup::new()
            .through([
                "strace",
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=io_uring_setup",
                "-e",
                &inject,
            ])
            .run();
        refused_in_one_line(&output, &["io_uring"]);
    }
}

#[test]
fn with_too_little_locked_memory_it_says_so_or_copes() {
    if !installed("prlimit") || !installed("setpriv") {
        eprintln!("skipped: prlimit or setpriv is missing");
        return;
    }
    let limited = |bytes: &str| {
        let mut wrapper = vec!["prlimit".to_owned(), format!("--memlock={bytes}:{bytes}")];
        if root() {
            wrapper.extend(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
                    .map(str::to_owned),
            );
        }
        let setup = Setup::new().through(wrapper);
        if root() { setup.owned_by(NOBODY) } else { setup }
    };
    let output = limited("1024").run();
    refused_in_one_line(&output, &["memlock", "locked memory"]);
    // What a Debian user has (8 MiB) must do, on more shards too; a shortfall is worth one line.
    for shards in ["shards = 2", "shards = 4"] {
        let server = limited("8388608").server(shards).start();
        server.connect().expect("NOOP", 200);
        let log = server.log().to_lowercase();
        let lines = log.lines().filter(|line| line.contains("memlock") || line.contains("locked"));
        assert!(lines.count() <= 1, "{log}");
        server.stop();
    }
}

#[test]
fn with_too_few_descriptors_it_says_so_or_copes() {
    if !installed("prlimit") {
        eprintln!("skipped: prlimit is missing");
        return;
    }
    let output = Setup::new().through(["prlimit", "--nofile=16:16"]).run();
    refused_in_one_line(&output, &["descriptor", "nofile", "open files"]);
    // A mere shortfall is clamped, with one warning.
    let server = Setup::new().through(["prlimit", "--nofile=512:512"]).start();
    let log = server.log();
    let warnings = log.lines().filter(|line| {
        line.contains("max_connections") || line.to_lowercase().contains("descriptor")
    });
    assert_eq!(warnings.count(), 1, "{log}");
    let held: Vec<Client> = (0..800)
        .map_while(|_| {
            let mut client = Client::raw(server.v4());
            (client.reply_or_end()?.code == 220).then_some(client)
        })
        .collect();
    assert!(held.len() > 50, "only {} sessions with 512 descriptors", held.len());
    drop(held);
    eventually("places become free", || {
        Client::raw(server.v4()).reply_or_end().filter(|reply| reply.code == 220)
    });
    server.stop();
    // A low soft limit is raised to the hard one.
    let server = Setup::new()
        .server("max_connections = 1000")
        .through(["prlimit", "--nofile=64:4096"])
        .start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(line.split_whitespace().any(|word| word == "4096") && !line.contains(" 64 "), "{line}");
    server.stop();
}

#[test]
fn wrong_configuration_is_pointed_at() {
    let refused = |setup: Setup, words: &[&str]| {
        let output = setup.run();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        for word in words {
            assert!(stderr(&output).contains(word), "no {word:?} in {}", stderr(&output));
        }
    };
    refused(Setup::new().ftp("bannner = \"x\""), &["sluicegate.toml:", "bannner", "banner"]);
    refused(Setup::new().ftp("idle_seconds = \"soon\""), &["sluicegate.toml:", "idle_seconds"]);
    refused(Setup::new().ftp("symlinks = \"follow\""), &["in-root", "beneath", "deny"]);
    refused(Setup::new().ftp("listen = [\"localhost\"]"), &["listen"]);
    refused(Setup::new().server("shards = -1"), &["shards"]);
}

#[test]
fn the_command_line_answers() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments);
        finish(command)
    };
    let stdout = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(run(&["--help"]).status.success());
    assert!(stdout(&run(&["--version"])).starts_with("sluicegate "));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(run(&["serve", "--config", "/no/such/file"]).status.code(), Some(2));
    let default = run(&["config", "default"]);
    assert!(default.status.success());
    assert!(stdout(&default).contains("passive_ports"));
    assert!(stdout(&run(&["completions", "bash"])).contains("sluicegate"));
    assert!(run(&["man"]).status.success());
}

/// A shard that no longer turns: its thread is held in a system call from outside.
#[test]
fn a_shard_that_stops_ends_the_process() {
    if !installed("strace") {
        eprintln!("skipped: strace is missing");
        return;
    }
    let mut server = Setup::new().server("shards = 1").start();
    let mut client = server.anonymous();
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let shard = threads
        .map(|thread| thread.unwrap().path())
        .find(|thread| fs::read_to_string(thread.join("comm")).unwrap().trim() == "shard-0")
        .expect("a thread named shard-0");
    let mut holder = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=io_uring_enter"])
        .args(["-e", "inject=io_uring_enter:delay_enter=120s", "-p"])
        .arg(shard.file_name().unwrap())
        .spawn()
        .unwrap();
    eventually("the supervisor notices", || {
        server.log().contains("shard 0: has not moved for 10 s").then_some(())
    });
    // The held thread cannot end before it is let go.
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    client.expect_end();
}

/// A password check takes 19 MiB for a moment. It must not stay.
#[test]
fn logins_leave_no_memory_behind() {
    let server = Setup::new().server("shards = 2").user().start();
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    for _ in 0..40 {
        server.login().expect("QUIT", 221);
    }
    eventually("less than 100 MiB are resident", || (resident() < 100).then_some(()));
    server.stop();
}

/// While one shard still drains, whoever connects is told so, wherever the kernel puts him.
#[test]
fn a_draining_server_answers_421() {
    let server = Setup::new()
        .server("shards = 2")
        .server("drain_seconds = 300")
        .file("pub/large", &pattern(LARGE_BYTES))
        .start();
    let mut client = server.anonymous();
    let mut data = client.data();
    client.expect("RETR /pub/large", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    let mut idle = server.anonymous();
    server.signal(Signal::SIGTERM);
    idle.expect_reply(421);
    for _ in 0..20 {
        let mut late = Client::raw(server.v4());
        late.expect_reply(421);
        late.expect_end();
    }
    server.signal(Signal::SIGTERM);
    // Broken off, and told so.
    client.expect_reply(426);
    client.expect_reply(421);
}
