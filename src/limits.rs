//! limits – every bound of the server as a constant with its unit; what can be configured is in `config`.

/// Longest FTP command line, CRLF included, octets.
pub const FTP_LINE_BYTES_MAX: usize = 4096;
/// Lines kept back while a transfer runs, octets (RFC 959 §5.4: commands are answered in order).
pub const FTP_DEFERRED_BYTES_MAX: usize = 16 * 1024;
/// Replies waiting for one flush before input waits, octets.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// Longest virtual path, octets (PATH_MAX less the terminator).
pub const PATH_BYTES_MAX: usize = 4095;
/// Longest name of one directory entry, octets (NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;
