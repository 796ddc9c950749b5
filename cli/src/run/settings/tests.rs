use std::io::Write as _;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};

use super::*;

#[derive(Debug, clap::Parser)]
struct Probe {
    #[command(flatten)]
    control: ControlArgs,
}

fn settings(text: &str) -> Result<Settings, Failure> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Settings::read(Some(file.path()), &Given::default())
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let mut settings = settings("grpc-listen: 127.0.0.1:1\nhttp-listen: 127.0.0.1:2\n").unwrap();
    let flags = Probe::parse_from(["probe", "--grpc-listen", "127.0.0.1:9"]);
    let control = settings.control(&flags.control);
    assert_eq!(control.grpc_listen.port(), 9);
    assert_eq!(control.http_listen.port(), 2);
    let sources: Vec<_> = settings.shown.iter().map(|(name, _, source)| (*name, *source)).collect();
    assert_eq!(sources, [("grpc-listen", "flag"), ("http-listen", "file"), ("public-url", "default")]);
    let control = Settings::read(None, &Given::default()).unwrap().control(&ControlArgs::default());
    assert_eq!(control.grpc_listen.port(), 7410);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let failure = settings("grpc-lisen: 127.0.0.1:1\n").unwrap_err().to_string();
    assert!(failure.contains("grpc-lisen"), "{failure}");
}

#[test]
fn half_of_a_tls_pair_is_refused() {
    let args = CommonArgs { tls_cert: Some("cert.pem".into()), ..CommonArgs::default() };
    assert!(
        Settings::read(None, &Given::default())
            .unwrap()
            .common(&args)
            .unwrap_err()
            .to_string()
            .contains("--tls-key")
    );
}

#[test]
fn a_flag_is_told_from_a_variable() {
    #[derive(Debug, clap::Parser)]
    struct WithVariable {
        // Every machine that runs these tests has it.
        #[arg(long, env = "PATH")]
        ready_file: Option<String>,
        #[arg(long)]
        log: Option<String>,
    }
    let matches = WithVariable::command().get_matches_from(["probe", "--log", "warn"]);
    let given = Given::of(&matches);
    assert_eq!((given.source("ready-file"), given.source("log")), ("variable", "flag"));
    let probe = WithVariable::from_arg_matches(&matches).unwrap();
    assert!(probe.ready_file.is_some() && probe.log.is_some());
}
