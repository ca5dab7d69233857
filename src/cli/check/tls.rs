//! cli::check::tls – certificates: are they there, whose are they, and how long are they good.

use crate::config::Config;
use crate::problem::Finding;
use crate::tls::{Certificate, Identity, Pair};

/// A certificate that ends sooner than this should have been renewed by now, seconds.
const SOON: i64 = 21 * DAY;
const DAY: i64 = 86_400;

pub(super) fn tls(config: &Config, now: i64) -> Vec<Finding> {
    if !config.speaks_tls() {
        return vec![Finding::ok("tls: off")];
    }
    let pairs = pairs(config);
    let first = &config.tls;
    if first.own && !first.certificate.exists() {
        let file = first.certificate.display();
        return vec![Finding::ok(format!("tls: {file} will be made, self-signed"))];
    }
    match Identity::load(&pairs, now) {
        Ok(identity) => {
            let findings = identity.certificates().iter().map(|one| certificate(one, now));
            findings.collect()
        }
        Err(problems) => problems
            .into_iter()
            .map(|problem| {
                let why = format!("tls: {}: {}", problem.what, problem.why);
                Finding::fail(why, problem.remedy)
            })
            .collect(),
    }
}

fn pairs(config: &Config) -> Vec<Pair> {
    let tls = &config.tls;
    let first = (&tls.certificate, &tls.private_key);
    let others = tls.sni.iter().map(|one| (&one.certificate, &one.private_key));
    let pair = |(certificate, key): (&std::path::PathBuf, &std::path::PathBuf)| Pair {
        certificate: certificate.clone(),
        private_key: key.clone(),
    };
    std::iter::once(first).chain(others).map(pair).collect()
}

fn certificate(one: &Certificate, now: i64) -> Finding {
    let file = one.file().display();
    let names = if one.names().is_empty() { "no name".to_owned() } else { one.names().join(", ") };
    let left = one.not_after() - now;
    let what = format!("tls: {file} for {names}, good for {} days", left / DAY);
    if one.is_exposed() {
        return Finding::warn(format!("{what}; everybody may read its key"), "chmod 600 the key");
    }
    if left < SOON {
        return Finding::warn(what, "renew it; the server reads it again by itself");
    }
    Finding::ok(what)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Machine;
    use crate::tls::testing;

    fn findings(text: &str, data: &Path, now: i64) -> Vec<String> {
        let machine =
            Machine { hostname: "a.example".into(), cores: 1, directory: data.to_owned() };
        let config = Config::parse(Path::new("s.toml"), text, &machine, Some(data)).unwrap();
        let shown = tls(&config, now).into_iter().map(|finding| finding.to_string());
        shown.map(|line| line.replace(&data.display().to_string(), "")).collect()
    }

    #[test]
    fn certificates_are_told_with_their_days() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let now = testing::NOW;
        assert_eq!(findings("[ftp]\ntls = \"off\"\n", data, now), ["ok    tls: off"]);
        let made = ["ok    tls: /tls/cert.pem will be made, self-signed"];
        assert_eq!(findings("[ftp]\n", data, now), made);
        let one = testing::pair(data, "one", &["a.example", "*.b.example"]);
        let text = "[ftp]\n[tls]\ncertificate = \"one.pem\"\nprivate_key = \"one.key\"\n";
        let good = findings(text, data, now);
        assert!(good[0].starts_with("ok    tls: /one.pem for a.example, *.b.example, good for "));
        let end = Identity::load(std::slice::from_ref(&one), now).unwrap().not_after().unwrap();
        let soon = findings(text, data, end - 20 * DAY);
        assert!(soon[0].starts_with("warn  ") && soon[0].contains("good for 20 days"), "{soon:?}");
        let expired = findings(text, data, end + 1);
        assert!(expired[0].starts_with("FAIL  tls: /one.pem: expired on "), "{expired:?}");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&one.private_key, mode).unwrap();
        let exposed = findings(text, data, now);
        assert!(
            exposed[0].starts_with("warn  ") && exposed[0].contains("everybody"),
            "{exposed:?}"
        );
        let missing = findings("[ftp]\n[tls]\ncertificate = \"none.pem\"\n", data, now);
        assert!(missing[0].starts_with("FAIL  tls: /none.pem: cannot read"), "{missing:?}");
    }
}
