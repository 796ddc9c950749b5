//! `admin`: who administers.

use clap::{Args, Subcommand};
use portcullis_policy::resource::HumanDuration;

use super::{AskArgs, ServerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Manage the tokens with which people and programs administer.
    #[command(subcommand)]
    Token(AdminTokenCommand),
    /// Say as whom the control plane knows this token, and what it may do.
    Whoami(AskArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminTokenCommand {
    /// Make a token and print it once. It may do no more than who makes it.
    Create(AdminTokenCreateArgs),
    /// List tokens, without their secrets.
    List(AskArgs),
    /// End a token at once.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AdminTokenCreateArgs {
    /// Its name: the author in the history.
    pub(crate) name: String,
    /// What it may do: viewer, operator, approver, auditor, admin, or the name of a Role; several by commas.
    #[arg(long = "role", required = true, value_delimiter = ',', value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// How long it lives, such as 30d; for ever when not given.
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<HumanDuration>,
    /// The person behind it, such as ada@example.com: two tokens of one person are two eyes, not four.
    #[arg(long = "for", default_value = "", hide_default_value = true, value_name = "PERSON")]
    pub(crate) person: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}
