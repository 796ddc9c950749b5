//! The book of one account in one period: a line for each holder, and the totals that must always add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, Holder};
use crate::message::Used;
use crate::time::Utc;

/// Where the granted units of a period are. `granted = spent + held + returned + written_off`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Put into the hands of data planes.
    pub granted: u64,
    /// Paid for calls.
    pub spent: u64,
    /// In the hands of data planes.
    pub held: u64,
    /// Given back.
    pub returned: u64,
    /// Held by a plane that is taken for dead, or open for spending when it crashed.
    pub written_off: u64,
}

impl Totals {
    /// Whether the units add up.
    #[must_use]
    pub fn add_up(&self) -> bool {
        let parts = [self.spent, self.held, self.returned, self.written_off].map(u128::from);
        u128::from(self.granted) == parts.iter().sum()
    }

    pub(super) fn add(&mut self, line: &Line) {
        let open = line.open();
        self.granted = self.granted.saturating_add(line.granted);
        self.spent = self.spent.saturating_add(line.used.spent);
        self.returned = self.returned.saturating_add(line.used.returned);
        self.written_off = self.written_off.saturating_add(line.used.lost);
        let open_as = if line.written_off.is_some() { &mut self.written_off } else { &mut self.held };
        *open_as = open_as.saturating_add(open);
    }

    pub(super) fn take(&mut self, line: &Line) {
        let open = line.open();
        self.granted = self.granted.saturating_sub(line.granted);
        self.spent = self.spent.saturating_sub(line.used.spent);
        self.returned = self.returned.saturating_sub(line.used.returned);
        self.written_off = self.written_off.saturating_sub(line.used.lost);
        let open_as = if line.written_off.is_some() { &mut self.written_off } else { &mut self.held };
        *open_as = open_as.saturating_sub(open);
    }
}

/// What one holder was granted in one epoch, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// All that was granted.
    pub granted: u64,
    /// What is known to have become of it.
    pub used: Used,
    /// The first moment at which none of it may be spent any more.
    pub usable_until: Utc,
    /// The holder is taken for dead; where a rolling window counts what it held.
    pub written_off: Option<Utc>,
}

impl Line {
    /// What nothing is known of: held, or written off.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.granted.saturating_sub(self.used.total())
    }
}

/// One period of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Book {
    /// Which period.
    pub epoch: Epoch,
    /// Its first moment.
    pub start: Utc,
    /// The first moment after it.
    pub end: Utc,
    /// Credit that people gave (or, negative, took).
    pub adjusted: i64,
    /// What passed without a lease.
    pub debt: u64,
    /// When the warning was last given.
    pub warned: Option<Utc>,
    /// All units, those of folded lines too.
    pub totals: Totals,
    #[serde(with = "crate::pairs")]
    pub(super) lines: BTreeMap<Holder, Line>,
    /// The totals of lines that ended and were let go.
    pub(super) folded: Totals,
}

impl Book {
    pub(super) const fn new(epoch: Epoch, start: Utc, end: Utc) -> Self {
        let none = Totals { granted: 0, spent: 0, held: 0, returned: 0, written_off: 0 };
        Self {
            epoch,
            start,
            end,
            adjusted: 0,
            debt: 0,
            warned: None,
            totals: none,
            lines: BTreeMap::new(),
            folded: none,
        }
    }

    /// The line of a holder; an empty one if it has none.
    #[must_use]
    pub fn line(&self, holder: Holder) -> Line {
        self.lines.get(&holder).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, holder: Holder, line: Line) {
        let before = self.lines.insert(holder, line).unwrap_or_default();
        self.totals.take(&before);
        self.totals.add(&line);
    }

    /// Lets go of a line of which nothing is open.
    pub(super) fn fold(&mut self, holder: Holder) {
        if let Some(line) = self.lines.remove(&holder) {
            self.folded.add(&line);
        }
    }

    /// How the book ends if it is closed now: what is still held is written off.
    pub(super) const fn closing(&self) -> Totals {
        let mut totals = self.totals;
        totals.written_off = totals.written_off.saturating_add(totals.held);
        totals.held = 0;
        totals
    }

    /// Whether the totals are those of the lines, and add up.
    pub(super) fn adds_up(&self) -> bool {
        let mut sum = self.folded;
        let mut lines_hold = true;
        for line in self.lines.values() {
            sum.add(line);
            lines_hold &= line.used.total() <= line.granted;
        }
        lines_hold && sum == self.totals && sum.add_up()
    }
}
