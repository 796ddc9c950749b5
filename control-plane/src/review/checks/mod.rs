//! What is looked for, one family to a file. Each reads the definition and adds what it finds; none knows the others.

pub(super) mod capability;
pub(super) mod encoded;
pub(super) mod hidden;
pub(super) mod markup;
pub(super) mod naming;
pub(super) mod others;
pub(super) mod schema;
pub(super) mod spoken;
pub(super) mod values;
