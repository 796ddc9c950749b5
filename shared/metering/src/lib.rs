//! Metering.
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
