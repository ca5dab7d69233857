//! store::maildir – mailboxes as directories: Maildir++, `<root>/<name>/{tmp,new,cur}`, mode 0700.
//!
//! ```text
//!  small: one visit to a worker: nameless file ─ write ─ sync ─ link into new/ ─ sync new/
//!  large: create in tmp/ ─ write … ─ sync ─ rename to new/ ─ sync new/
//!  name:  <accepted>.Q<queue id>T<target>.<host>,S=<octets>      (and `:2,flags` once it was read)
//! ```
//! Promises: what is in `new/` is whole, octet by octet as it was received (lines end in CRLF as they
//! did on the wire) behind its two added headers; `Ok` means it survives a power cut; the same target
//! gets the same name whenever it is tried, so that a second try finds what the first one left.
//! A message that its owner deleted before a second try comes again.
//! Not here: when to try again (`server::deliver`), who has a mailbox (`mail`).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::rc::Rc;

use super::spool::{Content, QueueId};
use crate::shard::{self, BLOCK_BYTES, Block, Dir, File, Placement, Root};

mod quota;
mod search;

use quota::Quotas;
use search::{Key, Snapshot};

/// Only the server's user reads mail.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Mailboxes remembered as durably made; one that is forgotten costs two syncs.
const KNOWN_MAX: usize = 65_536;

/// Was this target tried before?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// No.
    Never,
    /// Perhaps, by a process that is gone.
    Earlier,
    /// By this process.
    Here,
}

/// One delivery.
pub struct Letter<'a> {
    /// The mailbox: one safe path component.
    pub mailbox: &'a str,
    /// A folder of it that is used if there is one; one safe path component without its dot.
    pub folder: Option<&'a str>,
    /// The message.
    pub id: QueueId,
    /// Number of the target in the message.
    pub target: u32,
    /// When the message was accepted, seconds since 1970.
    pub accepted: i64,
    /// May it be there already?
    pub tried: Tried,
    /// What stands before the message: `Return-Path` and `Received`, with CRLF.
    pub head: &'a [u8],
    /// The message.
    pub content: &'a Content,
    /// Octets of the mailbox; 0 = no limit.
    pub bytes_max: u64,
}

/// Why a delivery did not happen; all of it may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The mailbox is full.
    Full,
    /// The disk is.
    NoSpace,
    /// The directory may not be written.
    Denied,
    /// The disk fails, or something else does.
    Broken(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            Self::NoSpace
        } else if matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
            Self::Denied
        } else {
            Self::Broken(error.to_string())
        }
    }
}

/// All mailboxes, as one shard sees them. Clones share it.
#[derive(Clone)]
pub struct Maildirs(Rc<Inner>);

struct Inner {
    root: Root,
    host: String,
    /// Mailboxes whose directories were made durable by this process.
    known: RefCell<HashSet<String>>,
    quotas: Quotas,
    /// What was in mailboxes when this process first looked, for messages of earlier processes.
    snapshots: RefCell<HashMap<String, Rc<Snapshot>>>,
}

/// The directories of one mailbox or folder.
struct Folder {
    path: String,
    tmp: Dir,
    new: Dir,
    cur: Dir,
}

impl Maildirs {
    /// Below this root. `hostname` becomes part of names.
    pub fn new(root: Root, hostname: &str) -> Self {
        let safe =
            |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '_' };
        let host: String = hostname.chars().take(64).map(safe).collect();
        Self(Rc::new(Inner {
            root,
            host,
            known: RefCell::default(),
            quotas: Quotas::default(),
            snapshots: RefCell::default(),
        }))
    }

    /// Puts the message into the mailbox, which is made if it is not there.
    ///
    /// # Errors
    /// [`Refusal`]; nothing of it is in `new/` then, unless a sync failed after it got there: the next
    /// try finds it.
    pub async fn deliver(&self, letter: &Letter<'_>) -> Result<(), Refusal> {
        if !is_component(letter.mailbox) || !letter.folder.is_none_or(is_component) {
            return Err(Refusal::Broken("not the name of a mailbox".to_owned()));
        }
        let place = self.open(letter).await?;
        let key = Key { id: letter.id, target: letter.target };
        if self.is_there(&place, key, letter).await? {
            // Whoever put it there may have ended before the name was durable.
            place.new.sync().await?;
            place.cur.sync().await?;
            return Ok(());
        }
        let size = u64::try_from(letter.head.len()).unwrap_or(u64::MAX) + letter.content.len();
        let inner = &*self.0;
        inner.quotas.reserve(&inner.root, letter, size).await?;
        let name = format!("{}.{key}.{},S={size}", letter.accepted, inner.host);
        let written = place.write(&name, letter, size).await;
        if written.is_err() {
            inner.quotas.give_back(letter, size);
        }
        written
    }

    /// Forgets what was in mailboxes at the start: no message of an earlier process is left to deliver.
    pub fn forget(&self) {
        self.0.snapshots.borrow_mut().clear();
    }

    async fn is_there(&self, place: &Folder, key: Key, letter: &Letter<'_>) -> io::Result<bool> {
        let root = &self.0.root;
        match letter.tried {
            Tried::Never => Ok(false),
            Tried::Here => Ok(Snapshot::take(root, place).await?.holds(key)),
            // One look at a mailbox serves all messages of the process before: nobody else adds theirs.
            Tried::Earlier => {
                let known = self.0.snapshots.borrow().get(&place.path).map(Rc::clone);
                if let Some(snapshot) = known {
                    return Ok(snapshot.holds(key));
                }
                let snapshot = Rc::new(Snapshot::take(root, place).await?);
                let held = snapshot.holds(key);
                search::keep(&mut self.0.snapshots.borrow_mut(), &place.path, snapshot);
                Ok(held)
            }
        }
    }

    /// Opens the folder, or the mailbox, which exists afterwards.
    async fn open(&self, letter: &Letter<'_>) -> io::Result<Folder> {
        let root = &self.0.root;
        if let Some(folder) = letter.folder {
            let path = format!("{}/.{folder}", letter.mailbox);
            match Folder::open(root, path).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        let name = letter.mailbox;
        if self.0.known.borrow().contains(name) {
            match Folder::open(root, name.to_owned()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        self.make(name).await?;
        self.know(name);
        Folder::open(root, name.to_owned()).await
    }

    fn know(&self, name: &str) {
        let mut known = self.0.known.borrow_mut();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name.to_owned());
    }

    /// Makes the mailbox, or what is missing of it. What is there may not be durable: another delivery may
    /// have made it a moment ago, so it is synced whoever made it.
    async fn make(&self, name: &str) -> io::Result<()> {
        let top = self.0.root.open_dir(b"").await?;
        make_dir(&top, name.as_bytes()).await?;
        let mailbox = self.0.root.open_dir(name.as_bytes()).await?;
        for part in [&b"tmp"[..], b"cur", b"new"] {
            make_dir(&mailbox, part).await?;
        }
        mailbox.sync().await?;
        top.sync().await
    }
}

async fn make_dir(parent: &Dir, name: &[u8]) -> io::Result<()> {
    match parent.make_dir(name, DIRECTORY_MODE).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// One path component that is no hidden name: a second look, whoever was asked before.
fn is_component(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

impl Folder {
    async fn open(root: &Root, path: String) -> io::Result<Self> {
        let tmp = root.open_dir(format!("{path}/tmp").as_bytes()).await?;
        let new = root.open_dir(format!("{path}/new").as_bytes()).await?;
        let cur = root.open_dir(format!("{path}/cur").as_bytes()).await?;
        Ok(Self { path, tmp, new, cur })
    }

    async fn write(&self, name: &str, letter: &Letter<'_>, size: u64) -> Result<(), Refusal> {
        if letter.tried != Tried::Never {
            // What an earlier try left half done.
            match self.tmp.unlink(name.as_bytes()).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        let small = usize::try_from(size).is_ok_and(|size| size <= BLOCK_BYTES);
        let written =
            if small { self.place(name, letter).await } else { self.stream(name, letter).await };
        match written {
            // Nobody else makes this name: it is ours, from a try that did not hear of its success.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.new.sync().await?;
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// All of it at once.
    async fn place(&self, name: &str, letter: &Letter<'_>) -> io::Result<()> {
        let (block, len) = Filling::new(letter.head, letter.content).next().await?;
        let how = Placement {
            name: name.as_bytes().to_vec(),
            temporary: name.as_bytes().to_vec(),
            mode: FILE_MODE,
            replace: false,
            durable: true,
        };
        let (placed, block) = self.new.place_by_way_of(&self.tmp, block, len, how).await;
        drop(block);
        placed
    }

    /// Block by block.
    async fn stream(&self, name: &str, letter: &Letter<'_>) -> io::Result<()> {
        let file = self.tmp.create(name.as_bytes(), FILE_MODE).await?;
        let named = match fill(&file, letter).await {
            Ok(()) => self.tmp.rename(name.as_bytes(), &self.new, name.as_bytes(), false).await,
            Err(error) => Err(error),
        };
        if let Err(error) = named {
            self.tmp.unlink_detached(name.as_bytes());
            return Err(error);
        }
        self.new.sync().await
    }
}

/// Everything into the file, and on the disk.
async fn fill(file: &File, letter: &Letter<'_>) -> io::Result<()> {
    let mut filling = Filling::new(letter.head, letter.content);
    let mut offset = 0;
    loop {
        let (block, len) = filling.next().await?;
        if len == 0 {
            return file.sync().await;
        }
        let (written, block) = file.write_at(block, len, offset).await;
        drop(block);
        written?;
        offset += u64::try_from(len).unwrap_or(0);
    }
}

/// Fills blocks with the head and then the message.
struct Filling<'a> {
    head: &'a [u8],
    content: &'a Content,
    offset: u64,
}

impl<'a> Filling<'a> {
    fn new(head: &'a [u8], content: &'a Content) -> Self {
        Self { head, content, offset: 0 }
    }

    /// A block and how much of it is filled: all of it, but at the end.
    async fn next(&mut self) -> io::Result<(Block, usize)> {
        let (head, later) = self.head.split_at(self.head.len().min(BLOCK_BYTES));
        self.head = later;
        let room = BLOCK_BYTES - head.len();
        // Read before a block is taken: reading may need one itself, and who holds one must not wait for
        // another.
        let octets = self.content.read(self.offset, room).await?;
        let left = self.content.len().saturating_sub(self.offset);
        if usize::try_from(left).map_or(room, |left| left.min(room)) != octets.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.offset += u64::try_from(octets.len()).unwrap_or(0);
        let mut block = shard::block().await;
        let len = head.len() + octets.len();
        block[..head.len()].copy_from_slice(head);
        block[head.len()..len].copy_from_slice(&octets);
        Ok((block, len))
    }
}
