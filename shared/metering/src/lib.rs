//! Metering.
#![forbid(unsafe_code)]

pub mod accounts;
mod id;
mod message;
mod pairs;
mod period;
pub mod purse;
mod terms;
mod time;

pub use id::{AccountId, Epoch, Holder, Level, Unit};
pub use message::{Answer, Ask, Close, Closed, Over, OverDebt, OverLine, Used};
pub use period::{FiscalMonth, Length, NoMonth, UnknownLength};
pub use terms::{NoPerMille, OnOutage, Override, PerMille, Terms};
pub use time::{Mono, Utc};
