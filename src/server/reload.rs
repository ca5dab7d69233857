//! server::reload – what a reload may change, and what needs a restart.
//!
//! Promises: every key that sessions do not read anew is named here.
//! Not here: reading the configuration (`config`).

use crate::config::{Config, Symlinks};
use crate::shard::Links;

/// How the shard is told what to do with symbolic links.
pub(super) fn links(symlinks: Symlinks) -> Links {
    match symlinks {
        Symlinks::InRoot => Links::InRoot,
        Symlinks::Beneath => Links::Beneath,
        Symlinks::Deny => Links::Deny,
    }
}

/// Keys that differ and take effect only at the next start.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut note = |differs: bool, key| {
        if differs {
            keys.push(key);
        }
    };
    note(old.server.data_dir != new.server.data_dir, "[server] data_dir");
    note(old.server.shards != new.server.shards, "[server] shards");
    note(old.server.cpus != new.server.cpus, "[server] cpus");
    note(old.server.metrics_listen != new.server.metrics_listen, "[server] metrics_listen");
    note(old.server.user != new.server.user, "[server] user");
    note(old.log.json != new.log.json, "[log] format");
    note(old.log.xferlog != new.log.xferlog, "[log] xferlog");
    match (&old.ftp, &new.ftp) {
        (Some(old), Some(new)) => {
            note(old.listen != new.listen, "[ftp] listen");
            note(old.root != new.root, "[ftp] root");
            note(old.symlinks != new.symlinks, "[ftp] symlinks");
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => keys.push("[ftp]"),
    }
    keys
}
