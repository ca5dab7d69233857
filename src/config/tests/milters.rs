//! Milters as they are read, and every message about them.

use super::*;

#[test]
fn milters_are_read_in_order() {
    let milters = good(FULL).smtp.unwrap().milters;
    let net = |host: &str| MilterAddress::Net { host: host.into(), port: 11332 };
    let plain = |address| Milter {
        address,
        on_failure: OnFailure::Tempfail,
        authenticated: None,
        timeout_seconds: 30,
        message_seconds: 300,
    };
    let second = Milter {
        on_failure: OnFailure::Accept,
        authenticated: Some(true),
        timeout_seconds: 1,
        message_seconds: 540,
        ..plain(net("2001:db8::1"))
    };
    let socket = MilterAddress::Unix("/d/run/dkim.sock".into());
    let third = Milter { authenticated: Some(false), ..plain(socket) };
    assert_eq!(milters, [plain(net("127.0.0.1")), second, third]);
    assert!(good("[smtp]\nmilter = []\n").smtp.unwrap().milters.is_empty());
}

#[test]
fn milters_are_judged() {
    let judged = |keys: &str| bad(&format!("[smtp]\n[[smtp.milter]]\n{keys}\n"));
    const ADDRESS: &str = r#"(allowed: "HOST:PORT" or "unix:PATH")"#;
    for (keys, found) in [
        (r#"address = "host""#, format!(r#"s.toml:3:11: address = "host": not allowed {ADDRESS}"#)),
        (r#"address = "host:0""#, format!(r#"s.toml:3:11: address = "host:0": not allowed {ADDRESS}"#)),
        (r#"address = "unix:""#, format!(r#"s.toml:3:11: address = "unix:": not allowed {ADDRESS}"#)),
        (r#"address = "a b:1""#, format!(r#"s.toml:3:11: address = "a b:1": not allowed {ADDRESS}"#)),
        (
            r#"on_failure = "accept""#,
            "s.toml:2:1: [[smtp.milter]] without address (add address = …)".to_owned(),
        ),
        (
            "address = \"h:1\"\non_failure = \"acept\"",
            r#"s.toml:4:14: on_failure = "acept": not allowed (allowed: "tempfail" or "accept"; did you mean "accept"?)"#
                .to_owned(),
        ),
        (
            "address = \"h:1\"\nmessage_seconds = 600",
            "s.toml:4:19: message_seconds = 600: not allowed (allowed: a whole number of seconds from 1 to 540)"
                .to_owned(),
        ),
        (
            "address = \"h:1\"\nxyzzy = 3",
            r#"s.toml:4:1: unknown key of [[smtp.milter]] "xyzzy" (known: address, on_failure, authenticated, timeout_seconds, message_seconds)"#
                .to_owned(),
        ),
    ] {
        assert_eq!(judged(keys), [found]);
    }
    assert_eq!(bad("[smtp]\nmilter = 3\n").len(), 1);
    assert_eq!(bad("[smtp]\nmilter = [3]\n").len(), 1);
}

#[test]
fn a_saved_default_takes_milters() {
    let text = default_text().replace("# [[smtp.milter]]\n# address", "[[smtp.milter]]\naddress");
    let milters = good(&text).smtp.unwrap().milters;
    assert_eq!(milters.len(), 1);
    assert_eq!(milters[0].address.to_string(), "127.0.0.1:11332");
}
