//! config::prepare – the directories a configuration names, made before anything is served.
//!
//! Promises: makes only what is missing and never changes what is there; an absolute root that is
//! missing is an error, never made. Safe while a server runs.
//! Not here: `users.toml` (`store::accounts`), locks (`store::lock`).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{Anonymous, Config, Ftp};
use crate::owner::Owner;
use crate::problem::Problem;

const WELCOME: &str = "\
Welcome to sluicegate.

This tree is served read-only to anybody; /incoming takes uploads:
    curl -T FILE ftp://127.0.0.1:2121/incoming/
The defaults can be changed: sluicegate config default > sluicegate.toml
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
    match &config.ftp {
        Some(ftp) => prepare_ftp(config, ftp, owner),
        None => Ok(()),
    }
}

fn prepare_ftp(config: &Config, ftp: &Ftp, owner: Option<Owner>) -> Result<(), Problem> {
    let root = &ftp.root;
    if root.starts_with(&config.server.data_dir) {
        make_directory(root, owner)?;
    }
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(Problem::path(root, "[ftp] root is not a directory", "name a directory"));
        }
        Err(error) => {
            let remedy = "make it, or name a path relative to data_dir, which is made for you";
            return Err(Problem::path(root, format_args!("[ftp] root: {error}"), remedy));
        }
    }
    if ftp.anonymous == Anonymous::Upload {
        for directory in &ftp.upload_dirs {
            make_directory(&root.join(directory.trim_start_matches('/')), owner)?;
        }
    }
    if config.embedded {
        make_directory(&root.join("pub"), owner)?;
        make_welcome(&root.join("pub/welcome.txt"), owner).map_err(|error| {
            Problem::path(&root.join("pub/welcome.txt"), error, "make the directory writable")
        })?;
    }
    Ok(())
}

/// Makes `path` and its missing parents, each with the owner wanted.
fn make_directory(path: &Path, owner: Option<Owner>) -> Result<(), Problem> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
        .collect();
    for directory in missing.into_iter().rev() {
        let made = DirBuilder::new().mode(0o755).create(directory);
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

fn make_welcome(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(mut file) => {
            file.write_all(WELCOME.as_bytes())?;
            give(path, owner)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn give(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| owner.give(path))
}
