//! config::keys – every key with its default and what it means: the one list of both.
//!
//! Promises: `default_text` parses to the defaults, because absent keys are read from it.
//! Not here: what values are allowed (`read`).

/// One key of one section.
pub(super) struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default as TOML.
    pub default: &'static str,
    /// What it means; lines of the commented default.
    pub comment: &'static [&'static str],
}

/// One section and its keys, in the order they are printed.
pub(super) struct Section {
    /// Its name.
    pub name: &'static str,
    /// Lines above it in the commented default.
    pub comment: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, default: &'static str, comment: &'static [&'static str]) -> Key {
    Key { name, default, comment }
}

/// Differences of the default that needs no file.
pub(super) const EMBEDDED: &str = r#"
[ftp]
anonymous = "upload"
upload_dirs = ["/incoming"]
anonymous_overwrite = true
uploads_readable = true
"#;

pub(super) const SECTIONS: [Section; 3] = [
    Section { name: "server", comment: &["What concerns every protocol."], keys: SERVER },
    Section { name: "log", comment: &["The log goes to standard error."], keys: LOG },
    Section { name: "ftp", comment: &["FTP. Without this section FTP is off."], keys: FTP },
];

const SERVER: &[Key] = &[
    key(
        "hostname",
        r#""""#,
        &["The name the server greets with, like \"edge.example.org\"; \"\" = the machine's name."],
    ),
    key(
        "data_dir",
        r#""sluicegate-data""#,
        &[
            "Users and every relative path below live here. A relative data_dir begins at the",
            "working directory; a service wants an absolute one, like \"/var/lib/sluicegate\".",
        ],
    ),
    key(
        "shards",
        r#""auto""#,
        &["Threads that serve, one per core: \"auto\" or a number from 1 to 1024."],
    ),
    key("cpus", "[]", &["CPUs to pin them to, like [0, 1]; [] = chosen by the server."]),
    key(
        "metrics_listen",
        r#""127.0.0.1:9180""#,
        &["Prometheus metrics at http://…/metrics; \"\" = off."],
    ),
    key(
        "max_connections",
        "100000",
        &["Sessions in total; clamped, with one warning, to what the descriptor limit allows."],
    ),
    key("max_connections_per_ip", "0", &["Sessions of one address; 0 = no limit."]),
    key("drain_seconds", "30", &["After SIGTERM, running transfers may take this long."]),
    key("user", r#""""#, &["Become this user after binding (when started as root); \"\" = stay."]),
];

const LOG: &[Key] = &[
    key("level", r#""info""#, &["\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"."]),
    key("format", r#""text""#, &["\"text\" or \"json\"."]),
    key(
        "xferlog",
        r#""""#,
        &["Transfer log in wu-ftpd's format, a path; \"\" = off. SIGUSR1 reopens it."],
    ),
];

const FTP: &[Key] = &[
    key(
        "listen",
        r#"["127.0.0.1:2121"]"#,
        &[
            "Addresses of the control connection. Every IPv4 and IPv6 address: [\"0.0.0.0:21\", \"[::]:21\"].",
        ],
    ),
    key(
        "root",
        r#""ftp""#,
        &["The tree that is served. A relative one is made, an absolute one must exist."],
    ),
    key(
        "anonymous",
        r#""read""#,
        &["Anonymous users: \"off\", \"read\", or \"upload\" (read, and store into upload_dirs)."],
    ),
    key(
        "upload_dirs",
        r#"["/incoming"]"#,
        &["Where \"upload\" may store; paths below the root. Missing ones are made."],
    ),
    key("anonymous_overwrite", "false", &["May an anonymous upload replace a file?"]),
    key(
        "uploads_readable",
        "false",
        &[
            "May anonymous users fetch what anonymous users stored? (Beware of strangers trading files.)",
        ],
    ),
    key(
        "symlinks",
        r#""in-root""#,
        &[
            "Symbolic links: \"in-root\" (followed, absolute ones begin at the root), \"beneath\" (followed",
            "when relative and inside), \"deny\". None ever leads out of the root.",
        ],
    ),
    key("banner", r#""""#, &["Greeting; \"\" = the host name. \"\\n\" begins a new line."]),
    key(
        "passive_ports",
        r#""40000-49999""#,
        &["Data ports of PASV and EPSV; a firewall must let them in."],
    ),
    key(
        "passive_address",
        r#""""#,
        &[
            "IPv4 address that PASV announces instead of the local one (behind NAT); \"\" = the local one.",
        ],
    ),
    key(
        "fxp",
        "false",
        &[
            "May data connections go to other hosts than the client's? (Server-to-server transfers.)",
        ],
    ),
    key("durable_uploads", "true", &["Is an upload on stable storage before 226 is said?"]),
    key("idle_seconds", "300", &["A session may stay silent this long."]),
    key("login_seconds", "60", &["A client has this long to log in."]),
    key("stall_seconds", "60", &["A transfer may stand still this long."]),
    key("max_login_failures", "5", &["Failed logins before the session is closed with 421."]),
    key("accept_seconds", "30", &["A data connection must come, or be made, within this time."]),
    key(
        "min_rate_bytes",
        "0",
        &["Bytes per second a transfer must keep up, measured over stall_seconds; 0 = off."],
    ),
    key("max_upload_bytes", "0", &["Largest upload in bytes; 0 = no limit."]),
    key(
        "listing_depth",
        "5",
        &["Depth of a recursive listing (LIST -R); a deeper tree ends in 451."],
    ),
    key("listing_entries", "100000", &["Entries of one listing; a longer one ends in 451."]),
    key("ebcdic", r#""cp1047""#, &["Code page of TYPE E: \"cp1047\" or \"cp037\"."]),
];

/// The commented default, as `config default` prints it.
pub fn default_text() -> String {
    let mut text = String::from(
        "# sluicegate configuration (TOML). Every key is shown with its default: what you leave out\n\
         # stays as it is here. A name that is not here is an error. `sluicegate check` tells more.\n",
    );
    for section in &SECTIONS {
        text.push('\n');
        comment(&mut text, section.comment);
        text.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            comment(&mut text, key.comment);
            text.push_str(&format!("{} = {}\n", key.name, key.default));
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push_str(&format!("# {line}\n"));
    }
}
