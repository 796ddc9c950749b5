//! `usage`: how budgets stand, and what people correct of it.

use clap::{Args, Subcommand, ValueEnum};

use super::AskArgs;

/// Budgets, or a correction of one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct UsageArgs {
    #[command(subcommand)]
    pub(crate) command: Option<UsageCommand>,
    #[command(flatten)]
    pub(crate) list: UsageListArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsageCommand {
    /// Forgive what was used of a budget in the present period.
    Reset(UsageResetArgs),
    /// Give credit for the present period of a budget, or take it away.
    Adjust(UsageAdjustArgs),
    /// Count the recorded calls of the connected data planes, whether a budget applied to them or not.
    Count(UsageCountArgs),
}

/// What a budget stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelArg {
    Customer,
    Team,
    Key,
    Server,
    Tool,
}

impl LevelArg {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Team => "team",
            Self::Key => "key",
            Self::Server => "server",
            Self::Tool => "tool",
        }
    }
}

/// Which of the budgets of one owner.
#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// Only budgets in this unit.
    #[arg(long, value_parser = ["calls", "micro-usd"], value_name = "UNIT")]
    pub(crate) unit: Option<String>,
    /// Only budgets of this period.
    #[arg(long, value_parser = ["1m", "1h", "1d", "1w", "1mo", "3mo", "1y"], value_name = "PERIOD")]
    pub(crate) period: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UsageListArgs {
    /// Only budgets of this level.
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) by: Option<LevelArg>,
    /// Only budgets of this owner; a tool is named SERVER/TOOL.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// The ended periods as well that are kept.
    #[arg(long)]
    pub(crate) past: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UsageResetArgs {
    /// What the budget stands on.
    #[arg(value_enum)]
    pub(crate) level: LevelArg,
    /// Its owner; a tool is named SERVER/TOOL.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UsageAdjustArgs {
    /// What the budget stands on.
    #[arg(value_enum)]
    pub(crate) level: LevelArg,
    /// Its owner; a tool is named SERVER/TOOL.
    pub(crate) name: String,
    /// Units of credit; negative takes away.
    #[arg(allow_negative_numbers = true)]
    pub(crate) credit: i64,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UsageCountArgs {
    /// What calls are counted by.
    #[arg(long, value_parser = ["customer", "team", "key", "principal", "server", "tool"], value_name = "LEVEL")]
    pub(crate) by: String,
    /// Since how long ago, such as 24h.
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    pub(crate) since: portcullis_policy::resource::HumanDuration,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}
