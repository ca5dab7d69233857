//! Routes as they are read, and every message about them.

use super::*;
use crate::mail::hop::{Hop, Login, TlsPolicy};

#[test]
fn routes_are_read_in_order() {
    let routes = good(FULL).smtp.unwrap().routes;
    let route = |recipient: &str, to| Route {
        recipient: recipient.to_owned(),
        sender: None,
        authenticated: None,
        to,
        recipients: None,
        at: At::default(),
    };
    let unix = Onward {
        max_connections: 10,
        max_messages_per_connection: 11,
        ..Onward::new(Hop::LmtpUnix("/run/lmtp".into()))
    };
    let mx = Onward {
        tls: TlsPolicy::None,
        source_address: Some([192, 0, 2, 9].into()),
        max_connections: 10,
        max_messages_per_connection: 11,
        ..Onward::new(Hop::Mx)
    };
    let login = Login { username: "edge".into(), password_file: "/etc/edge.password".into() };
    let smart = Onward {
        hop: Hop::Relay { host: "smart.example".into(), port: 587 },
        tls: TlsPolicy::Must,
        login: Some(login),
        source_address: None,
        max_connections: 3,
        max_messages_per_connection: 4,
        max_messages_per_minute: 5,
    };
    let onward = |onward| RouteTo::Onward(Box::new(onward));
    let expected = [
        route("sink@*", RouteTo::Discard),
        route("*@example.org", RouteTo::Local),
        Route { recipients: Some("/d/inside".into()), ..route("*@inside.example", onward(unix)) },
        Route { sender: Some(String::new()), authenticated: Some(false), ..route("*", onward(mx)) },
        Route { sender: Some("*@example.org".into()), ..route("*", onward(smart)) },
        route("*", RouteTo::Discard),
    ];
    assert_eq!(routes, expected);
    let text = concat!(
        "[smtp]\n[[smtp.route]]\nrecipient = \"*@*\"\nto = \"lmtp:host\"\n",
        "[[smtp.route]]\nto = \"locla\"\n[[smtp.route]]\nrecipient = \"a*@b\"\nto = \"mz\"\nfrom = 1\n",
    );
    assert_eq!(
        bad(text),
        [
            r#"s.toml:3:13: recipient = "*@*": not allowed (allowed: "*", "*@example.org", "user@example.org" or "user@*")"#,
            r#"s.toml:4:6: to = "lmtp:host": not allowed (allowed: "mx", "relay:HOST:PORT", "lmtp:HOST:PORT" or "lmtp:unix:/PATH")"#,
            "s.toml:5:1: [[smtp.route]] without recipient (add recipient = …)",
            r#"s.toml:6:6: to = "locla": not allowed (allowed: "local" or "discard" or "mx" or "relay:HOST:PORT" or "lmtp:HOST:PORT"; did you mean "local"?)"#,
            r#"s.toml:8:13: recipient = "a*@b": not allowed (allowed: "*", "*@example.org", "user@example.org" or "user@*")"#,
            r#"s.toml:9:6: to = "mz": not allowed (allowed: "local" or "discard" or "mx" or "relay:HOST:PORT" or "lmtp:HOST:PORT")"#,
            r#"s.toml:10:1: unknown key of [[smtp.route]] "from" (known: recipient, sender, authenticated, to, tls, username, password_file, source_address, max_connections, max_messages_per_connection, max_messages_per_minute, recipients)"#,
        ]
    );
    assert_eq!(bad("[smtp]\nroute = 3\n").len(), 1);
    assert_eq!(bad("[smtp]\nroute = [3]\n").len(), 1);
    assert!(good("[smtp]\nroute = []\n").smtp.unwrap().routes.is_empty());
}

#[test]
fn a_saved_default_takes_routes() {
    let text = default_text().replace("# [[smtp.route]]\n# recipient", "[[smtp.route]]\nrecipient");
    let text = text.replace("# to = ", "to = ");
    let routes = good(&text).smtp.unwrap().routes;
    let (recipient, at) = ("*@example.org".into(), At::default());
    let (sender, authenticated, recipients) = (None, None, None);
    let to = RouteTo::Discard;
    assert_eq!(routes, [Route { recipient, sender, authenticated, to, recipients, at }]);
}

#[test]
fn routes_to_other_servers_are_judged() {
    let judged = |keys: &str| bad(&format!("[smtp]\n[[smtp.route]]\nrecipient = \"*\"\n{keys}\n"));
    for (keys, found) in [
        (
            "to = \"local\"\ntls = \"may\"",
            r#"s.toml:5:7: tls with to = "local": means nothing there (take it out)"#,
        ),
        (
            "to = \"relay:a:25\"\nusername = \"x\"\npassword_file = \"p\"",
            "s.toml:5:12: username, password_file: a password is not sent to whoever answers (add tls = \"must\")",
        ),
        (
            "to = \"relay:a:25\"\ntls = \"must\"\npassword_file = \"p\"",
            "s.toml:6:17: username without password_file, or the other way round (give both, or none)",
        ),
        (
            "to = \"lmtp:unix:/s\"\ntls = \"may\"",
            r#"s.toml:5:7: tls = "may": not allowed (allowed: "none": a socket of this machine is in clear)"#,
        ),
        (
            "to = \"lmtp:unix:/s\"\nsource_address = \"192.0.2.1\"",
            r#"s.toml:5:18: source_address = "192.0.2.1": not allowed (allowed: an IP address of this machine; none with lmtp:unix:)"#,
        ),
        (
            "to = \"mx\"\nmax_connections = 0",
            "s.toml:5:19: max_connections = 0: not allowed (allowed: a whole number of connections from 1 to 100000)",
        ),
    ] {
        assert_eq!(judged(keys), [found]);
    }
    assert_eq!(
        bad("[relay]\nretry_seconds = 20000\n"),
        [
            "s.toml:2:17: retry_seconds = 20000: not allowed (allowed: retry_seconds_max (14400) or less)"
        ]
    );
}
