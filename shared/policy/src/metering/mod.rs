//! What meters a call: the accounts that it debits, the limits that it meets, and what it costs. Made from a snapshot; the counters
//! themselves live beside it, in `portcullis-metering`, under names that outlast it.
//!
//! - An **account** is named by the uid of its owner, its unit and its period: a changed amount keeps what was used.
//! - A **limit** is named by its owner and what tells it from the owner's others ([`LimitId`]): a changed rate keeps its bucket.
//! - A tool has no uid. It is owned by one that is made from its server's uid and its name, so that a definition that goes and comes
//!   back is the same owner, and one of a server that was deleted and made again is another.

mod call;
mod compile;
mod owner;
mod terms;

pub(crate) use call::Measure;
pub use call::{CallMetering, MetLimit};
pub(crate) use compile::{Metered, cost_of, of_owner, of_server, of_tools};
pub use owner::Owner;
pub use terms::{Amount, BudgetTerms, Cost, LimitId, LimitTerms, Loops};

#[cfg(test)]
mod tests;
