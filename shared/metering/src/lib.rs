//! The heart of metering: budgets, rates and calls at once that hold over every data plane, without asking anybody on the way of a call.
//!
//! No IO, no clock, no async: moments are handed in, and what is to be written or sent is handed out. Both planes are built from this
//! crate, and it knows neither of them.
//!
//! # Budgets
//!
//! An [account](AccountId) is one budget of one resource. The control plane keeps [`accounts::Accounts`]; every data plane has a
//! [`purse::Purse`]. Units move like money in escrow:
//!
//! ```text
//!            Ask (want, need, what I spent)                    reserve      settle
//!  Accounts ───────────────────────────────▶ Purse: lease ──▶ chunk ──▶ call ──▶ spent
//!     │     ◀───────────────────────────────          │          │         │
//!  journal    Answer (granted in all)              ledger     ledger       └──▶ back into the chunk
//! ```
//!
//! 1. A data plane **asks**. The control plane *decides*: events. They are in its journal, on disk, before they are *applied* and
//!    answered. What is granted is debited from that moment on.
//! 2. The **answer** carries the total ever granted to this [holder](Holder) in this [epoch](Epoch), not a difference; the ask carries
//!    totals of what was spent, lost and returned. All totals only grow, so a message that is lost, repeated or overtaken cannot change
//!    what the next one does not put right. An ask says how much its holder would like to *have*, not how much more it wants: asked
//!    twice, it is granted once.
//! 3. A purse opens a lease in **chunks**. *“At most so much was spent”* is in its ledger, on disk, before a unit of the chunk can be
//!    taken. One sync for a chunk, none for a call.
//! 4. A call **reserves** its maximum on all its accounts, or on none, and **settles** its cost.
//! 5. What a plane does not need **returns**: it gives units up first, and says so in its next ask. A plane that is idle returns all.
//!
//! ## Why nothing is overshot
//!
//! For one account and epoch let `G` be the sum of what was granted to all holders, `R` of what they returned. Every unit is granted
//! before it is taken, and given up before it is counted as returned, and what was given up is not taken. So what calls took is at most
//! `G − R` *as the control plane's disk knows them*, whatever was lost, repeated or crashed. And the control plane grants only while
//! `granted − returned + debt − credit ≤ limit`. That is all; sizes of leases, timers and demand play no part in it.
//!
//! ## Where every unit is
//!
//! For each account and period, after every event: `granted = spent + held + returned + written off`
//! ([`accounts::Accounts::check`]). A line of a holder holds `granted` and, of these, `spent`, `lost` and `returned`; the rest is open:
//! *held* if the holder is taken to be alive, *written off* if not. `lost` is written off too.
//!
//! ## When something dies
//!
//! - **A data plane, for a while** (partition): it spends what it has. The control plane may write it off ([`accounts::Command::WriteOff`]):
//!   visible, and no more than a word, because the units were debited already. When it is heard of again, they are held again.
//! - **A data plane, for good until it restarts**: its ledger gives, for each account and epoch, what it had certainly spent and the
//!   *ceiling* of its last chunk ([`purse::recover`]). It begins a new [life](Holder) and first tells what the old one can have spent
//!   ([`Over`]): up to `spent` is spent, from there to the ceiling is lost, and all else comes back, even leases that never reached it.
//! - **The control plane**: what was not on disk was not answered. It folds its journal and goes on. Should its clock be behind then,
//!   time stands still for each account until it is past the last event.
//!
//! ## Periods
//!
//! Only the control plane knows the calendar. An answer says for how long units may be spent; the plane counts that from when it
//! *sent the ask*, on its monotonic clock, so that units end with it no later than with the control plane. Ended units are returned; a
//! call that is under way settles in the epoch from which it was reserved ([`Close`]). Time alone returns nothing.
//!
//! A rolling period has a single epoch. Spending counts from when it is *reported*, rounded up to a 64th of the period, for one period;
//! what is held counts in full. Since it happened before it was reported, and counted as held until then, no span of one period has
//! ever more than the limit.
//!
//! # Rates, and calls at once
//!
//! [`Shares`] lends parts of a limit to planes for a term of a few seconds; [`Limiter`] and [`Gate`] keep to them. The sum of what
//! planes may be using never exceeds the limit: a part goes to another plane only when its holder has said that it let go of it, or when
//! its term is over. A share is no money, so nothing of it is written down. [`Repeats`] breaks loops, and is each plane's own.
//!
//! # What the caller must do
//!
//! - Control plane: `decide`, then write and sync the events, then send what [`accounts::Accounts::answer`] said right after they were
//!   applied. Events of one command stand together in the journal. A message counts only if its holder is the plane that the connection
//!   was authenticated as.
//! - Data plane: [`purse::Work::records`] to the ledger and sync, then [`purse::Opening::commit`]. `asks` and `closes` may be sent at
//!   once. Call [`purse::Purse::beat`] regularly, and [`purse::Purse::urgent`] when a reservation runs low or finds nothing.
//! - A plane that cannot read its ledger whole must come as another plane.
#![forbid(unsafe_code)]

pub mod accounts;
mod gate;
mod id;
mod message;
mod pairs;
mod period;
pub mod purse;
mod rate;
mod repeats;
mod shares;
mod terms;
mod time;

pub use gate::{Crowded, Gate, Pass};
pub use id::{AccountId, Epoch, Holder, Level, Unit};
pub use message::{Answer, Ask, Close, Closed, Over, OverDebt, OverLine, Used};
pub use period::{FiscalMonth, Length, NoMonth, UnknownLength};
pub use rate::{Limited, Limiter, Rate};
pub use repeats::{CallMark, Looping, Repeats};
pub use shares::{Assignment, ShareAsk, Shares};
pub use terms::{NoPerMille, OnOutage, Override, PerMille, Terms};
pub use time::{Mono, Utc};
