//! `[mail]`: senders that are rewritten, and the secret that is made for that.

use super::*;

#[test]
fn senders_are_rewritten_where_bounces_can_come_back() {
    assert_eq!(
        bad("[mail]\nextension_separator = \"\"\nverp_lists = [\"staff\"]\n"),
        [
            "s.toml:3:14: verp_lists = [\"staff\"]: not allowed (allowed: [] where extension_separator is \"\": bounces would not find the owner)"
        ]
    );
    assert_eq!(
        bad("[mail]\nverp_lists = [\"a+b\"]\n"),
        [
            "s.toml:2:14: verp_lists = [\"a+b\"]: not allowed (allowed: no list with extension_separator in its name, like a+b)"
        ]
    );
    for domain in ["[192.0.2.1]", "srs", "a b.example", "x@y.example"] {
        let problems = bad(&format!("[mail]\nsrs_domain = \"{domain}\"\n"));
        assert!(problems[0].contains("a domain whose MX is this server"), "{problems:?}");
    }
    let problems = bad("[mail]\npostmaster_copies = [\"bounce\", \"all\"]\n");
    assert!(problems[0].contains("\"bounce\" or \"delay\""), "{problems:?}");
}

#[test]
fn a_secret_is_made_once_and_for_one_pair_of_eyes() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let parse = |text: &str| {
        Config::parse(Path::new("s.toml"), text, &machine(), Some(data.path())).unwrap()
    };
    let file = data.path().join("srs.secret");
    parse("[smtp]\n").prepare(None).unwrap();
    assert!(!file.exists(), "nobody asked for it");
    let config = parse("[smtp]\n[mail]\nsrs_domain = \"srs.example\"\n");
    config.prepare(None).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = text.lines().find(|line| !line.starts_with('#')).unwrap();
    assert_eq!(secret.len(), 43, "256 bits");
    config.prepare(None).unwrap();
    config.make_srs_secret(None).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "it stays");
    // What somebody keeps elsewhere is theirs to make.
    let elsewhere = data.path().with_extension("elsewhere");
    let text = format!(
        "[smtp]\n[mail]\nsrs_domain = \"srs.example\"\nsrs_secret = \"{}\"\n",
        elsewhere.display()
    );
    parse(&text).prepare(None).unwrap();
    assert!(!elsewhere.exists());
}
