//! ftp::step – what the dialogue asks of its driver, and what the driver answers.
//!
//! The vocabulary between [`super::Session`] and the code that owns sockets and files. Every value
//! owns its data: nothing here borrows from the input.
//!
//! Promises: at most one question is pending; a path here cannot leave the root.
//! Not here: reply codes (`reply.rs`), the dialogue itself (`session.rs`).

use std::net::{IpAddr, SocketAddr};

use super::path::VirtualPath;

/// What the driver must do before it calls [`super::Session::advance`] again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Flush the outbox, then wait for whatever comes first: input (only while
    /// `Session::wants_input`), the end of the running transfer, the deadline of `Session::timer`.
    /// This is the only place where output is flushed.
    ///
    /// Input may be left over, because deferred lines fill their bound (`wants_input` is false until
    /// the transfer ends) or because the outbox is full (`wants_input` stays true). The driver keeps
    /// it, and once `wants_input` is true again it calls `advance` with it before it waits for more.
    Receive,
    /// Ask the accounts or the tree, then [`super::Session::resume`].
    Ask(Ask),
    /// Bind a passive port (dropping an earlier one), then `resume` with
    /// [`Answer::Listening`] or [`Answer::Refused`].
    Listen(Family),
    /// Drop the passive listener, if any. Nothing to resume.
    Unlisten,
    /// Run this transfer; report with [`super::Session::transfer`].
    Transfer(Transfer),
    /// Stop the running transfer, undo what is half done, then report
    /// [`News::Aborted`] (or, when it ended in the meantime, how it ended).
    Abort,
    /// Make sure that nothing more was received in clear, flush the outbox (234 is its last reply),
    /// be the server of a TLS handshake on the control connection, then
    /// [`super::Session::secured`]. Where any of that fails the connection is dropped.
    Secure,
    /// Flush the outbox, end TLS on the control connection in both directions and go on in clear.
    /// Where that fails the connection is dropped. Nothing to resume.
    Unsecure,
    /// Flush and close.
    Close,
}

/// Address family of a data connection; the number is RFC 2428's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet = 1,
    /// IPv6.
    Inet6 = 2,
}

/// One question to the accounts or the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Check a login. Answer: [`Answer::LoggedIn`] or [`Fault::Denied`]/[`Fault::Busy`].
    /// The driver delays the answer to a wrong password.
    Login {
        /// As sent with USER.
        user: Vec<u8>,
        /// As sent with PASS; never shown by `Debug`.
        password: Secret,
    },
    /// Is this a directory that may be entered? Answer: `Done`.
    Enter(VirtualPath),
    /// Octets a transfer in this representation would send. Answer: `Size`.
    Size(VirtualPath, Representation),
    /// Modification time. Answer: `Modified`.
    Modified(VirtualPath),
    /// Set the modification time (MFMT, SITE UTIME). Answer: `Done`.
    SetModified(VirtualPath, UnixTime),
    /// MKD. Answer: `Done`.
    MakeDirectory(VirtualPath),
    /// RMD. Answer: `Done`.
    RemoveDirectory(VirtualPath),
    /// DELE. Answer: `Done`.
    Delete(VirtualPath),
    /// RNFR: does it exist and may it be renamed? Answer: `Done`.
    RenameFrom(VirtualPath),
    /// RNTO; an existing file is replaced. Answer: `Done`.
    Rename {
        /// Existing object.
        from: VirtualPath,
        /// New name.
        to: VirtualPath,
    },
    /// MLST. Answer: `Facts`.
    Facts(VirtualPath),
    /// STAT with a path: a listing over the control connection. Answer: `Lines`.
    Lines(VirtualPath, ListOptions),
    /// SITE CHMOD. Answer: `Done`.
    SetMode(VirtualPath, u32),
    /// SITE SYMLINK. Answer: `Done`.
    Symlink {
        /// What the link says, as the client wrote it.
        target: Vec<u8>,
        /// The link to make.
        link: VirtualPath,
    },
    /// ALLO: would a file of that many octets fit? Answer: `Done`, or `Refused(NoSpace | TooLarge)`.
    Allocate(u64),
}

/// What came of a [`Next::Ask`] or [`Next::Listen`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done, or it is so.
    Done,
    /// To [`Ask::Login`].
    LoggedIn(Account),
    /// To [`Ask::Size`]: exact octets.
    Size(u64),
    /// To [`Ask::Modified`].
    Modified(UnixTime),
    /// To [`Ask::Facts`].
    Facts(Box<Entry>),
    /// To [`Ask::Lines`]: lines ended by CRLF, formatted with [`super::listing`].
    Lines(Vec<u8>),
    /// To [`Next::Listen`]: the address to announce for PASV and the port.
    Listening(SocketAddr),
    /// It was not done, and why.
    Refused(Fault),
}

/// Why the tree, the accounts or the network did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No such file or directory.
    Missing,
    /// Not permitted to this account.
    Denied,
    /// A directory where a file is needed.
    IsDirectory,
    /// A file where a directory is needed.
    NotDirectory,
    /// The name is taken.
    Exists,
    /// RMD of a directory with entries.
    NotEmpty,
    /// The name cannot be used (too long, reserved for temporaries, invalid on this file system).
    BadName,
    /// The restart offset lies past the end of the file.
    BadOffset,
    /// In use, try again later.
    Busy,
    /// The disk is full.
    NoSpace,
    /// Larger than this server or account allows.
    TooLarge,
    /// Not a regular file (device, socket, FIFO).
    NotRegular,
    /// Links are not followed here, or too many of them.
    Link,
    /// The file changed under the transfer (shrank).
    Changed,
    /// No port, descriptor or buffer free at the moment.
    Exhausted,
    /// Input/output error of this machine.
    Local,
    /// This server or file system cannot do it at all.
    Unsupported,
}

/// What a logged-in client is and may.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub struct Account {
    /// Name for logs.
    pub name: Vec<u8>,
    /// `anonymous` or `ftp`: no password, its uploads are confined.
    pub anonymous: bool,
    /// May use STOR, STOU, APPE, DELE, MKD, RMD, RNFR, SITE CHMOD… at all. Where, the tree decides.
    pub writes: bool,
    /// May use PORT/EPRT to another host than its own (RFC 2577 §3).
    pub fxp: bool,
    /// Number by which the driver finds root and limits again.
    pub id: u32,
}

/// One transfer over a data connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What is moved.
    pub job: Job,
    /// How octets are represented on the wire.
    pub representation: Representation,
    /// Where the data connection comes from.
    pub channel: Channel,
    /// PROT P: the data connection is TLS, and this side the TLS server (RFC 4217 §7).
    pub private: bool,
}

/// What a transfer moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// RETR from an offset. The offset counts octets of the representation (RFC 3659 §5.3).
    Retrieve {
        /// File to send.
        path: VirtualPath,
        /// Where to begin.
        offset_bytes: u64,
    },
    /// STOR: replaces the file in one step; with an offset, writes in place.
    Store {
        /// File to make or replace.
        path: VirtualPath,
        /// Zero, or where to write in place.
        offset_bytes: u64,
    },
    /// STOU in this directory, name made by the driver: a stem if the client gave one.
    StoreUnique {
        /// Directory to store into.
        directory: VirtualPath,
        /// What the name should begin with.
        stem: Option<Vec<u8>>,
    },
    /// APPE.
    Append {
        /// File to extend or make.
        path: VirtualPath,
    },
    /// LIST, NLST, MLSD.
    List {
        /// Directory, file, or with `pattern` the directory to match in.
        path: VirtualPath,
        /// How lines look.
        form: ListForm,
        /// Flags of `ls`.
        options: ListOptions,
    },
}

/// Form of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListForm {
    /// `ls -l` lines.
    Long,
    /// Names, one a line.
    Names,
    /// RFC 3659 facts.
    Machine(Facts),
}

/// Flags given with LIST, NLST or STAT in the manner of `ls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `-a`: names that begin with a dot too.
    pub all: bool,
    /// `-R`: directories below, to the configured depth.
    pub recursive: bool,
    /// Wildcard in the last component: `*`, `?`, `[…]`; never braces.
    pub pattern: Option<Vec<u8>>,
    /// What to put before the names found in the directory, so that a client can use them as they
    /// stand (NLST `dir` gives `dir/name`): empty, or ends with `/`. When the path turns out to be a
    /// file, [`ListOptions::file_prefix`] stands before its name instead.
    pub prefix: Vec<u8>,
}

impl ListOptions {
    /// What stands before the name of a single file that was listed by its path: what the client
    /// wrote up to the last `/` before that name.
    pub fn file_prefix(&self) -> &[u8] {
        let written = self.prefix.strip_suffix(b"/").unwrap_or(&self.prefix);
        &written[..memchr::memrchr(b'/', written).map_or(0, |at| at + 1)]
    }
}

/// Where the data connection of a transfer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Accept on the listener made for [`Next::Listen`], from this peer only (`None`: any, FXP).
    Passive(Option<IpAddr>),
    /// Connect to this address.
    Active(SocketAddr),
}

/// News of the running transfer, for [`super::Session::transfer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Not begun: the file is not to be had. The channel is still unused.
    Refused(Fault),
    /// Not begun: no data connection came about. The channel is used up.
    NoConnection,
    /// The data connection is open and the transfer begins.
    Opened {
        /// Name made for STOU.
        name: Option<Vec<u8>>,
        /// Octets to come, where known (RETR of TYPE I).
        size_bytes: Option<u64>,
    },
    /// Complete; the data connection is closed and what was stored is in place.
    Done {
        /// Octets on the wire.
        bytes: u64,
    },
    /// Broken off by this side: disk, file, limit. The data connection is closed.
    Failed(Fault),
    /// The data connection broke or stalled, and is closed; with TLS also one that ended without
    /// its close_notify.
    Broken,
    /// No TLS came about on the data connection, which is closed.
    NotSecured,
    /// TLS came about, but nothing shows that it is the client of the control connection who
    /// speaks; the data connection is closed.
    NotResumed,
    /// Stopped because of [`Next::Abort`]; the data connection is closed.
    Aborted,
}

/// TYPE, STRU and (later) MODE of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Representation {
    /// TYPE.
    pub kind: Kind,
    /// STRU.
    pub structure: Structure,
}

/// TYPE (RFC 959 §3.1.1). A T is treated as A N (RFC 1123 §4.1.2.2), L 8 as I.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A N.
    #[default]
    Ascii,
    /// E N, in this code page.
    Ebcdic,
    /// I and L 8.
    Image,
}

/// STRU (RFC 959 §3.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Structure {
    /// F.
    #[default]
    File,
    /// R.
    Record,
}

/// Seconds since 1970-01-01 00:00:00 UTC; negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub i64);

/// One object of the tree as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named")]
pub struct Entry {
    /// Unqualified name as stored, any bytes but NUL and `/`.
    pub name: Vec<u8>,
    /// What it is (for a link that leads somewhere: what it leads to).
    pub kind: EntryKind,
    /// Octets.
    pub size_bytes: u64,
    /// Last modification.
    pub modified: UnixTime,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// Hard links.
    pub links: u64,
    /// Device and inode: the same object has the same pair.
    pub unique: (u64, u64),
    /// For a symbolic link what it says (shown by LIST only).
    pub link_target: Option<Vec<u8>>,
    /// May this account change it (w, d, f in `perm`)?
    pub writable: bool,
    /// May this account read or enter it (r, or e and l)?
    pub readable: bool,
    /// May this account store files in it (c of a directory)?
    pub creatable: bool,
    /// May this account make directories and remove names in it (m, p of a directory)?
    pub managed: bool,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Directory below.
    Directory,
    /// The listed directory itself (MLSD `cdir`).
    Current,
    /// Its parent (MLSD `pdir`).
    Parent,
    /// A link that leads nowhere, or is not followed.
    Link,
    /// Device, FIFO, socket.
    Other,
}

/// The facts a client selected with OPTS MLST, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts(pub u16);

impl Facts {
    /// `type`.
    pub const TYPE: Self = Self(1);
    /// `size`.
    pub const SIZE: Self = Self(1 << 1);
    /// `modify`.
    pub const MODIFY: Self = Self(1 << 2);
    /// `perm`.
    pub const PERM: Self = Self(1 << 3);
    /// `unique`.
    pub const UNIQUE: Self = Self(1 << 4);
    /// `UNIX.mode`.
    pub const UNIX_MODE: Self = Self(1 << 5);
    /// All of them.
    pub const ALL: Self = Self((1 << 6) - 1);

    /// Is every fact of `other` in this set?
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self::ALL
    }
}

/// A password. Compares, clones, but never shows itself; overwritten when dropped by its owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_listed_under_the_name_the_client_wrote() {
        for (prefix, before) in
            [("", ""), ("f/", ""), ("a/f/", "a/"), ("/f/", "/"), ("../a b/f/", "../a b/")]
        {
            let options =
                ListOptions { prefix: prefix.as_bytes().to_vec(), ..ListOptions::default() };
            assert_eq!(options.file_prefix(), before.as_bytes(), "{prefix}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret(b"hunter2".to_vec())), "Secret(…)");
    }
}
