//! cli::user – `sluicegate user …`: users.toml from the command line.
//!
//! Promises: a password is read from standard input or a terminal, never from the arguments, and
//! is wiped from memory; the file is untouched when anything is wrong.
//! Not here: the file itself (`store::accounts`).

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use super::place::Where;
use super::say;
use crate::config::make_user_root;
use crate::limits::PASSWORD_BYTES_MAX;
use crate::problem::Problem;
use crate::sasl::scram::Verifier;
use crate::server::Failure;
use crate::store::accounts::{self, Access, Accounts, Hash, User};

mod clash;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user
    Add(Box<Add>),
    /// Change a user's password
    Passwd(Passwd),
    /// Remove a user; sessions that are open stay
    Remove(Remove),
    /// List users
    List(List),
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Secret {
    /// Read the password from standard input, up to an optional newline, instead of asking for it
    #[arg(long)]
    password_stdin: bool,
    /// Take a hash made elsewhere: $argon2id$… or SHA-512-crypt $6$… (as in /etc/shadow)
    #[arg(long, value_name = "HASH")]
    password_hash: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Login name
    name: String,
    #[command(flatten)]
    secret: Secret,
    /// Keep what SCRAM-SHA-256 needs too; who steals users.toml guesses a password from it sooner
    #[arg(long)]
    scram: bool,
    /// What the user may do over FTP
    #[arg(long, value_enum, default_value_t = FtpAccess::Read, value_name = "ACCESS")]
    ftp: FtpAccess,
    /// The user's own root, a directory relative to `[ftp] root`; made when missing
    #[arg(long, value_name = "DIR")]
    ftp_root: Option<String>,
    /// A mail address of the user; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    mail: Vec<String>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct Passwd {
    /// Login name
    name: String,
    #[command(flatten)]
    secret: Secret,
    /// Keep what SCRAM-SHA-256 needs too; a user who has it keeps it
    #[arg(long, conflicts_with = "no_scram")]
    scram: bool,
    /// Do not keep it any longer
    #[arg(long)]
    no_scram: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Login name
    name: String,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// As a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FtpAccess {
    /// No login
    None,
    /// Fetch and list
    Read,
    /// Everything below the root
    Write,
}

impl From<FtpAccess> for Access {
    fn from(access: FtpAccess) -> Self {
        match access {
            FtpAccess::None => Self::None,
            FtpAccess::Read => Self::Read,
            FtpAccess::Write => Self::Write,
        }
    }
}

pub(super) fn run(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(add) => run_add(*add),
        UserCommand::Passwd(passwd) => run_passwd(passwd),
        UserCommand::Remove(remove) => run_remove(&remove),
        UserCommand::List(list) => run_list(&list),
    }
}

fn run_add(add: Add) -> Result<(), Failure> {
    if let Some(fault) = accounts::name_fault(&add.name) {
        return Err(usage(format!("user {:?}", add.name), fault, "choose another name"));
    }
    let ftp_root = add.ftp_root.as_deref().map(accounts::clean_ftp_root).transpose();
    let ftp_root =
        ftp_root.map_err(|fault| usage("--ftp-root", fault, "give a path like \"home/alice\""))?;
    if let Some((address, fault)) =
        add.mail.iter().find_map(|mail| accounts::mail_fault(mail).map(|fault| (mail, fault)))
    {
        return Err(usage(format!("--mail {address:?}"), fault, "correct it"));
    }
    let config = add.place.config()?;
    let users = config.users_file();
    let free = |accounts: &Accounts| match accounts.find(add.name.as_bytes()) {
        Some(_) => Err(taken(&add.name)),
        None => clash::clash(&config, accounts, &add.name, &add.mail).map_or(Ok(()), Err),
    };
    free(&Accounts::load(&users).map_err(running)?).map_err(running)?;
    let (hash, scram) =
        hash(&add.secret, &add.name, if add.scram { Scram::Make } else { Scram::No })?;

    config.prepare(None).map_err(|problem| Failure::Usage(problem.to_string()))?;
    if let Some(root) = &ftp_root {
        make_user_root(&config, root).map_err(running)?;
    }
    accounts::edit(&users, |accounts| {
        // Somebody else may have been quicker than the password was typed.
        free(accounts)?;
        accounts.insert(User {
            name: add.name.clone(),
            hash,
            scram,
            ftp: add.ftp.into(),
            ftp_root,
            mail: add.mail.clone(),
        });
        Ok(())
    })
    .map_err(running)
}

fn run_passwd(passwd: Passwd) -> Result<(), Failure> {
    let users = existing(&passwd.place, &passwd.name)?;
    let accounts = Accounts::load(&users).map_err(running)?;
    let has = accounts.find(passwd.name.as_bytes()).is_some_and(|user| user.scram.is_some());
    let scram = match (passwd.scram, passwd.no_scram) {
        (true, _) => Scram::Make,
        (false, false) if has => Scram::Renew,
        (false, _) => Scram::No,
    };
    let (hash, scram) = hash(&passwd.secret, &passwd.name, scram)?;
    change(&users, &passwd.name, |accounts| accounts.set_password(&passwd.name, hash, scram))
}

fn run_remove(remove: &Remove) -> Result<(), Failure> {
    let users = existing(&remove.place, &remove.name)?;
    change(&users, &remove.name, |accounts| accounts.remove(&remove.name))
}

fn run_list(list: &List) -> Result<(), Failure> {
    let accounts = Accounts::load(&list.place.config()?.users_file()).map_err(running)?;
    if list.json {
        let users: Vec<_> = accounts.iter().map(as_json).collect();
        return say::out(&format!("{:#}\n", serde_json::Value::Array(users)));
    }
    let width = accounts.iter().map(|user| user.name.chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}  {:5}  {:20}  MAIL\n", "NAME", "FTP", "ROOT");
    for user in accounts.iter() {
        let root = user.ftp_root.as_deref().unwrap_or("-");
        let mail = if user.mail.is_empty() { "-".to_owned() } else { user.mail.join(" ") };
        text.push_str(&format!("{:width$}  {:5}  {root:20}  {mail}\n", user.name, user.ftp.name()));
    }
    say::out(&text)
}

fn as_json(user: &User) -> serde_json::Value {
    serde_json::json!({ "name": user.name, "ftp": user.ftp.name(), "ftp_root": user.ftp_root, "mail": user.mail, "scram": user.scram.is_some() })
}

/// users.toml, when the user is in it: asked before anybody types a password.
fn existing(place: &Where, name: &str) -> Result<PathBuf, Failure> {
    let users = place.config()?.users_file();
    match Accounts::load(&users).map_err(running)?.find(name.as_bytes()) {
        Some(_) => Ok(users),
        None => Err(running(unknown(name))),
    }
}

fn change(
    users: &Path,
    name: &str,
    change: impl FnOnce(&mut Accounts) -> bool,
) -> Result<(), Failure> {
    accounts::edit(users, |accounts| if change(accounts) { Ok(()) } else { Err(unknown(name)) })
        .map_err(running)
}

/// Whether to keep what SCRAM needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scram {
    No,
    /// It was asked for.
    Make,
    /// The user had it. With a hash it cannot be had, and goes: it is of the old password.
    Renew,
}

fn hash(secret: &Secret, name: &str, scram: Scram) -> Result<(Hash, Option<Verifier>), Failure> {
    if let Some(hash) = &secret.password_hash {
        if scram == Scram::Make {
            let why = "a verifier is made of a password, not of a hash";
            return Err(usage("--scram", why, "leave one of them out"));
        }
        let hash = Hash::import(hash).map_err(|fault| {
            usage("--password-hash", fault, "quote it, for $ means something to the shell")
        })?;
        return Ok((hash, None));
    }
    let password = if secret.password_stdin { from_stdin() } else { from_terminal(name) }?;
    let hash = Hash::new(&password).map_err(|fault| usage("password", fault, "choose another"))?;
    let scram = if scram == Scram::No { None } else { Some(verifier(&password)?) };
    Ok((hash, scram))
}

fn verifier(password: &[u8]) -> Result<Verifier, Failure> {
    let mut salt = [0; Verifier::SALT_BYTES];
    getrandom::fill(&mut salt)
        .map_err(|error| Failure::Running(format!("random octets: {error} (try again)")))?;
    str::from_utf8(password)
        .ok()
        .and_then(|password| Verifier::new(password, &salt, Verifier::ITERATIONS))
        .ok_or_else(|| {
            let why = "the password has characters that SCRAM does not allow (RFC 4013)";
            usage("--scram", why, "choose another password, or do without --scram")
        })
}

fn from_stdin() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut password = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX + 2));
    let mut input = io::stdin().lock().take(PASSWORD_BYTES_MAX as u64 + 2);
    input.read_until(b'\n', &mut password).map_err(|error| {
        Failure::Running(format!("password: standard input: {error} (pipe the password in)"))
    })?;
    for end in *b"\n\r" {
        if password.last() == Some(&end) {
            password.pop();
        }
    }
    Ok(password)
}

fn from_terminal(name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(usage("password", "there is no terminal to ask on", "use --password-stdin"));
    }
    let ask = |prompt: String| {
        let read = rpassword::prompt_password(prompt)
            .map(|password| Zeroizing::new(password.into_bytes()));
        read.map_err(|error| usage("password", error.to_string(), "use --password-stdin"))
    };
    let first = ask(format!("Password for {name}: "))?;
    let second = ask("Again: ".to_owned())?;
    if first == second { Ok(first) } else { Err(usage("password", "the two differ", "try again")) }
}

fn taken(name: &str) -> Problem {
    Problem::new(
        format!("user {name:?}"),
        "exists already",
        "`sluicegate user passwd` changes the password",
    )
}

fn unknown(name: &str) -> Problem {
    Problem::new(
        format!("user {name:?}"),
        "no such user",
        "`sluicegate user list` shows who there is",
    )
}

fn usage(what: impl Into<String>, why: impl std::fmt::Display, remedy: &str) -> Failure {
    Failure::Usage(Problem::new(what, why, remedy).to_string())
}

fn running(problem: Problem) -> Failure {
    Failure::Running(problem.to_string())
}
