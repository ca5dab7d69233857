//! store::accounts – virtual users and their passwords.
//!
//! ```text
//!  users.toml ──load──▶ Accounts ──find / verify──▶ server (verify on the blocking pool)
//!       ▲                  │ edit (sluicegate user …, under users.lock)
//!       └─────save─────────┘  temporary, fsync, rename, fsync of the directory
//! ```
//! Promises: `verify` works as long for a user that does not exist as for one that does; a hash or
//! password never appears in `Debug` output; a file that is wrong anywhere is refused whole.
//! Not here: who may log in to which protocol, delays after failures (`server`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use crate::limits::{USER_NAME_BYTES_MAX, USERS_FILE_BYTES_MAX};
use crate::problem::Problem;
use crate::sasl::scram::Verifier;

mod decoy;
mod file;
mod password;
#[cfg(test)]
mod tests;

pub use file::{edit, make_if_missing};
pub use password::Hash;

/// What a user may do over FTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// No login.
    #[default]
    None,
    /// Fetch and list.
    Read,
    /// Everything below their root.
    Write,
}

impl Access {
    /// As written in `users.toml` and on the command line.
    pub const NAMES: [(&'static str, Self); 3] =
        [("none", Self::None), ("read", Self::Read), ("write", Self::Write)];

    /// The name of this access.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Hash of the password.
    pub hash: Hash,
    /// For SCRAM, of the same password; only where it was asked for. Guessing a password from it costs
    /// less than from the hash.
    pub scram: Option<Verifier>,
    /// FTP access.
    pub ftp: Access,
    /// The user's own root, relative to `[ftp] root`; no leading slash.
    pub ftp_root: Option<String>,
    /// Mail addresses.
    pub mail: Vec<String>,
}

/// What became of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The user exists and this is the password.
    Accepted,
    /// No such user, or another password: nobody is told which.
    Refused,
}

/// The state of `users.toml` on the disk; two that differ mean "load again".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint(Option<(u64, u64, u64, i64, i64)>);

/// Every user of one `users.toml`.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, User>,
    /// True when any hash is SHA-512-crypt: then every verification does both kinds of work.
    mixed: bool,
    /// Makes what users without a verifier seem to have.
    decoys: decoy::Key,
}

impl Accounts {
    /// Reads `path`. A missing file is a file without users.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        let cannot = |error| {
            Problem::path(
                path,
                format_args!("cannot read: {error}"),
                "make it readable to the user the server runs as",
            )
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(cannot(error)),
        };
        let mut octets = Vec::new();
        file.take(USERS_FILE_BYTES_MAX + 1).read_to_end(&mut octets).map_err(cannot)?;
        if octets.len() as u64 > USERS_FILE_BYTES_MAX {
            return Err(Problem::path(
                path,
                "too long",
                format!("at most {USERS_FILE_BYTES_MAX} octets are read"),
            ));
        }
        let text = String::from_utf8(octets).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            Problem::path(
                path,
                format_args!("not UTF-8 at octet {offset}"),
                "restore it from a backup",
            )
        })?;
        file::parse(path, &text)
    }

    /// The state of the file now. Never fails: a file that cannot be looked at is like none.
    pub fn fingerprint(path: &Path) -> Fingerprint {
        let seen = std::fs::metadata(path).ok();
        Fingerprint(seen.map(|m| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec())))
    }

    /// Checks a password. Takes some 20 ms and 19 MiB: call it off the shard, and not often at once.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> Verdict {
        let hash = self.find(name).map(|user| &user.hash);
        if password::verify(hash, password, self.mixed) {
            Verdict::Accepted
        } else {
            Verdict::Refused
        }
    }

    /// Adds or replaces a user.
    pub fn insert(&mut self, user: User) {
        self.users.insert(user.name.clone(), user);
        self.remix();
    }

    /// Removes a user; false when there was none.
    pub fn remove(&mut self, name: &str) -> bool {
        let was = self.users.remove(name).is_some();
        self.remix();
        was
    }

    /// Changes a user's password; false when there is no such user. Without a verifier, the one there was
    /// goes: it is of the old password.
    pub fn set_password(&mut self, name: &str, hash: Hash, scram: Option<Verifier>) -> bool {
        let user = self.users.get_mut(name);
        let found = user.map(|user| (user.hash, user.scram) = (hash, scram)).is_some();
        self.remix();
        found
    }

    /// Is there anybody for SCRAM?
    pub fn any_scram(&self) -> bool {
        self.users.values().any(|user| user.scram.is_some())
    }

    /// What is kept of a user for SCRAM, if it is, and what is shown in its place otherwise: the same for
    /// the same name as long as there is any such user, over restarts too.
    pub fn verifier(&self, name: &str) -> (Option<&Verifier>, Verifier) {
        let stored = self.find(name.as_bytes()).and_then(|user| user.scram.as_ref());
        (stored, self.decoys.of(name))
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&User> {
        std::str::from_utf8(name).ok().and_then(|name| self.users.get(name))
    }

    /// Every user, by name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// True without users.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn remix(&mut self) {
        self.mixed = self.users.values().any(|user| user.hash.is_sha512());
    }
}

/// Why `name` cannot be a user's name.
pub fn name_fault(name: &str) -> Option<String> {
    const RESERVED: [&str; 2] = ["anonymous", "ftp"];
    let reserved = RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved));
    let wrong = |c: char| {
        c.is_control() || c.is_whitespace() || matches!(c, '/' | ':' | '\\' | '"' | '\'' | ',')
    };
    if name.is_empty() || name.len() > USER_NAME_BYTES_MAX {
        Some(format!("a name has 1 to {USER_NAME_BYTES_MAX} octets"))
    } else if reserved {
        Some("that name means an anonymous login".to_owned())
    } else if name.contains(wrong) {
        Some("a name has no spaces, control characters, quotes, or any of / \\ : ,".to_owned())
    } else if name.starts_with(['.', '-']) {
        Some("a name does not begin with . or -".to_owned())
    } else {
        None
    }
}

/// `ftp_root` as it is kept: relative, no empty parts; or why it cannot be.
pub fn clean_ftp_root(root: &str) -> Result<String, String> {
    let path = Path::new(root);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("a user's root is below [ftp] root: no ..".to_owned());
    }
    if root.chars().any(char::is_control) {
        return Err("no control characters".to_owned());
    }
    let parts: Vec<&str> =
        root.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return Err("name a directory below [ftp] root, or leave it out".to_owned());
    }
    Ok(parts.join("/"))
}

/// Why `address` cannot be a mail address of a user.
pub fn mail_fault(address: &str) -> Option<&'static str> {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return Some("an address looks like name@example.org");
    };
    let wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';');
    let fits =
        !local.is_empty() && !domain.is_empty() && address.len() <= 254 && !address.contains(wrong);
    (!fits).then_some("an address looks like name@example.org")
}
