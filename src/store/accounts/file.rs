//! store::accounts::file – `users.toml`: reading it strictly, replacing it atomically.
//!
//! ```toml
//! version = 1
//! [[user]]
//! name = "alice"
//! password = "$argon2id$…"
//! ftp = "write"            # "none" | "read" | "write"
//! ftp_root = "home/alice"  # optional
//! mail = ["alice@example.org"]
//! ```
//! Version 2, written when any user has it: `scram_key = "…"` at the top, and `scram = "SCRAM-SHA-256$…"`
//! of users. Both are read.
//!
//! Promises: at any moment, power loss included, the file is the old one or the new one; mode 0600;
//! it keeps its owner, or takes that of the data directory.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use toml::de::DeTable;

use super::{Access, Accounts, Hash, User, clean_ftp_root, decoy, mail_fault, name_fault};
use crate::document::{Document, Value, quoted};
use crate::owner::Owner;
use crate::problem::Problem;
use crate::sasl::scram::Verifier;
use crate::store::lock::UsersLock;

/// Formats of `users.toml`; a file of a later one is refused, never rewritten. The older is written as long as
/// it says everything, so that an older program reads it.
const VERSIONS: [u64; 2] = [1, 2];
const MODE: u32 = 0o600;
const FILE_KEYS: [&str; 3] = ["version", "scram_key", "user"];
const USER_KEYS: [&str; 6] = ["name", "password", "scram", "ftp", "ftp_root", "mail"];

/// Reads `path`, lets `change` alter it and writes it back, all under `users.lock`.
/// Nothing is written when `change` fails.
pub fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Accounts) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let _lock = UsersLock::wait(path)?;
    let mut accounts = Accounts::load(path)?;
    let outcome = change(&mut accounts)?;
    if accounts.any_scram() && accounts.decoys.is_none() {
        accounts.decoys = decoy::Key::new().map_err(|error| {
            Problem::new("random octets", error, "wait until the system has some")
        })?;
    }
    save(path, &accounts)?;
    Ok(outcome)
}

/// Writes a file without users when there is none.
pub fn make_if_missing(path: &Path) -> Result<(), Problem> {
    if path.exists() {
        return Ok(());
    }
    let _lock = UsersLock::wait(path)?;
    if path.exists() { Ok(()) } else { save(path, &Accounts::default()) }
}

fn save(path: &Path, accounts: &Accounts) -> Result<(), Problem> {
    replace(path, &render(accounts)).map_err(|error| {
        Problem::path(
            path,
            format_args!("cannot write: {error}"),
            "make the data directory writable, or run as its owner",
        )
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".users-")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)?;
    temporary.write_all(text.as_bytes())?;
    // Written by root, the file must stay readable to the user the server becomes.
    let owner = Owner::of(path).or_else(|_| Owner::of(directory))?;
    owner.give_file(temporary.as_file())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

fn render(accounts: &Accounts) -> String {
    let version = VERSIONS[usize::from(accounts.any_scram())];
    let mut text = format!(
        "# Written by `sluicegate user`; a running server reads changes within two seconds.\nversion = {version}\n"
    );
    if accounts.any_scram()
        && let Some(key) = accounts.decoys.text()
    {
        text.push_str(&format!("scram_key = {}\n", quoted(&key)));
    }
    for user in accounts.iter() {
        text.push_str(&format!(
            "\n[[user]]\nname = {}\npassword = {}\nftp = {}\n",
            quoted(&user.name),
            quoted(user.hash.as_str()),
            quoted(user.ftp.name()),
        ));
        if let Some(scram) = &user.scram {
            text.push_str(&format!("scram = {}\n", quoted(&scram.to_string())));
        }
        if let Some(root) = &user.ftp_root {
            text.push_str(&format!("ftp_root = {}\n", quoted(root)));
        }
        if !user.mail.is_empty() {
            let mail: Vec<String> = user.mail.iter().map(|address| quoted(address)).collect();
            text.push_str(&format!("mail = [{}]\n", mail.join(", ")));
        }
    }
    text
}

/// Understands the whole file or says what is wrong first.
pub(super) fn parse(path: &Path, text: &str) -> Result<Accounts, Problem> {
    let (mut document, table) = Document::parse(path, text);
    let mut accounts = Accounts::default();
    read_version(&mut document, &table);
    if let Some(value) = table.get("scram_key") {
        let key = document.parsed("scram_key", value, "32 octets in base64", decoy::Key::parse);
        accounts.decoys = key.unwrap_or_default();
    }
    document.unknown_keys(&table, FILE_KEYS.into_iter(), "key");
    if let Some(value) = table.get("user") {
        match value.get_ref().as_array() {
            Some(users) => {
                users.iter().for_each(|user| read_user(&mut document, user, &mut accounts));
            }
            None => document.reject_value(
                "user",
                value.span(),
                "sections, each begun by a line [[user]]",
            ),
        }
    }
    match document.finish().into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(accounts),
    }
}

fn read_version(document: &mut Document<'_>, table: &DeTable<'_>) {
    match table.get("version") {
        None => document.reject(
            0..0,
            "no version",
            "users.toml says which format it has",
            format!("add a line: version = {}", VERSIONS[0]),
        ),
        Some(value) => {
            let given = value.get_ref().as_integer().map(|number| number.as_str().to_owned());
            let known = |given: &String| VERSIONS.iter().any(|known| known.to_string() == *given);
            if !given.as_ref().is_some_and(known) {
                document.reject_value(
                    "version",
                    value.span(),
                    "1 or 2; this program reads no other format",
                );
            }
        }
    }
}

fn read_user(document: &mut Document<'_>, value: &Value<'_>, accounts: &mut Accounts) {
    let Some(table) = value.get_ref().as_table() else {
        document.reject_value("user", value.span(), "a section, begun by a line [[user]]");
        return;
    };
    document.unknown_keys(table, USER_KEYS.into_iter(), "key of [[user]]");
    let name = required(document, table, value, "name", |text| match name_fault(text) {
        Some(fault) => Err(fault),
        None => Ok(text.to_owned()),
    });
    let hash = required(document, table, value, "password", Hash::import);
    let scram = table.get("scram").and_then(|value| {
        document.parsed(
            "scram",
            value,
            "what `sluicegate user passwd --scram` writes",
            Verifier::parse,
        )
    });
    let ftp = table
        .get("ftp")
        .map_or(Access::None, |value| document.choice("ftp", value, &Access::NAMES, Access::None));
    let ftp_root = table.get("ftp_root").and_then(|value| {
        document
            .parsed("ftp_root", value, "a path below [ftp] root", |text| clean_ftp_root(text).ok())
    });
    let mail = table.get("mail").map_or_else(Vec::new, |value| {
        document.list("mail", value, "an address like name@example.org", |text| {
            mail_fault(text).is_none().then(|| text.to_owned())
        })
    });
    let (Some(name), Some(hash)) = (name, hash) else { return };
    if accounts.find(name.as_bytes()).is_some() {
        document.reject(
            value.span(),
            format!("user {name:?}"),
            "there are two of this name",
            "remove one",
        );
    }
    accounts.insert(User { name, hash, scram, ftp, ftp_root, mail });
}

/// A string key that must be there; the reason why it is wrong is shown, its value is not.
fn required<T>(
    document: &mut Document<'_>,
    table: &DeTable<'_>,
    user: &Value<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let Some(value) = table.get(key) else {
        document.reject(
            user.span(),
            format!("[[user]] without {key}"),
            "",
            "see `sluicegate user add --help`",
        );
        return None;
    };
    let parsed =
        value.get_ref().as_str().ok_or_else(|| "a string is needed".to_owned()).and_then(parse);
    parsed.map_err(|fault| document.reject(value.span(), key, fault, "")).ok()
}
