//! store::spool::budget – octets of messages that may be in memory at a time.
//!
//! Promises: never more is charged than allowed; what was charged comes back when its owner is dropped.

use std::cell::Cell;
use std::rc::Rc;

pub(super) struct Budget {
    left: Cell<usize>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(bytes) })
    }
}

/// Octets charged to a budget.
pub(super) struct Charge {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Charge {
    pub(super) fn nothing(budget: &Rc<Budget>) -> Self {
        Self { budget: Rc::clone(budget), bytes: 0 }
    }

    /// Charges up to `bytes` in all, if they are left.
    pub(super) fn raise_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let Some(left) = self.budget.left.get().checked_sub(more) else { return false };
        self.budget.left.set(left);
        self.bytes += more;
        true
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.bytes);
        self.bytes = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.release();
    }
}
