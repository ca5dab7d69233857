//! limits – every bound of the server as a constant with its unit; what can be configured is in `config`.

/// Longest FTP command line, CRLF included, octets.
pub const FTP_LINE_BYTES_MAX: usize = 4096;
/// Lines kept back while a transfer runs, octets (RFC 959 §5.4: commands are answered in order).
pub const FTP_DEFERRED_BYTES_MAX: usize = 16 * 1024;
/// Replies waiting for one flush before input waits, octets.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// Longest SMTP command line, CRLF included, octets: 512 of RFC 5321 §4.5.3.1.4 and what extensions add
/// to MAIL and RCPT (RFC 3461 §5.4 alone asks for 1036).
pub const SMTP_LINE_BYTES_MAX: usize = 2048;
/// Longest line of an AUTH exchange, CRLF included, octets (RFC 4954 §4). The AUTH command itself is a command.
pub const SMTP_AUTH_LINE_BYTES_MAX: usize = 12_288;
/// SMTP replies waiting for one flush before input waits, octets.
pub const SMTP_OUTBOX_BYTES_MAX: usize = 16 * 1024;
/// Longest line of an SMTP reply, CRLF included, octets (RFC 5321 §4.5.3.1.5).
pub const SMTP_REPLY_LINE_BYTES_MAX: usize = 512;
/// Longest virtual path, octets (PATH_MAX less the terminator).
pub const PATH_BYTES_MAX: usize = 4095;
/// Longest name of one directory entry, octets (NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;

/// Longest header of the PROXY protocol, octets: addresses, and extensions with what a proxy knows of TLS.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;
/// Time such a header may take, seconds. Its sender has it ready when it connects (§2: 3 s at the least).
pub const PROXY_HEADER_SECONDS_MAX: u64 = 10;
/// Longest path of a Unix socket, octets (`sockaddr_un`, less the terminator).
pub const UNIX_PATH_BYTES_MAX: usize = 107;

// ---------------------------------------------------------------- TLS

/// Octets a client may send until its handshake is done: a ClientHello with post-quantum shares and a
/// large ticket has 4 KiB.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 32 * 1024;
/// Time a handshake may take, seconds.
pub const TLS_HANDSHAKE_SECONDS_MAX: u64 = 30;
/// Longest file of certificates, and longest file with a private key, octets.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most certificates of one chain.
pub const CERTIFICATE_CHAIN_MAX: usize = 16;
/// Most `[[tls.sni]]` tables.
pub const SNI_MAX: usize = 10_000;

// ---------------------------------------------------------------- files of the operator

/// Longest configuration file, octets.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Longest `users.toml`, octets (some 200 000 users).
pub const USERS_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest name of a user, octets.
pub const USER_NAME_BYTES_MAX: usize = 64;
/// Longest password, octets. Longer ones are refused after the same work.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Most memory one imported Argon2 hash may ask for, KiB.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes one imported Argon2 hash may ask for.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Most lanes one imported Argon2 hash may ask for.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Most rounds one imported SHA-512-crypt hash may ask for.
pub const SHA512_ROUNDS_MAX: u32 = 1_000_000;
/// Longest `[ftp] banner`, octets.
pub const BANNER_BYTES_MAX: usize = 4096;
/// Longest `[smtp] banner`, octets: with a host name and the code it fits a reply line of 512.
pub const SMTP_BANNER_BYTES_MAX: usize = 200;
/// Most `[[smtp.route]]` tables.
pub const ROUTES_MAX: usize = 10_000;
/// Most listening addresses of one protocol.
pub const LISTEN_MAX: usize = 64;

// ---------------------------------------------------------------- logs and metrics

/// Lines waiting for the thread that writes one log; more are dropped and counted.
pub const LOG_LINES_QUEUED_MAX: usize = 8192;
/// Longest line of any log, octets; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest request of the metrics endpoint, octets.
pub const METRICS_REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Requests the metrics endpoint answers at once; more are turned away.
pub const METRICS_CONNECTIONS_MAX: usize = 4;
/// Time one request of the metrics endpoint may take, seconds.
pub const METRICS_REQUEST_SECONDS_MAX: u64 = 5;

// ---------------------------------------------------------------- admin socket

/// Longest request of the admin socket, octets.
pub const ADMIN_REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Longest answer a client of the admin socket takes, octets.
pub const ADMIN_RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time one request of the admin socket may take on the wire, seconds.
pub const ADMIN_REQUEST_SECONDS_MAX: u64 = 5;
/// Messages in one answer about the queue; more come in pages.
pub const QUEUE_PAGE_ENTRIES_MAX: usize = 4000;
/// Destinations in an answer about the queue.
pub const QUEUE_DESTINATIONS_MAX: usize = 100_000;
/// Recipients shown in one line of the queue.
pub const QUEUE_RECIPIENTS_SHOWN_MAX: usize = 10;

const _: () = assert!(CONFIG_BYTES_MAX <= USERS_FILE_BYTES_MAX);
const _: () = assert!(BANNER_BYTES_MAX < OUTBOX_BYTES_MAX);

// ---------------------------------------------------------------- deliveries of mail

/// Targets of messages that one shard delivers at a time.
pub const DELIVERIES_MAX: usize = 8;
/// File operations of one shard that the kernel works on at a time where it cannot end them at once. On a
/// disk that hangs each delivery holds one, the spool's writer, its keeper and a message being carried
/// along one each: what is left opens files for FTP sessions on other disks.
pub const FILE_OPERATIONS_MAX: u32 = 16;

// 3 of the spool, and as many as there were for FTP alone at the least.
const _: () = assert!(DELIVERIES_MAX + 3 + 4 <= FILE_OPERATIONS_MAX as usize);

// ---------------------------------------------------------------- routing of mail

/// Longest aliases file and longest included list, octets.
pub const ALIASES_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest table of the recipients of another server, octets.
pub const RECIPIENTS_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Members of all aliases together, included lists counted each time they are named.
pub const ALIAS_MEMBERS_TOTAL_MAX: usize = 1_000_000;
/// Lists that all aliases together include, counted each time they are named, and their octets.
pub const ALIAS_LISTS_MAX: usize = 10_000;
/// Octets of those lists.
pub const ALIAS_LISTS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Members that one address may lead to, those of aliases in aliases included.
pub const ALIAS_MEMBERS_MAX: usize = 10_000;
/// Aliases in aliases, and included lists in included lists.
pub const ALIAS_DEPTH_MAX: usize = 32;
/// A larger message goes back to its sender with its header only, octets.
pub const DSN_ORIGINAL_BYTES_MAX: u64 = 50 * 1024;
/// Octets of a header that are looked through for `Delivered-To`.
pub const LOOP_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Addresses whose reports one shard counts in an hour.
pub const REPORT_ADDRESSES_MAX: usize = 20_000;
/// Octets of the file of secrets for rewritten senders.
pub const SRS_SECRETS_BYTES_MAX: u64 = 64 * 1024;

// ---------------------------------------------------------------- mail on its way to other servers

/// Addresses of one destination that are tried in one attempt (RFC 5321 §5.1: two at the least).
pub const RELAY_ADDRESSES_MAX: usize = 8;
/// Time one attempt to connect may take, seconds.
pub const RELAY_CONNECT_SECONDS_MAX: u64 = 30;
/// Octets of a message that are sent at a time; a connection has two such blocks at the most.
pub const RELAY_BLOCK_BYTES: usize = 64 * 1024;

// ---------------------------------------------------------------- mail that goes on

/// Longest reply of a server that mail goes on to, octets: one that is longer will not end.
pub const SMTP_CLIENT_REPLY_BYTES_MAX: usize = 64 * 1024;
/// Octets kept of one of its lines, and of the text of a reply: a challenge of AUTH may have as many
/// (RFC 4954 §4); the rest is dropped.
pub const SMTP_CLIENT_REPLY_KEPT_BYTES_MAX: usize = SMTP_AUTH_LINE_BYTES_MAX;
/// Octets of commands under way that are not answered yet: they fit the smallest receive buffer, so that a
/// server that reads nothing before its replies are taken cannot stand still with us (RFC 2920 §3.1).
pub const SMTP_CLIENT_WINDOW_BYTES_MAX: usize = 8 * 1024;
/// Recipients of one transaction, if the server does not say less.
pub const SMTP_CLIENT_RECIPIENTS_MAX: usize = 1000;
/// SASL mechanisms that are remembered of a server's.
pub const SMTP_CLIENT_MECHANISMS_MAX: usize = 16;
/// Longest AUTH command, CRLF included, octets (RFC 5321 §4.5.3.1.4, RFC 4954 §4): a longer initial response
/// waits until it is asked for.
pub const SMTP_CLIENT_AUTH_COMMAND_BYTES_MAX: usize = 512;
/// Time the greeting may take, seconds (RFC 5321 §4.5.3.2.1).
pub const SMTP_CLIENT_GREETING_SECONDS_MAX: u32 = 300;
/// Time the reply to MAIL may take, seconds (§4.5.3.2.2); those to EHLO, STARTTLS, AUTH, RSET too.
pub const SMTP_CLIENT_MAIL_SECONDS_MAX: u32 = 300;
/// Time the reply to RCPT may take, seconds (§4.5.3.2.3).
pub const SMTP_CLIENT_RCPT_SECONDS_MAX: u32 = 300;
/// Time the reply to DATA may take, seconds (§4.5.3.2.4).
pub const SMTP_CLIENT_DATA_SECONDS_MAX: u32 = 120;
/// Time a portion of the message may take to be sent, seconds (§4.5.3.2.5).
pub const SMTP_CLIENT_BLOCK_SECONDS_MAX: u32 = 180;
/// Time the reply to the end of the message may take, seconds (§4.5.3.2.6).
pub const SMTP_CLIENT_END_SECONDS_MAX: u32 = 600;
/// Time the reply to QUIT may take, seconds: everything is settled already.
pub const SMTP_CLIENT_QUIT_SECONDS_MAX: u32 = 10;

const _: () = assert!(SMTP_CLIENT_REPLY_KEPT_BYTES_MAX < SMTP_CLIENT_REPLY_BYTES_MAX);

// ---------------------------------------------------------------- milters

/// Most `[[smtp.milter]]` tables.
pub const MILTERS_MAX: usize = 16;
/// Time all milters together may hold the reply to a message, seconds: clients wait for 600 (RFC 5321
/// §4.5.3.2.6).
pub const MILTER_MESSAGE_SECONDS_MAX: u64 = 540;
/// Longest packet of a milter, octets, its length not included (libmilter's largest, `MILTER_MDS_1M`).
pub const MILTER_PACKET_BYTES_MAX: usize = 1024 * 1024 + 1;
/// Octets of a body that go in one packet (`MILTER_CHUNK_SIZE`).
pub const MILTER_BODY_BYTES_MAX: usize = 65_535;
/// Changes that one milter makes to one message, the new body not counted.
pub const MILTER_EDITS_MAX: usize = 1000;
/// Octets of those.
pub const MILTER_EDITS_BYTES_MAX: usize = 1024 * 1024;
/// Lines of a milter's own reply; the rest is cut off.
pub const MILTER_REPLY_LINES_MAX: usize = 32;
/// Octets of one of them, so that it fits a reply line of 512 with its codes; the rest is cut off.
pub const MILTER_REPLY_LINE_BYTES_MAX: usize = 480;
/// Longest header section of a message that milters look at, octets; a message with a longer one is refused.
pub const MILTER_HEADER_BYTES_MAX: usize = 256 * 1024;
/// Octets of header sections that one shard keeps for its milters; beyond that messages get 450.
pub const MILTER_HEADERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Octets of fields put in front of a message that are kept beside it; with more it is written anew.
pub const MILTER_LEAD_BYTES_MAX: usize = 4096;

const _: () =
    assert!(MILTER_REPLY_LINE_BYTES_MAX + "550-5.999.999 \r\n".len() <= SMTP_REPLY_LINE_BYTES_MAX);

// ---------------------------------------------------------------- names

/// Hosts that mail for one domain is brought to; more MX are not looked at, but for whether we are among them.
pub const MX_HOSTS_MAX: usize = 16;
/// Addresses of one host that are tried.
pub const HOST_ADDRESSES_MAX: usize = 8;
/// Answers that one shard keeps.
pub const DNS_CACHE_ENTRIES_MAX: usize = 16_384;
/// What they may weigh, octets.
pub const DNS_CACHE_BYTES_MAX: usize = 8 << 20;
/// An answer is kept this long at least, seconds: a thousand messages for one domain are one question.
pub const DNS_TTL_SECONDS_MIN: u32 = 10;
/// An answer is kept this long at most, seconds.
pub const DNS_TTL_SECONDS_MAX: u32 = 86_400;
/// That there is nothing is kept this long at most, seconds (RFC 2308 §5: one to three hours work well).
pub const DNS_NEGATIVE_SECONDS_MAX: u32 = 3600;
/// That nobody knows is kept this long, seconds (RFC 9520 §3.2: 1 s at least, 5 minutes at most).
pub const DNS_FAILURE_SECONDS: u32 = 10;
/// Questions under way at a time; of other processes' sockets and descriptors something is left.
pub const DNS_QUESTIONS_MAX: usize = 256;
/// Questions that wait for their turn; more fail at once.
pub const DNS_QUESTIONS_WAITING_MAX: usize = 4096;
/// One question may take this long, seconds, every try at every resolver included.
pub const DNS_QUESTION_SECONDS_MAX: u64 = 30;
/// Finding out where mail goes may take this long, seconds.
pub const RESOLUTION_SECONDS_MAX: u64 = 60;
/// Most `[smtp] resolvers`.
pub const RESOLVERS_MAX: usize = 8;

// A resolution is two rounds of questions.
const _: () = assert!(2 * DNS_QUESTION_SECONDS_MAX <= RESOLUTION_SECONDS_MAX);
const _: () = assert!(DNS_TTL_SECONDS_MIN <= DNS_NEGATIVE_SECONDS_MAX);
