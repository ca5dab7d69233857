//! config tests: the default text proves the defaults, and every message is pinned.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

mod milters;
mod rewriting;
mod routes;

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
    assert_eq!(config, good("[ftp]\n[smtp]\n"));
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
            admin_socket: Some("/home/op/sluicegate-data/admin.sock".into()),
        }
    );
    assert_eq!(config.log, Log { level: "info".into(), json: false, xferlog: None });
    assert_eq!(
        config.ftp.unwrap(),
        Ftp {
            listen: vec!["127.0.0.1:2121".parse().unwrap()],
            listen_tls: vec![],
            tls: Encryption::Optional,
            data_tls: DataTls::ResumeOrSameIp,
            close_notify_required: true,
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
fn the_default_text_is_the_defaults_of_mail() {
    let config = good(&default_text());
    assert_eq!(
        config.smtp.unwrap(),
        Smtp {
            listen: vec!["127.0.0.1:2525".parse().unwrap()],
            listen_tls: vec![],
            listen_submission: vec![],
            listen_lmtp: vec![],
            proxy_from: vec![],
            xclient_from: vec![],
            xforward_from: vec![],
            tls: Encryption::Optional,
            domains: vec!["localhost".into()],
            max_message_bytes: 52_428_800,
            max_recipients: 1000,
            bare_newlines: BareNewlines::Reject,
            relay_from: vec![],
            resolvers: vec![],
            resolver_seconds: 5,
            routes: vec![],
            milters: vec![],
            banner: String::new(),
            spool: "/home/op/sluicegate-data/spool".into(),
            spool_segment_bytes: 32 << 20,
            spool_memory_bytes: 64 << 20,
            spool_reserve_bytes: 256 << 20,
            strict_syntax: false,
            drop_early_talkers: true,
            vrfy: false,
            expn: false,
            max_hops: 100,
            max_errors: 20,
            max_login_failures: 5,
            authenticated_senders: Senders::Own,
            max_messages: 0,
            idle_seconds: 300,
            message_seconds: 3600,
            min_rate_bytes: 100,
        }
    );
    let mail = Mail {
        root: "/home/op/sluicegate-data/mail".into(),
        unknown_local_part: UnknownLocalPart::Reject,
        aliases: "/home/op/sluicegate-data/aliases".into(),
        catch_all: None,
        catch_all_at: At::default(),
        extension_separator: "+".into(),
        srs_domain: None,
        srs_secret: "/home/op/sluicegate-data/srs.secret".into(),
        verp_lists: vec![],
        mailbox_bytes_max: 0,
        retry_seconds: 60,
        retry_seconds_max: 3600,
        give_up_seconds: 432_000,
        postmaster_copies: vec![],
        max_reports_per_hour: 1000,
        max_reports_per_hour_per_address: 20,
    };
    assert_eq!(config.mail, mail);
    assert_eq!(good("").mail, mail, "without the section too");
}

#[test]
fn the_default_text_is_the_defaults_of_tls() {
    let tls = Tls {
        certificate: "/home/op/sluicegate-data/tls/cert.pem".into(),
        private_key: "/home/op/sluicegate-data/tls/key.pem".into(),
        own: true,
        sni: vec![],
    };
    assert_eq!(good(&default_text()).tls, tls);
    assert_eq!(good("").tls, tls, "without the section too");
    assert!(!good("[tls]\ncertificate = \"other.pem\"\n").tls.own, "a file that somebody named");
    let full = good(FULL).tls;
    let pair = |name: &str| [format!("/certs/{name}.pem"), format!("/certs/{name}.key")];
    assert_eq!([full.certificate, full.private_key], pair("one").map(PathBuf::from));
    let two = full.sni.into_iter().map(|one| [one.certificate, one.private_key]);
    assert_eq!(two.collect::<Vec<_>>(), [pair("two").map(PathBuf::from)]);
}

#[test]
fn tls_is_spoken_where_anything_speaks_it() {
    assert!(!good("").speaks_tls());
    assert!(good("[ftp]\n").speaks_tls());
    assert!(!good("[ftp]\ntls = \"off\"\n[smtp]\ntls = \"off\"\n").speaks_tls());
    assert!(good("[ftp]\ntls = \"off\"\n[smtp]\ntls = \"required\"\n").speaks_tls());
    assert!(good("[smtp]\ntls = \"off\"\nlisten_tls = [\"127.0.0.1:0\"]\n").speaks_tls());
    assert_eq!(
        bad("[smtp]\ntls = \"off\"\nlisten_submission = [\"127.0.0.1:0\"]\n"),
        [
            r#"s.toml:3:21: listen_submission = ["127.0.0.1:0"]: not allowed (allowed: [] where tls is "off": AUTH needs STARTTLS)"#
        ]
    );
}

#[test]
fn tables_of_certificates_have_two_keys() {
    assert_eq!(
        bad("[[tls.sni]]\ncertificate = \"a.pem\"\nprivate_kay = \"a.key\"\n[tls]\n"),
        [
            "s.toml:1:1: [[tls.sni]] without private_key (add private_key = …)",
            r#"s.toml:3:1: unknown key of [[tls.sni]] "private_kay" (did you mean "private_key"?)"#,
        ]
    );
    assert_eq!(bad("[tls]\nsni = 3\n").len(), 1);
    assert_eq!(bad("[ftp]\nlisten_tls = [\"127.0.0.1:21\", \"127.0.0.1:21\"]\n").len(), 1);
}

#[test]
fn an_absent_section_is_off() {
    for text in ["", "[server]\n[log]\n[mail]\n"] {
        let config = good(text);
        assert_eq!((config.ftp, config.smtp), (None, None));
    }
    assert!(good("[smtp]\n").ftp.is_none() && good("[ftp]\n").smtp.is_none());
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
    let smtp = config.smtp.unwrap();
    assert_eq!(smtp.listen, ["127.0.0.1:2525".parse().unwrap()]);
    assert_eq!(smtp.domains, ["localhost", "edge.example.org"]);
    assert_eq!(smtp.spool, PathBuf::from("/home/op/d/spool"));
    assert_eq!(config.mail.unknown_local_part, UnknownLocalPart::Accept);
    let nameless = Machine { hostname: "localhost".into(), ..machine() };
    assert_eq!(Config::embedded(&nameless, None).unwrap().smtp.unwrap().domains, ["localhost"]);
}

#[test]
fn what_is_shown_parses_to_the_same() {
    for text in ["", "[ftp]\n", "[smtp]\n", FULL] {
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
admin_socket = ""
[log]
level = "debug"
format = "json"
xferlog = "log/xfer\"log"
[ftp]
listen = ["0.0.0.0:21", "[::]:21"]
listen_tls = ["[::]:990"]
tls = "required"
data_tls = "require"
root = "/srv/ftp"
anonymous = "off"
upload_dirs = ["/a//b/", "/"]
anonymous_overwrite = true
uploads_readable = true
symlinks = "deny"
banner = "Hello\n\"you\""
passive_ports = "50000"
passive_address = "192.0.2.7"
close_notify_required = false
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
[smtp]
listen = ["0.0.0.0:25", "[::]:25"]
listen_tls = ["[::]:465"]
listen_submission = ["[::]:587"]
listen_lmtp = ["127.0.0.1:24", "unix:run/lmtp.sock", "unix:/run/mail/lmtp"]
proxy_from = ["192.0.2.8"]
xclient_from = ["2001:db8:1::/48"]
xforward_from = ["127.0.0.0/8"]
tls = "required"
domains = ["Example.org", "xn--bcher-kva.example", "[192.0.2.1]", "[IPv6:2001:DB8::1]"]
max_message_bytes = 1024
max_recipients = 100
bare_newlines = "normalize"
relay_from = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
resolvers = ["127.0.0.1", "2001:db8::53", "192.0.2.53:5353"]
resolver_seconds = 15
banner = "no spam"
spool = "/fast/spool"
spool_segment_bytes = 1048576
spool_memory_bytes = 2097152
spool_reserve_bytes = 0
strict_syntax = true
drop_early_talkers = false
vrfy = true
expn = true
max_hops = 1
max_errors = 2
max_login_failures = 3
authenticated_senders = "any"
max_messages = 3
idle_seconds = 4
message_seconds = 5
min_rate_bytes = 0
[[smtp.route]]
recipient = "Sink@*"
to = "discard"
[[smtp.route]]
recipient = "*@Example.ORG"
to = "local"
[[smtp.route]]
recipient = "*@inside.example"
to = "lmtp:unix:/run/lmtp"
recipients = "inside"
[[smtp.route]]
recipient = "*"
sender = ""
authenticated = false
to = "mx"
tls = "none"
source_address = "192.0.2.9"
[[smtp.route]]
recipient = "*"
sender = "*@Example.org"
to = "relay:Smart.example:587"
tls = "must"
username = "edge"
password_file = "/etc/edge.password"
max_connections = 3
max_messages_per_connection = 4
max_messages_per_minute = 5
[[smtp.route]]
recipient = "*"
to = "discard"
[[smtp.milter]]
address = "127.0.0.1:11332"
[[smtp.milter]]
address = "[2001:DB8::1]:11332"
on_failure = "accept"
authenticated = true
timeout_seconds = 1
message_seconds = 540
[[smtp.milter]]
address = "unix:run/dkim.sock"
on_failure = "tempfail"
authenticated = false
[mail]
root = "/boxes"
unknown_local_part = "accept"
aliases = "/etc/aliases"
catch_all = "bob@example.org"
extension_separator = "="
srs_domain = "srs.example.org"
srs_secret = "/etc/srs"
verp_lists = ["staff", "*"]
mailbox_bytes_max = 1
retry_seconds = 2
retry_seconds_max = 3
give_up_seconds = 4
postmaster_copies = ["delay", "bounce"]
max_reports_per_hour = 0
max_reports_per_hour_per_address = 3
[relay]
retry_first_seconds = 5
retry_seconds = 6
retry_seconds_max = 7
give_up_seconds = 8
max_connections = 9
max_connections_per_destination = 10
max_messages_per_connection = 11
delay_notice_seconds = 12
idle_seconds = 13
[tls]
certificate = "/certs/one.pem"
private_key = "/certs/one.key"
[[tls.sni]]
certificate = "/certs/two.pem"
private_key = "/certs/two.key"
"#;

#[test]
fn every_key_is_read() {
    // Every value of FULL differs from its default, so an ignored key would show.
    let (full, default) = (good(FULL), good("[ftp]\n[smtp]\n"));
    let pairs = [
        (render::server(&full.server), render::server(&default.server)),
        (render::log(&full.log), render::log(&default.log)),
        (render::ftp(full.ftp.as_ref().unwrap()), render::ftp(default.ftp.as_ref().unwrap())),
        (render::smtp(full.smtp.as_ref().unwrap()), render::smtp(default.smtp.as_ref().unwrap())),
        (render::mail(&full.mail), render::mail(&default.mail)),
        (render::relay(&full.relay), render::relay(&default.relay)),
        (render::tls(&full.tls), render::tls(&default.tls)),
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
        bad("[fpt]\n[ftp]\nlisten_tsl = []\nidle_secconds = 3\nxyzzy = 1\n[xyz]\n"),
        [
            r#"s.toml:1:2: unknown section "fpt" (did you mean "ftp"?)"#,
            r#"s.toml:3:1: unknown key of [ftp] "listen_tsl" (did you mean "listen_tls"?)"#,
            r#"s.toml:4:1: unknown key of [ftp] "idle_secconds" (did you mean "idle_seconds"?)"#,
            "s.toml:5:1: unknown key of [ftp] \"xyzzy\" (known: listen, listen_tls, root, anonymous, upload_dirs, anonymous_overwrite, \
         uploads_readable, symlinks, banner, passive_ports, passive_address, tls, data_tls, close_notify_required, fxp, durable_uploads, idle_seconds, \
         login_seconds, stall_seconds, max_login_failures, accept_seconds, min_rate_bytes, max_upload_bytes, \
         listing_depth, listing_entries, ebcdic)",
            r#"s.toml:6:2: unknown section "xyz" (known: server, log, ftp, smtp, mail, relay, tls)"#,
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
fn values_of_mail_that_are_wrong() {
    let found = bad(concat!(
        "[smtp]\ndomains = []\nspool_segment_bytes = 1048577\nbanner = \"a\\nb\"\n",
        "listen_tsl = []\nlisten_submision = []\nrouet = 1\n",
        "[mail]\nretry_seconds = 60\nretry_seconds_max = 59\nextension_separator = \"@\"\ncatch_all = \"a b\"\n",
    ));
    assert_eq!(
        found,
        [
            "s.toml:2:11: domains = []: not allowed (allowed: one domain at least, whose mail is taken)",
            "s.toml:3:23: spool_segment_bytes = 1048577: not allowed (allowed: a multiple of 4096)",
            r#"s.toml:4:10: banner = "a\nb": not allowed (allowed: at most 200 characters of US-ASCII, on one line)"#,
            r#"s.toml:5:1: unknown key of [smtp] "listen_tsl" (did you mean "listen_tls"?)"#,
            r#"s.toml:6:1: unknown key of [smtp] "listen_submision" (did you mean "listen_submission"?)"#,
            r#"s.toml:7:1: unknown key of [smtp] "rouet" (did you mean "route"?)"#,
            "s.toml:10:21: retry_seconds_max = 59: not allowed (allowed: retry_seconds (60) or more)",
            r#"s.toml:11:23: extension_separator = "@": not allowed (allowed: one of + - _ = # ~ % . ! or "" for none)"#,
            r#"s.toml:12:13: catch_all = "a b": not allowed (allowed: a user, an address, or "" for nobody)"#,
        ]
    );
}

#[test]
fn routes_are_patterns_of_addresses() {
    let route = |pattern: &str| {
        parse(&format!("[smtp]\n[[smtp.route]]\nrecipient = '{pattern}'\nto = \"local\"\n"))
    };
    for fine in ["*", "*@a.example", "a.b@a.example", "a+b=c@*", "ä@a.example", "a/b@[192.0.2.1]"]
    {
        let routes = route(fine).unwrap().smtp.unwrap().routes;
        let place = routes[0].at.0.as_ref().unwrap();
        assert_eq!((place.line, place.column), (3, 13), "{fine}");
    }
    for wrong in [
        "",
        "a",
        "@",
        "a@",
        "@a",
        "a b@c",
        " a@c",
        "a@c ",
        "a,b@c",
        "a@b@c",
        "(a)@c",
        "a:b@c",
        "a;b@c",
        "<a@c>",
        "\"a\"@c",
        "a..b@c",
        ".a@c",
        "a.@c",
        "a@b c",
        "[a]@c",
        "a\u{a0}b@c",
        "**",
        "*@",
        "@*",
    ] {
        let found = lines(&route(wrong).unwrap_err());
        assert!(
            found.len() == 1 && found[0].starts_with("s.toml:3:13: recipient = "),
            "{wrong}: {found:?}"
        );
    }
}

#[test]
fn domains_are_names_or_literals() {
    let smtp = good(FULL).smtp.unwrap();
    assert_eq!(
        smtp.domains,
        ["example.org", "xn--bcher-kva.example", "[192.0.2.1]", "[ipv6:2001:db8::1]"]
    );
    for wrong in ["", ".", "a..b", "-a", "a b", "a@b", "*", "a.", "ü.example", "[::1]", "[ipv6:1]"]
    {
        let found = bad(&format!("[smtp]\ndomains = [\"ok\", {wrong:?}]\n"));
        assert!(found[0].starts_with("s.toml:2:18: domains = \""), "{wrong}: {found:?}");
    }
    assert_eq!(bad("[smtp]\ndomains = [\"a\", \"A\"]\n").len(), 1);
}

#[test]
fn resolvers_are_addresses() {
    let resolvers = good(FULL).smtp.unwrap().resolvers;
    let shown: Vec<String> = resolvers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:53", "[2001:db8::53]:53", "192.0.2.53:5353"]);
    for wrong in ["localhost", "0.0.0.0", "192.0.2.53:0", "[2001:db8::53", "224.0.0.1", ""] {
        let said = bad(&format!("[smtp]\nresolvers = [{wrong:?}]\n"));
        assert_eq!(
            said,
            [format!(
                r#"s.toml:2:14: resolvers = {wrong:?}: not allowed (allowed: an address, or ADDRESS:PORT, like "127.0.0.1" or "[2001:db8::53]:53")"#
            )]
        );
    }
    let many = ["\"192.0.2.53\""; 9].join(", ");
    let said = bad(&format!("[smtp]\nresolvers = [{many}]\n"));
    assert!(said[0].ends_with("(allowed: at most 8 addresses)"), "{said:?}");
}

#[test]
fn an_open_relay_is_refused() {
    let relay = |network: &str| parse(&format!("[smtp]\nrelay_from = [{network:?}]\n"));
    for good in ["10.0.0.0/8", "0.0.0.0/8", "2001::/16", "::/16", "::1", "127.0.0.1", "1.2.3.4/32"]
    {
        assert!(relay(good).is_ok(), "{good}");
    }
    for open in ["0.0.0.0/0", "::/0", "128.0.0.0/1", "10.0.0.0/7", "2000::/15", "2000::/3"] {
        let found = lines(&relay(open).unwrap_err());
        let start =
            format!("s.toml:2:15: relay_from = \"{open}\": this would be an open relay (name ");
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    }
    // Mapped addresses would mean every IPv4 client, or none.
    for wrong in [
        "",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+9",
        "10.0.0.0/-1",
        "10/8",
        "all",
        "2001:db8::1/32",
        "::/129",
        "::ffff:0.0.0.0/96",
        "::ffff:10.0.0.0/104",
        "10.0.0.0/8/8",
    ] {
        let found = lines(&relay(wrong).unwrap_err());
        assert!(
            found.len() == 1 && found[0].contains("not allowed (allowed: ADDRESS/"),
            "{found:?}"
        );
    }
    let networks = good(FULL).smtp.unwrap().relay_from;
    assert_eq!(networks[2], Network { address: "192.0.2.7".parse().unwrap(), prefix: 32 });
}

#[test]
fn nobody_believes_the_world() {
    for key in ["proxy_from", "xclient_from", "xforward_from"] {
        let found = |network: &str| parse(&format!("[smtp]\n{key} = [{network:?}]\n"));
        assert!(found("10.0.0.0/8").is_ok() && found("::1").is_ok());
        for wide in ["0.0.0.0/0", "::/0", "8.0.0.0/7"] {
            let found = lines(&found(wide).unwrap_err());
            let expected = format!(": {key} = \"{wide}\": the world could say who it is (name ");
            assert!(found.len() == 1 && found[0].contains(&expected), "{found:?}");
        }
    }
}

#[test]
fn lmtp_has_addresses_and_paths() {
    let smtp = good(FULL).smtp.unwrap();
    let data = good(FULL).server.data_dir;
    assert_eq!(
        smtp.listen_lmtp,
        [
            Endpoint::Net("127.0.0.1:24".parse().unwrap()),
            Endpoint::Unix(data.join("run/lmtp.sock")),
            Endpoint::Unix("/run/mail/lmtp".into()),
        ]
    );
    let long = format!("unix:/{}", "x".repeat(107));
    for wrong in ["0.0.0.0:25", "[::]:25", "unix:", "lmtp.sock", &long] {
        let found = bad(&format!("[smtp]\nlisten_lmtp = [{wrong:?}]\n"));
        assert!(
            found.len() == 1 && found[0].starts_with("s.toml:2:16: listen_lmtp = "),
            "{wrong}: {found:?}"
        );
    }
    good(&format!("[smtp]\nlisten_lmtp = [{:?}]\n", long.strip_suffix('x').unwrap()));
    let twice = "[smtp]\nlisten_lmtp = [\"unix:/a\", \"unix:/./a\"]\n";
    assert!(bad(twice)[0].contains("each address at most once"));
    good("[smtp]\nlisten_lmtp = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n");
}

#[test]
fn mail_lies_apart_from_files() {
    for text in [
        "[ftp]\n[smtp]\nspool = \"ftp/spool\"\n",
        "[ftp]\n[smtp]\n[mail]\nroot = \"ftp\"\n",
        "[ftp]\nroot = \"/srv/mail/pub\"\n[smtp]\n[mail]\nroot = \"/srv/mail\"\n",
        "[smtp]\nspool = \"mail/spool\"\n",
        "[smtp]\n[mail]\nroot = \"spool\"\n",
        "[smtp]\nspool = \".\"\n[mail]\nroot = \"/srv/mail\"\n",
    ] {
        assert_eq!(bad(text).len(), 1, "{text}: {:?}", bad(text));
    }
    assert_eq!(
        bad("[ftp]\nroot = \"mail/pub\"\n[smtp]\n"),
        ["s.toml:2:8: [mail] root and [ftp] root: /home/op/sluicegate-data/mail and \
             /home/op/sluicegate-data/mail/pub overlap (mail must not be served as files, nor mailboxes \
             mix with the spool: move one)"]
    );
    assert_eq!(
        bad("[mail]\nretry_seconds = 7200\n"),
        [
            "s.toml:2:17: retry_seconds = 7200: not allowed (allowed: retry_seconds_max (3600) or less)"
        ]
    );
    good(
        "[ftp]\nroot = \"/srv/ftp\"\n[smtp]\nspool = \"/srv/spool\"\n[mail]\nroot = \"/srv/mail\"\n",
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
    assert!(data.join("aliases").is_file());
    for private in ["spool", "mail"] {
        let mode = std::fs::metadata(data.join(private)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{private}");
    }
    std::fs::write(data.join("ftp/pub/welcome.txt"), "mine").unwrap();
    config.prepare(None).unwrap();
    assert_eq!(std::fs::read_to_string(data.join("ftp/pub/welcome.txt")).unwrap(), "mine");
}

#[test]
fn only_the_embedded_default_makes_aliases() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let parse = |text| Config::parse(Path::new("s.toml"), text, &machine(), Some(&data)).unwrap();
    parse("[smtp]\n").prepare(None).unwrap();
    assert!(data.join("mail").is_dir() && !data.join("ftp").exists());
    assert!(!data.join("aliases").exists());
    let problem = parse("[smtp]\nspool = \"/no/such\"\n").prepare(None).unwrap_err().to_string();
    assert!(problem.starts_with("/no/such: [smtp] spool: No such file"), "{problem}");
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
