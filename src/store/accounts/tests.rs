//! accounts tests.

use super::*;

/// Of "Hello world!", made by `openssl passwd -6 -salt saltstring`.
const SHA512: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";

fn user(name: &str, hash: Hash) -> User {
    User {
        name: name.into(),
        hash,
        scram: None,
        ftp: Access::Write,
        ftp_root: Some("home".into()),
        mail: vec!["a@b".into()],
    }
}

#[test]
fn users_survive_a_round_trip() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.toml");
    let empty = Accounts::fingerprint(&path);
    make_if_missing(&path).unwrap();
    let made = Accounts::fingerprint(&path);
    assert_ne!(empty, made);
    assert!(Accounts::load(&path).unwrap().is_empty());

    let alice = user("alice", Hash::new(b"secret").unwrap());
    let bob = User {
        ftp: Access::None,
        ftp_root: None,
        mail: vec![],
        ..user("bob", Hash::import(SHA512).unwrap())
    };
    edit(&path, |accounts| {
        accounts.insert(alice.clone());
        accounts.insert(bob.clone());
        Ok(())
    })
    .unwrap();
    assert_ne!(Accounts::fingerprint(&path), made);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

    let accounts = Accounts::load(&path).unwrap();
    assert_eq!(accounts.iter().cloned().collect::<Vec<_>>(), [alice, bob]);
    assert_eq!(accounts.verify(b"alice", b"secret"), Verdict::Accepted);
    assert_eq!(accounts.verify(b"alice", b"Secret"), Verdict::Refused);
    assert_eq!(accounts.verify(b"bob", b"Hello world!"), Verdict::Accepted);
    assert_eq!(accounts.verify(b"bob", b"Hello world"), Verdict::Refused);
    assert_eq!(accounts.verify(b"carol", b"secret"), Verdict::Refused);
    assert_eq!(accounts.verify(b"\xff", b""), Verdict::Refused);
    assert_eq!(accounts.verify(b"alice", &[b'x'; 9999]), Verdict::Refused);
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "no temporary stays: {names:?}");
}

#[test]
fn a_failed_change_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.toml");
    make_if_missing(&path).unwrap();
    let before = Accounts::fingerprint(&path);
    edit(&path, |accounts| -> Result<(), Problem> {
        accounts.remove("x");
        Err(Problem::new("x", "no", ""))
    })
    .unwrap_err();
    assert_eq!(Accounts::fingerprint(&path), before);
}

#[test]
fn secrets_do_not_show() {
    let alice = user("alice", Hash::import(SHA512).unwrap());
    assert!(!format!("{alice:?}").contains("svn8"), "{alice:?}");
    let path = Path::new("users.toml");
    let problem =
        file::parse(path, "version = 1\n[[user]]\nname = \"a\"\npassword = \"$6$salt$short\"\n")
            .unwrap_err();
    assert!(!problem.to_string().contains("short"), "{problem}");
}

#[test]
fn imported_hashes_are_bounded() {
    let argon2 = Hash::new(b"x").unwrap();
    assert!(argon2.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", argon2.as_str());
    assert!(Hash::import(argon2.as_str()).is_ok());
    let dear = argon2.as_str().replace("m=19456", "m=4000000");
    assert!(Hash::import(&dear).unwrap_err().contains("costs too much"));
    assert!(Hash::import(&SHA512.replace("$6$", "$6$rounds=2000$")).is_ok());
    assert!(Hash::import(&SHA512.replace("$6$", "$6$rounds=9000000$")).is_err());
    assert!(Hash::import(&SHA512.replace("$6$", "$6$rounds=9$")).is_err());
    for wrong in [
        "",
        "x",
        "$1$a$b",
        "$6$",
        "$6$salt",
        "$argon2id$",
        "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
    ] {
        assert!(Hash::import(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn passwords_are_one_line() {
    assert!(Hash::new(b"").is_err());
    assert!(Hash::new(&[b'x'; 513]).is_err());
    assert!(Hash::new(b"a\nb").is_err());
}

#[test]
fn names() {
    for good in ["alice", "a", "ä", "a.b@example.org", "user_1"] {
        assert_eq!(name_fault(good), None, "{good}");
    }
    let long = "x".repeat(65);
    for bad in ["", "a b", "a/b", "a:b", "a\nb", "..", "-x", "anonymous", "FTP", &long] {
        assert!(name_fault(bad).is_some(), "{bad}");
    }
}

#[test]
fn roots_stay_below() {
    assert_eq!(clean_ftp_root("/home//./alice/").unwrap(), "home/alice");
    for bad in ["", "/", ".", "..", "a/../..", "a\nb"] {
        assert!(clean_ftp_root(bad).is_err(), "{bad}");
    }
}

#[test]
fn wrong_files_say_where() {
    let wrong = |text: &str| file::parse(Path::new("users.toml"), text).unwrap_err().to_string();
    assert_eq!(
        wrong(""),
        "users.toml:1:1: no version: users.toml says which format it has (add a line: version = 1)"
    );
    assert_eq!(
        wrong("version = 3\n"),
        "users.toml:1:11: version = 3: not allowed (allowed: 1 or 2; this program reads no other format)"
    );
    assert_eq!(
        wrong("version = 1\n[[user]]\nnmae = \"a\"\n"),
        "users.toml:2:1: [[user]] without name (see `sluicegate user add --help`)"
    );
    assert_eq!(
        wrong("version = 1\n[user]\n"),
        "users.toml:2:1: user = [user]: not allowed (allowed: sections, each begun by a line [[user]])"
    );
    let twice = format!("version = 1\n[[user]]\nname = \"a\"\npassword = \"{SHA512}\"\n")
        .replace("version = 1\n", "");
    assert_eq!(
        wrong(&format!("version = 1\n{twice}{twice}")),
        "users.toml:5:1: user \"a\": there are two of this name (remove one)"
    );
}

#[test]
fn verifiers_have_a_format_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.toml");
    let verifier = Verifier::new("secret", b"salt", 4096).unwrap();
    let text = || std::fs::read_to_string(&path).unwrap();
    edit(&path, |accounts| {
        accounts.insert(user("alice", Hash::import(SHA512).unwrap()));
        Ok(())
    })
    .unwrap();
    assert!(text().contains("\nversion = 1\n") && !text().contains("scram"), "{}", text());
    assert!(!Accounts::load(&path).unwrap().any_scram());
    let scram =
        User { scram: Some(verifier.clone()), ..user("bob", Hash::import(SHA512).unwrap()) };
    edit(&path, |accounts| {
        accounts.insert(scram.clone());
        Ok(())
    })
    .unwrap();
    assert!(text().contains("\nversion = 2\nscram_key = \""), "{}", text());
    let accounts = Accounts::load(&path).unwrap();
    assert!(accounts.any_scram());
    assert_eq!(accounts.find(b"bob"), Some(&scram));
    let (stored, decoy) = accounts.verifier("bob");
    assert_eq!(stored, Some(&verifier));
    // A user without, and nobody at all: no verifier, and decoys that stay the same from then on.
    let decoys = ["alice", "nobody"].map(|name| {
        let (stored, decoy) = accounts.verifier(name);
        assert_eq!(stored, None);
        decoy
    });
    assert!(decoys[0] != decoys[1] && decoys[0] != decoy);
    edit(&path, |accounts| {
        // Another password without a verifier: the old one must not be taken any longer.
        assert!(accounts.set_password("bob", Hash::import(SHA512).unwrap(), None));
        assert!(!accounts.any_scram());
        assert!(accounts.set_password("alice", Hash::import(SHA512).unwrap(), Some(verifier)));
        Ok(())
    })
    .unwrap();
    let accounts = Accounts::load(&path).unwrap();
    assert_eq!(accounts.verifier("nobody").1, decoys[1]);
    assert_eq!(accounts.find(b"bob").unwrap().scram, None);
}

/// CPU time of this thread in nanoseconds: other tests on the same cores do not count.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_refusal_takes_as_long() {
    let mut accounts = Accounts::default();
    accounts.insert(user("alice", Hash::new(b"secret").unwrap()));
    accounts.insert(user("bob", Hash::import(SHA512).unwrap()));
    let work = |name: &[u8]| {
        let start = cpu_time();
        assert_eq!(accounts.verify(name, b"wrong"), Verdict::Refused);
        cpu_time() - start
    };
    let least = |name: &[u8]| (0..5).map(|_| work(name)).min().unwrap();
    let works = [least(b"alice"), least(b"bob"), least(b"nobody")];
    let (low, high) = (works.iter().min().unwrap(), works.iter().max().unwrap());
    assert!(*high < low * 2, "alice, bob, nobody: {works:?} ns");
}
