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

/// Puts the old values back where a new one takes effect only at the next start; names those keys.
pub(super) fn keep_what_needs_restart(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let (was, now) = (&old.server, &mut new.server);
    keep(&was.data_dir, &mut now.data_dir, "[server] data_dir", &mut keys);
    keep(&was.shards, &mut now.shards, "[server] shards", &mut keys);
    keep(&was.cpus, &mut now.cpus, "[server] cpus", &mut keys);
    keep(&was.metrics_listen, &mut now.metrics_listen, "[server] metrics_listen", &mut keys);
    keep(&was.user, &mut now.user, "[server] user", &mut keys);
    keep(&was.admin_socket, &mut now.admin_socket, "[server] admin_socket", &mut keys);
    keep(&old.log.json, &mut new.log.json, "[log] format", &mut keys);
    keep(&old.log.xferlog, &mut new.log.xferlog, "[log] xferlog", &mut keys);
    match (&old.ftp, &mut new.ftp) {
        (Some(was), Some(now)) => {
            keep(&was.listen, &mut now.listen, "[ftp] listen", &mut keys);
            keep(&was.listen_tls, &mut now.listen_tls, "[ftp] listen_tls", &mut keys);
            keep(&was.root, &mut now.root, "[ftp] root", &mut keys);
            keep(&was.symlinks, &mut now.symlinks, "[ftp] symlinks", &mut keys);
        }
        (was, now) => keep(was, now, "[ftp]", &mut keys),
    }
    match (&old.smtp, &mut new.smtp) {
        (Some(was), Some(now)) => {
            keep(&was.listen, &mut now.listen, "[smtp] listen", &mut keys);
            keep(&was.listen_tls, &mut now.listen_tls, "[smtp] listen_tls", &mut keys);
            let submission = &mut now.listen_submission;
            keep(&was.listen_submission, submission, "[smtp] listen_submission", &mut keys);
            keep(&was.listen_lmtp, &mut now.listen_lmtp, "[smtp] listen_lmtp", &mut keys);
            keep(&was.spool, &mut now.spool, "[smtp] spool", &mut keys);
            let (bytes, memory) = (&mut now.spool_segment_bytes, &mut now.spool_memory_bytes);
            keep(&was.spool_segment_bytes, bytes, "[smtp] spool_segment_bytes", &mut keys);
            keep(&was.spool_memory_bytes, memory, "[smtp] spool_memory_bytes", &mut keys);
            let reserve = &mut now.spool_reserve_bytes;
            keep(&was.spool_reserve_bytes, reserve, "[smtp] spool_reserve_bytes", &mut keys);
            keep(&old.mail.root, &mut new.mail.root, "[mail] root", &mut keys);
        }
        (was, now) => keep(was, now, "[smtp]", &mut keys),
    }
    keys
}

fn keep<T: PartialEq + Clone>(
    old: &T,
    new: &mut T,
    key: &'static str,
    keys: &mut Vec<&'static str>,
) {
    if old != new {
        new.clone_from(old);
        keys.push(key);
    }
}
