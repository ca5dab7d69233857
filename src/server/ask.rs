//! server::ask – answers the questions of the dialogue from the tree.
//!
//! Not here: logins (`login.rs`), what a question means, replies.

use std::rc::Rc;

use super::entry;
use super::lister::{Bounds, Lister, Request};
use super::shared::{Context, View};
use super::size;
use crate::ftp::path::VirtualPath;
use crate::ftp::step::{Answer, Ask, Fault, ListForm, ListOptions, UnixTime};
use crate::store::files::{Tree, Trouble};

/// Lines of a listing over the control connection.
const LINES_MAX: usize = 1000;

/// Who asks, and on what ground.
pub(super) struct Asked {
    pub(super) context: Rc<Context>,
    pub(super) view: Rc<View>,
    pub(super) tree: Rc<Tree>,
    pub(super) umask: u32,
}

/// The answer to any question but a login.
pub(super) async fn answer(asked: Asked, ask: Ask) -> Answer {
    asked.look(ask).await.unwrap_or_else(Answer::Refused)
}

impl Asked {
    async fn look(&self, ask: Ask) -> Result<Answer, Fault> {
        let tree = &self.tree;
        Ok(match ask {
            Ask::Enter(path) => done(tree.enter(path.relative()).await)?,
            Ask::Size(path, representation) => {
                let Self { context, view, .. } = self;
                Answer::Size(
                    size::size(context, view, tree, path.relative(), representation).await?,
                )
            }
            Ask::Modified(path) => {
                let stat = tree.stat_file(path.relative()).await?;
                Answer::Modified(UnixTime(stat.modified.0))
            }
            Ask::RenameFrom(path) => done(tree.may_rename(path.relative()).await)?,
            Ask::Facts(path) => {
                let relative = path.relative();
                let stat = tree.stat(relative).await?;
                Answer::Facts(Box::new(entry::of_stat(tree, relative, &stat)))
            }
            Ask::Lines(path, options) => Answer::Lines(self.lines(path, options).await?),
            Ask::Allocate(bytes) => self.allocate(bytes).await?,
            // Logins are answered before there is a tree.
            Ask::Login { .. } => return Err(Fault::Denied),
            Ask::SetModified(..)
            | Ask::MakeDirectory(_)
            | Ask::RemoveDirectory(_)
            | Ask::Delete(_)
            | Ask::Rename { .. }
            | Ask::SetMode(..)
            | Ask::Symlink { .. } => self.change(ask).await?,
        })
    }

    /// Questions that change the tree.
    async fn change(&self, ask: Ask) -> Result<Answer, Fault> {
        let tree = &self.tree;
        let (path, changed) = match ask {
            Ask::SetModified(path, UnixTime(seconds)) => {
                let changed = tree.set_modified(path.relative(), seconds).await;
                (path, changed)
            }
            Ask::MakeDirectory(path) => {
                let changed = tree.make_dir(path.relative(), self.umask).await;
                (path, changed)
            }
            Ask::RemoveDirectory(path) => {
                let changed = tree.remove_dir(path.relative()).await;
                (path, changed)
            }
            Ask::Delete(path) => {
                let changed = tree.remove(path.relative()).await;
                (path, changed)
            }
            Ask::Rename { from, to } => {
                let changed = tree
                    .rename(from.relative(), to.relative(), self.view.ftp.durable_uploads)
                    .await;
                self.context.listings.changed(from.relative());
                (to, changed)
            }
            Ask::SetMode(path, mode) => {
                let changed = tree.set_mode(path.relative(), mode).await;
                (path, changed)
            }
            Ask::Symlink { target, link } => {
                let changed = tree.symlink(&target, link.relative()).await;
                (link, changed)
            }
            Ask::Login { .. }
            | Ask::Enter(_)
            | Ask::Size(..)
            | Ask::Modified(_)
            | Ask::RenameFrom(_)
            | Ask::Facts(_)
            | Ask::Lines(..)
            | Ask::Allocate(_) => return Err(Fault::Unsupported),
        };
        self.context.listings.changed(path.relative());
        done(changed)
    }

    async fn lines(&self, path: VirtualPath, options: ListOptions) -> Result<Vec<u8>, Fault> {
        let request = Request { path, form: ListForm::Long, options };
        let bounds =
            Bounds { entries: self.view.ftp.listing_entries, depth: self.view.ftp.listing_depth };
        let mut lister = Lister::open(Rc::clone(&self.tree), &request, bounds).await?;
        let mut lines = Vec::new();
        while lister.more(&mut lines).await? {
            if memchr::memchr_iter(b'\n', &lines).nth(LINES_MAX).is_some() {
                break;
            }
        }
        if let Some(end) = memchr::memchr_iter(b'\n', &lines).nth(LINES_MAX - 1) {
            lines.truncate(end + 1);
        }
        Ok(lines)
    }

    async fn allocate(&self, bytes: u64) -> Result<Answer, Fault> {
        let most = self.view.ftp.max_upload_bytes;
        if most != 0 && bytes > most {
            return Err(Fault::TooLarge);
        }
        if bytes > self.tree.free_bytes().await? {
            return Err(Fault::NoSpace);
        }
        Ok(Answer::Done)
    }
}

fn done(result: Result<(), Trouble>) -> Result<Answer, Fault> {
    match result {
        Ok(()) => Ok(Answer::Done),
        Err(trouble) => Err(trouble.into()),
    }
}
