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
    /// Tables below it, of which there may be any number.
    pub tables: &'static [Table],
}

/// `[[section.table]]`: as often as wanted, so that its keys have no defaults.
pub(super) struct Table {
    /// Its name within the section.
    pub name: &'static str,
    /// What it means; lines of the commented default.
    pub comment: &'static [&'static str],
    /// Names of its keys, each with an example.
    pub keys: &'static [(&'static str, &'static str)],
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
[smtp]
[mail]
unknown_local_part = "accept"
"#;

pub(super) const SECTIONS: [Section; 7] = [
    section("server", &["What concerns every protocol."], SERVER),
    section("log", &["The log goes to standard error."], LOG),
    section("ftp", &["FTP. Without this section FTP is off."], FTP),
    Section {
        name: "smtp",
        comment: &["Mail comes in by SMTP. Without this section SMTP is off."],
        keys: SMTP,
        tables: &[ROUTE, MILTER],
    },
    section("mail", &["Mailboxes, and who has one."], MAIL),
    section(
        "relay",
        &["Mail that goes on to other servers, where an [[smtp.route]] says so."],
        RELAY,
    ),
    Section {
        name: "tls",
        comment: &[
            "Certificates. Where both files are missing and the paths are these, self-signed ones are made.",
        ],
        keys: TLS,
        tables: &[SNI],
    },
];

const fn section(
    name: &'static str,
    comment: &'static [&'static str],
    keys: &'static [Key],
) -> Section {
    Section { name, comment, keys, tables: &[] }
}

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
    key(
        "admin_socket",
        r#""admin.sock""#,
        &[
            "Unix socket of `sluicegate status` and `sluicegate queue`, for its owner only; \"\" = off.",
        ],
    ),
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
        "listen_tls",
        "[]",
        &["The same with TLS from the first octet (implicit FTPS), like [\"0.0.0.0:990\"]."],
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
        "tls",
        r#""optional""#,
        &["AUTH TLS: \"off\", \"optional\", or \"required\" (no login in clear)."],
    ),
    key(
        "data_tls",
        r#""resume-or-same-ip""#,
        &[
            "Of a session in TLS, whose data connections are taken: \"require\" (those that resume its TLS",
            "session), \"resume-or-same-ip\" (those, or from its address), \"same-ip\", \"off\" (any).",
        ],
    ),
    key(
        "close_notify_required",
        "true",
        &[
            "Must the client of an upload in TLS say the end (close_notify), or is it cut off (426)? Without that,",
            "whoever can end a connection on the way can shorten a file.",
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

const SMTP: &[Key] = &[
    key(
        "listen",
        r#"["127.0.0.1:2525"]"#,
        &[
            "Addresses mail is taken on. Every IPv4 and IPv6 address: [\"0.0.0.0:25\", \"[::]:25\"].",
        ],
    ),
    key(
        "listen_tls",
        "[]",
        &["The same with TLS from the first octet (RFC 8314), like [\"0.0.0.0:465\"]."],
    ),
    key(
        "listen_submission",
        "[]",
        &[
            "Submission by users, with STARTTLS (RFC 6409), like [\"0.0.0.0:587\"]; AUTH is required.",
        ],
    ),
    key(
        "listen_lmtp",
        "[]",
        &[
            "Mail by LMTP (RFC 2033) from servers of your own: an address, but not port 25, or a Unix socket,",
            "like [\"127.0.0.1:24\", \"unix:lmtp.sock\"].",
        ],
    ),
    key(
        "proxy_from",
        "[]",
        &[
            "Proxies that put a header of the PROXY protocol (1 or 2) before each connection, like",
            "[\"192.0.2.7\"]: it must come, and the address it names is the client's. No others are asked.",
        ],
    ),
    key(
        "xclient_from",
        "[]",
        &[
            "Peers that may say by XCLIENT for whom they speak: they can be anybody, of any address.",
        ],
    ),
    key("xforward_from", "[]", &["Peers whose XFORWARD goes to the log."]),
    key(
        "tls",
        r#""optional""#,
        &["STARTTLS: \"off\", \"optional\", or \"required\" (no mail in clear)."],
    ),
    key(
        "domains",
        r#"["localhost"]"#,
        &["Domains whose mail is taken; an address in brackets, like \"[192.0.2.1]\", is one too."],
    ),
    key("max_message_bytes", "52428800", &["Largest message in bytes."]),
    key("max_recipients", "1000", &["Recipients of one message; RFC 5321 asks for 100 at least."]),
    key(
        "bare_newlines",
        r#""reject""#,
        &[
            "CR and LF that do not stand together: \"reject\" the message, or \"normalize\" them to CRLF.",
            "Neither ever ends a message.",
        ],
    ),
    key(
        "relay_from",
        "[]",
        &[
            "Networks that may send to other domains, like [\"192.0.2.0/24\", \"2001:db8::/32\"]. None wider",
            "than /8 (IPv4) or /16 (IPv6): that would be an open relay.",
        ],
    ),
    key(
        "resolvers",
        "[]",
        &[
            "Resolvers that are asked for MX and addresses, like [\"127.0.0.1\", \"[2001:db8::53]:5353\"], in this",
            "order; [] = those of /etc/resolv.conf. What they say is believed: let them be near.",
        ],
    ),
    key(
        "resolver_seconds",
        "5",
        &["A resolver has this long for an answer; then the next is asked."],
    ),
    key("banner", r#""""#, &["Text of the greeting after the host name."]),
    key(
        "spool",
        r#""spool""#,
        &[
            "Where accepted mail is kept until it is delivered; wants a disk that survives a power cut.",
        ],
    ),
    key(
        "spool_segment_bytes",
        "33554432",
        &[
            "Bytes of one file of the spool's log, a multiple of 4096; written with zeros beforehand.",
        ],
    ),
    key(
        "spool_memory_bytes",
        "67108864",
        &[
            "Bytes of messages in memory, all shards together; beyond it messages go to files of their own",
            "while they come in, so that senders wait for the disk only.",
        ],
    ),
    key(
        "spool_reserve_bytes",
        "268435456",
        &["With less space than this on the spool's disk, MAIL is answered 452: come again later."],
    ),
    key(
        "strict_syntax",
        "false",
        &["Refuse what RFC 5321 forbids but many send: MAIL FROM: <a@b> and MAIL FROM:a@b."],
    ),
    key("drop_early_talkers", "true", &["Drop clients that speak before they were greeted."]),
    key("vrfy", "false", &["Tell who exists (VRFY)? Otherwise the answer is always 252."]),
    key("expn", "false", &["Tell who is on a list (EXPN)?"]),
    key("max_hops", "100", &["A message that has so many Received lines goes in circles: 554."]),
    key("max_errors", "20", &["Errors before a session is closed with 421."]),
    key(
        "max_login_failures",
        "5",
        &["Failed logins before a session is closed with 421; at least 3."],
    ),
    key(
        "authenticated_senders",
        r#""own""#,
        &[
            "Addresses that a user may send from: \"own\" (name, addresses, extensions of them) or \"any\".",
        ],
    ),
    key("max_messages", "0", &["Messages of one session; 0 = no limit."]),
    key("idle_seconds", "300", &["A session may stay silent this long."]),
    key("message_seconds", "3600", &["One message may take this long."]),
    key(
        "min_rate_bytes",
        "100",
        &["Bytes per second a message must keep up, measured over each 300 s; 0 = off."],
    ),
];

const ROUTE: Table = Table {
    name: "route",
    comment: &[
        "Where mail goes, the first that matches; without any, mail for our domains goes to \"local\".",
        "recipient: \"*\", \"*@example.org\", \"user@example.org\" or \"user@*\". A domain that is named here is",
        "taken from anybody, unless sender or authenticated is asked for; \"*\" is for those who may relay.",
        "sender: envelope senders in the same way, \"\" for bounces; authenticated: true (users), false (others).",
        "to: \"local\" (a mailbox), \"discard\" (accepted, kept safe, thrown away), \"mx\" (whom the DNS names),",
        "\"relay:HOST:PORT\" (SMTP), \"lmtp:HOST:PORT\" or \"lmtp:unix:/PATH\". With the last four:",
        "tls: \"none\", \"may\" (where offered, any certificate) or \"must\" (with the right one);",
        "username, password_file: who we are there, with tls = \"must\" only; source_address: our own;",
        "max_connections, max_messages_per_connection, max_messages_per_minute: to one destination;",
        "recipients: a file of those who exist there, one address a line; others are refused at once (550).",
    ],
    keys: &[
        ("recipient", r#""*@example.org""#),
        ("sender", r#""*@example.org""#),
        ("authenticated", "true"),
        ("to", r#""discard""#),
        ("tls", r#""may""#),
        ("username", r#""edge""#),
        ("password_file", r#""relay.password""#),
        ("source_address", r#""192.0.2.1""#),
        ("max_connections", "20"),
        ("max_messages_per_connection", "100"),
        ("max_messages_per_minute", "0"),
        ("recipients", r#""recipients""#),
    ],
};

const MILTER: Table = Table {
    name: "milter",
    comment: &[
        "Programs that judge mail while it comes in (Sendmail's protocol: rspamd, OpenDKIM), one after the other.",
        "address: \"HOST:PORT\" or \"unix:PATH\"; authenticated: true (mail of users only), false (of others);",
        "on_failure: \"tempfail\" (451) or \"accept\" (without it) when it cannot be asked or breaks the rules;",
        "timeout_seconds: for each answer (30); message_seconds: it may hold the reply to a message so long (300).",
    ],
    keys: &[
        ("address", r#""127.0.0.1:11332""#),
        ("on_failure", r#""tempfail""#),
        ("authenticated", "false"),
        ("timeout_seconds", "30"),
        ("message_seconds", "300"),
    ],
};

const RELAY: &[Key] = &[
    key(
        "retry_first_seconds",
        "300",
        &["What another server does not take now is tried again after this time, …"],
    ),
    key(
        "retry_seconds",
        "1800",
        &["… then after this, then after twice as long, … (RFC 5321 asks for 30 minutes at least)"],
    ),
    key(
        "retry_seconds_max",
        "14400",
        &["… but never later than this and a quarter more by chance."],
    ),
    key(
        "give_up_seconds",
        "432000",
        &["After this time a delivery is given up, and the sender is told."],
    ),
    key(
        "delay_notice_seconds",
        "14400",
        &["A sender is told once that a message waits, after this time; 0 = never."],
    ),
    key("max_connections", "500", &["Connections to other servers in total."]),
    key(
        "max_connections_per_destination",
        "20",
        &["Connections to one destination, one per shard at the least; routes may say otherwise."],
    ),
    key(
        "max_messages_per_connection",
        "100",
        &["Messages of one connection; 0 = no limit; routes may say otherwise."],
    ),
    key("idle_seconds", "2", &["A connection is kept this long for another message."]),
];

const MAIL: &[Key] = &[
    key("root", r#""mail""#, &["Mailboxes, a Maildir++ for each user: mail/USER/{new,cur,tmp}."]),
    key(
        "unknown_local_part",
        r#""reject""#,
        &["Neither user nor alias: \"reject\" (550), or \"accept\" (the mailbox is made)."],
    ),
    key(
        "aliases",
        r#""aliases""#,
        &[
            "File of lines `name: target, target` (aliases(5); no pipes, no files). It may be missing.",
        ],
    ),
    key(
        "catch_all",
        r#""""#,
        &[
            "User or address that gets the mail of unknown local parts; \"\" = unknown_local_part says.",
        ],
    ),
    key(
        "extension_separator",
        r#""+""#,
        &["What begins an address extension, as in user+tag@example.org; \"\" = none."],
    ),
    key(
        "srs_domain",
        r#""""#,
        &[
            "A domain whose MX is this server, like \"srs.example.org\": mail of others that an alias sends on to another",
            "server leaves under a sender there (SRS), and bounces to it go back to the sender. \"\" = senders stay.",
        ],
    ),
    key(
        "srs_secret",
        r#""srs.secret""#,
        &[
            "File of secrets for that, one a line: the first is used, all are believed. Made when it is missing and",
            "below data_dir. Who knows one can send mail through this server to anybody.",
        ],
    ),
    key(
        "verp_lists",
        "[]",
        &[
            "Lists with an owner- that write to each member under a sender of its own (VERP), like [\"staff\"], or",
            "[\"*\"]: a bounce to owner-staff+ann=example.org@… is for owner-staff, and says that it is about ann.",
        ],
    ),
    key(
        "mailbox_bytes_max",
        "0",
        &["Bytes of one mailbox; mail waits when it is full. 0 = no limit."],
    ),
    key(
        "retry_seconds",
        "60",
        &["A delivery that failed is tried again after this time, then after twice as long, …"],
    ),
    key("retry_seconds_max", "3600", &["… but never later than this."]),
    key(
        "give_up_seconds",
        "432000",
        &["After this time a delivery is given up, and the sender is told."],
    ),
    key(
        "postmaster_copies",
        "[]",
        &["What postmaster hears of too, headers only: \"bounce\", \"delay\"."],
    ),
    key(
        "max_reports_per_hour",
        "1000",
        &[
            "Reports to senders elsewhere about mail from strangers: their addresses may be forged. What is more is",
            "logged and not sent; 0 = no limit. Users and relay_from get all.",
        ],
    ),
    key("max_reports_per_hour_per_address", "20", &["The same, to one address; 0 = no limit."]),
];

const TLS: &[Key] = &[
    key(
        "certificate",
        r#""tls/cert.pem""#,
        &[
            "PEM: the server's certificate, then those of its issuers. Read again on SIGHUP and when changed.",
        ],
    ),
    key(
        "private_key",
        r#""tls/key.pem""#,
        &["PEM: its key, not encrypted. Nobody but the server should be able to read it."],
    ),
];

const SNI: Table = Table {
    name: "sni",
    comment: &[
        "More certificates, for clients that ask for a name of theirs (a star covers one label); also a",
        "second one of another kind (RSA beside ECDSA) for the same names.",
    ],
    keys: &[
        ("certificate", r#""tls/example.org.pem""#),
        ("private_key", r#""tls/example.org.key""#),
    ],
};

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
        for table in section.tables {
            comment(&mut text, table.comment);
            comment(&mut text, &[&format!("[[{}.{}]]", section.name, table.name)]);
            for (name, example) in table.keys {
                comment(&mut text, &[&format!("{name} = {example}")]);
            }
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push_str(&format!("# {line}\n"));
    }
}
