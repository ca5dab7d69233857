//! config::prepare – the directories a configuration names, made before anything is served.
//!
//! Promises: makes only what is missing and never changes what is there; an absolute root that is
//! missing is an error, never made. Safe while a server runs.
//! Not here: `users.toml` (`store::accounts`), locks (`store::lock`).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::{Anonymous, Config, Ftp};
use crate::owner::Owner;
use crate::problem::Problem;

const WELCOME: &str = "\
Welcome to sluicegate.

This tree is served read-only to anybody; /incoming takes uploads:
    curl -T FILE ftp://127.0.0.1:2121/incoming/
The defaults can be changed: sluicegate config default > sluicegate.toml
";

const ALIASES: &str = "\
# Aliases: who gets the mail of a name that is no user, one per line.
#     name: target, target
# A target is a user, an alias, an address, or :include:/path/of/a/list
# The server sees a change within two seconds.
#postmaster: you
";

/// Makes `data_dir` alone: its lock is taken before anything else in it is touched.
pub fn make_data_dir(config: &Config, owner: Option<Owner>) -> Result<(), Problem> {
    make_directory(&config.server.data_dir, owner)
}

/// Makes the root of a user, `ftp_root` below `[ftp] root`, when it is missing.
pub fn make_user_root(config: &Config, ftp_root: &str) -> Result<(), Problem> {
    match &config.ftp {
        Some(ftp) => make_directory(&ftp.root.join(ftp_root), Owner::of(&ftp.root).ok()),
        None => Ok(()),
    }
}

pub(super) fn prepare(config: &Config, owner: Option<Owner>) -> Result<(), Problem> {
    let data_dir = &config.server.data_dir;
    make_data_dir(config, owner)?;
    let owner = owner.or_else(|| Owner::of(data_dir).ok());
    if let Some(parent) = config.log.xferlog.as_deref().and_then(Path::parent)
        && parent.starts_with(data_dir)
    {
        make_directory(parent, owner)?;
    }
    if let Some(ftp) = &config.ftp {
        prepare_ftp(config, ftp, owner)?;
    }
    if let Some(smtp) = &config.smtp {
        prepare_private(data_dir, &smtp.spool, "[smtp] spool", owner)?;
        prepare_private(data_dir, &config.mail.root, "[mail] root", owner)?;
        if config.embedded {
            make_file(&config.mail.aliases, ALIASES, owner)?;
        }
        srs_secret(config, owner)?;
    }
    Ok(())
}

/// A secret that nobody else knows, for its owner's eyes only.
pub(super) fn srs_secret(config: &Config, owner: Option<Owner>) -> Result<(), Problem> {
    const COMMENT: &str =
        "# Secrets of rewritten senders (SRS), one a line: the first is used, all are believed.";
    let path = &config.mail.srs_secret;
    let wanted = config.smtp.is_some() && config.mail.srs_domain.is_some();
    if !wanted || !path.starts_with(&config.server.data_dir) {
        return Ok(());
    }
    let owner = owner.or_else(|| Owner::of(&config.server.data_dir).ok());
    let made = || -> io::Result<()> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            opened => opened?,
        };
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *random).map_err(|error| io::Error::other(error.to_string()))?;
        let text =
            Zeroizing::new(format!("{COMMENT}\n{}\n", STANDARD_NO_PAD.encode(random.as_slice())));
        file.write_all(text.as_bytes())?;
        give(path, owner)?;
        file.sync_all()
    };
    made().map_err(|error| {
        Problem::path(path, error, "make the directory writable, or name another [mail] srs_secret")
    })
}

/// Makes a directory that holds mail, for nobody but its owner.
fn prepare_private(
    data_dir: &Path,
    directory: &Path,
    key: &str,
    owner: Option<Owner>,
) -> Result<(), Problem> {
    if directory.starts_with(data_dir) {
        make_directory_with(directory, 0o700, owner)?;
    }
    usable(directory, key)
}

/// Is a directory.
fn usable(directory: &Path, key: &str) -> Result<(), Problem> {
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Problem::path(
            directory,
            format_args!("{key} is not a directory"),
            "name a directory",
        )),
        Err(error) => {
            let remedy = "make it, or name a path relative to data_dir, which is made for you";
            Err(Problem::path(directory, format_args!("{key}: {error}"), remedy))
        }
    }
}

fn prepare_ftp(config: &Config, ftp: &Ftp, owner: Option<Owner>) -> Result<(), Problem> {
    let root = &ftp.root;
    if root.starts_with(&config.server.data_dir) {
        make_directory(root, owner)?;
    }
    usable(root, "[ftp] root")?;
    if ftp.anonymous == Anonymous::Upload {
        for directory in &ftp.upload_dirs {
            make_directory(&root.join(directory.trim_start_matches('/')), owner)?;
        }
    }
    if config.embedded {
        make_directory(&root.join("pub"), owner)?;
        make_file(&root.join("pub/welcome.txt"), WELCOME, owner)?;
    }
    Ok(())
}

/// Makes `path` and its missing parents, each with the owner wanted.
fn make_directory(path: &Path, owner: Option<Owner>) -> Result<(), Problem> {
    make_directory_with(path, 0o755, owner)
}

/// The same; `path` itself gets `mode`.
fn make_directory_with(path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), Problem> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
        .collect();
    for directory in missing.into_iter().rev() {
        let mode = if directory == path { mode } else { 0o755 };
        let made = DirBuilder::new().mode(mode).create(directory);
        let made = match made {
            // Somebody else made it meanwhile: as good.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {
                Ok(())
            }
            Ok(()) => give(directory, owner),
            Err(error) => Err(error),
        };
        made.map_err(|error| {
            Problem::path(
                directory,
                format_args!("cannot make the directory: {error}"),
                "make it yourself, or give another data_dir (--data DIR)",
            )
        })?;
    }
    Ok(())
}

/// Makes a file when there is none.
fn make_file(path: &Path, text: &str, owner: Option<Owner>) -> Result<(), Problem> {
    let made = match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).and_then(|()| give(path, owner)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(|error| Problem::path(path, error, "make the directory writable"))
}

fn give(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| owner.give(path))
}
