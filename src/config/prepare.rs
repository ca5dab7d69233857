//! config::prepare – the directories a configuration names, made before anything is served.
//!
//! Promises: makes only what is missing and never changes what is there; an absolute root that is
//! missing is an error, never made. Safe while a server runs.
//! Not here: `users.toml` (`store::accounts`), locks (`store::lock`).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

use super::{Anonymous, Config, Ftp};
use crate::problem::Problem;

/// User and group that own what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

impl Owner {
    /// A user of /etc/passwd. (Users of other directories are found by the server when it starts.)
    pub fn of_user(name: &str) -> Option<Self> {
        let text = fs::read_to_string("/etc/passwd").ok()?;
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let known = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            known.then_some(Self { uid, gid })
        })
    }
}

const WELCOME: &str = "\
Welcome to sluicegate.

This tree is served read-only to anybody; /incoming takes uploads:
    curl -T file ftp://127.0.0.1:2121/incoming/
The defaults can be changed: sluicegate config default > sluicegate.toml
";

/// Makes `data_dir` alone: its lock is taken before anything else in it is touched.
pub fn make_data_dir(config: &Config, owner: Option<Owner>) -> Result<(), Problem> {
    make_directory(&config.server.data_dir, owner)
}

/// Makes the root of a user, `ftp_root` below `[ftp] root`, when it is missing.
pub fn make_user_root(config: &Config, ftp_root: &str) -> Result<(), Problem> {
    match &config.ftp {
        Some(ftp) => make_directory(&ftp.root.join(ftp_root), owner_of(&ftp.root)),
        None => Ok(()),
    }
}

pub(super) fn prepare(config: &Config, owner: Option<Owner>) -> Result<(), Problem> {
    let data_dir = &config.server.data_dir;
    make_data_dir(config, owner)?;
    let owner = owner.or_else(|| owner_of(data_dir));
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
        make_welcome(&root.join("pub/WELCOME.txt"), owner).map_err(|error| {
            Problem::path(&root.join("pub/WELCOME.txt"), error, "make the directory writable")
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

/// Hands `path` to `owner` when it is not theirs already (only root can).
fn give(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    match owner {
        Some(owner) if owner_of(path) != Some(owner) => {
            chown(path, Some(owner.uid), Some(owner.gid))
        }
        _ => Ok(()),
    }
}

fn owner_of(path: &Path) -> Option<Owner> {
    fs::metadata(path).ok().map(|metadata| Owner { uid: metadata.uid(), gid: metadata.gid() })
}

/// What a person who just started the embedded default may try, given where FTP listens.
pub fn first_steps(config: &Config, ftp: SocketAddr) -> String {
    let users = format!(
        "sluicegate user add alice --ftp write --data {}",
        config.server.data_dir.display()
    );
    format!(
        "try:\n  \
         curl ftp://{ftp}/pub/WELCOME.txt\n  \
         curl -T README.md ftp://{ftp}/incoming/\n  \
         curl ftp://{ftp}/incoming/\n\
         then: {users}\n\
         settings: sluicegate config default > sluicegate.toml; sluicegate serve --config sluicegate.toml\n"
    )
}
