//! server::queue::asked – a request about messages while it is being answered.
//!
//! Whoever keeps messages shows them one by one, in the order of their names, and may pause between two: a
//! server reads some, shows them, lets others work, and reads on. What is to be changed is handed out as it
//! comes, so that a change of a million messages is never in memory as a whole.
//!
//! Promises: the same messages give the same answer, however many are shown at a time.

use super::{
    Action, Answer, Changed, Detail, Line, Page, Paper, Pick, Places, QUEUE_PAGE_ENTRIES_MAX,
    Request,
};
use crate::mail::stored::Note;
use crate::store::spool::QueueId;

/// A request, and the answer so far.
#[derive(Debug)]
pub struct Asked<'a, P = Page> {
    request: &'a Request,
    now: i64,
    /// Entries of a page.
    most: usize,
    answer: Answer<P>,
    changes: Vec<(QueueId, Vec<Note>)>,
    wanted: Vec<QueueId>,
}

/// Which messages are to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// All behind this one.
    Behind(Option<QueueId>),
    /// These, as far as there are such messages; in order, each once.
    These(Vec<QueueId>),
}

impl<'a, P: Paper> Asked<'a, P> {
    /// `now` is in seconds since 1970; a page is to have `most` entries, one at the least.
    #[must_use]
    pub fn new(request: &'a Request, now: i64, most: usize) -> Self {
        let answer = match request {
            Request::List { .. } => Answer::Page(P::default()),
            Request::Show { .. } => Answer::Detail(None),
            Request::Change { .. } => Answer::Changed(Changed::default()),
            Request::Destinations => Answer::Destinations(Vec::new()),
        };
        let most = most.clamp(1, QUEUE_PAGE_ENTRIES_MAX);
        Self { request, now, most, answer, changes: Vec::new(), wanted: Vec::new() }
    }

    /// Which messages it is about.
    #[must_use]
    pub fn names(&self) -> Names {
        let (pick, after) = match self.request {
            Request::Show { id } => return Names::These(vec![*id]),
            Request::Destinations => return Names::These(Vec::new()),
            Request::Change { pick, .. } if pick.is_empty() && !pick.all => {
                return Names::These(Vec::new());
            }
            Request::Change { pick, .. } => (pick, None),
            Request::List { pick, after } => (pick, *after),
        };
        if pick.ids.is_empty() {
            return Names::Behind(after);
        }
        let mut ids: Vec<QueueId> =
            pick.ids.iter().copied().filter(|id| Some(*id) > after).collect();
        ids.sort();
        ids.dedup();
        Names::These(ids)
    }

    /// Looks at the next of them. False: it has seen enough.
    pub fn look(&mut self, line: Line<'_>, places: &impl Places) -> bool {
        match (self.request, &mut self.answer) {
            (Request::List { pick, .. }, Answer::Page(page)) => {
                if !pick.takes(line, self.now, places) {
                    return true;
                }
                if page.len() == self.most {
                    page.end_at(page.last());
                    return false;
                }
                page.add(line);
                true
            }
            (Request::Show { id }, Answer::Detail(detail)) => {
                if line.id == *id {
                    *detail = Some(Box::new(Detail::of(line)));
                }
                true
            }
            (Request::Change { action, pick }, Answer::Changed(changed)) => {
                if pick.takes(line, self.now, places) {
                    changed.picked += 1;
                    self.change(*action, pick, line, places);
                }
                true
            }
            (_, _) => false,
        }
    }

    fn change(&mut self, action: Action, pick: &Pick, line: Line<'_>, places: &impl Places) {
        if action == Action::Retry && !line.message.held {
            self.wanted.push(line.id);
        }
        let notes = action.notes(pick, line.message, self.now, places);
        let Answer::Changed(changed) = &mut self.answer else { return };
        if notes.is_empty() {
            return;
        }
        changed.changed += 1;
        if changed.ids.len() < QUEUE_PAGE_ENTRIES_MAX {
            changed.ids.push(line.id);
        }
        self.changes.push((line.id, notes));
    }

    /// Is anything to be noted of this message, which was looked at last?
    pub fn changes_it(&self, id: QueueId) -> bool {
        self.changes.last().is_some_and(|(changed, _)| *changed == id)
    }

    /// What is to be noted of messages looked at since this was asked last.
    pub fn changes(&mut self) -> Vec<(QueueId, Vec<Note>)> {
        std::mem::take(&mut self.changes)
    }

    /// Messages that the operator wants tried now, whatever they wait for; as [`Asked::changes`].
    pub fn wanted(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.wanted)
    }

    /// It took long to come to this message: the rest of a list is asked for anew. False where there is no
    /// such thing.
    pub fn pause(&mut self, at: QueueId) -> bool {
        let Answer::Page(page) = &mut self.answer else { return false };
        page.end_at(Some(at));
        true
    }

    /// The answer.
    #[must_use]
    pub fn answer(self) -> Answer<P> {
        self.answer
    }
}
