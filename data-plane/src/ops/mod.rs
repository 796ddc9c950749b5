//! See the house brief.
