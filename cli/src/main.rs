//! The binary `portcullis`: both planes in one process, either of them alone, and the operator's commands.
//!
//! It reads the command line, starts what was asked for, and turns every failure into sentences on stderr and exit status 1
//! (2 for wrong usage). What the planes do is not known here.
#![forbid(unsafe_code)]

mod args;
mod client;
mod commands;
mod demo;
mod failure;
mod output;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use portcullis_proto::admin::v1 as api;

use crate::args::{AuditCommand, Cli, Command};
use crate::failure::Failure;
use crate::run::settings::Given;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The matches tell a flag from a variable; the parsed form does not.
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = matches.subcommand().map(|(_, matches)| Given::of(matches)).unwrap_or_default();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        output::note("portcullis: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(&format!("portcullis: cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command, &given));
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&failure.to_string());
            failure.exit_code()
        }
    }
}

async fn run(command: Command, given: &Given) -> Result<(), Failure> {
    match command {
        Command::Up(args) => run::up::run(*args, given).await,
        Command::ControlPlane(args) => run::control_plane::run(*args, given).await,
        Command::DataPlane(args) => run::data_plane::run(*args, given).await,
        Command::DemoServer(args) => demo::server::run(args).await,
        Command::Apply(args) => commands::resources::apply(args).await,
        Command::Plan(args) => commands::resources::plan(args).await,
        Command::Get(args) => commands::resources::get(args).await,
        Command::Describe(args) => commands::resources::describe(args).await,
        Command::Delete(args) => commands::resources::delete(args).await,
        Command::History(args) => commands::resources::history(args).await,
        Command::Rollback(args) => commands::resources::rollback(args).await,
        Command::Key(command) => commands::keys::run(command).await,
        Command::Approvals(command) => commands::approvals::run(command).await,
        Command::Approve(args) => commands::approvals::decide(args, true).await,
        Command::Deny(args) => commands::approvals::decide(args, false).await,
        Command::Suspend(args) => commands::servers::go(args, api::ServerMove::Suspend).await,
        Command::Resume(args) => commands::servers::go(args, api::ServerMove::Resume).await,
        Command::Retire(args) => commands::servers::go(args, api::ServerMove::Retire).await,
        Command::Promote(args) => commands::servers::promote(args).await,
        Command::Explain(args) => commands::explain::run(args).await,
        Command::WhoCan(args) => commands::reach::who_can(args).await,
        Command::WhatCan(args) => commands::reach::what_can(args).await,
        Command::Planes(command) => commands::planes::run(command).await,
        Command::Usage(args) => commands::usage::run(*args).await,
        Command::Secret(command) => commands::secrets::run(command).await,
        Command::Snapshot(command) => commands::snapshot::run(command).await,
        Command::Admin(command) => commands::admin::run(command).await,
        Command::Audit(AuditCommand::Query(args)) => commands::audit::query(args),
    }
}
