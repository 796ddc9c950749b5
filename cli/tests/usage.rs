//! Exit status and message of what is typed wrong: 2 for wrong usage, 1 for what is refused or fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn portcullis(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    for (name, _) in std::env::vars() {
        if name.starts_with("PORTCULLIS_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What should be refused and serves instead must not keep the test.
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{arguments:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// Ends with the status, and says each of the words on stderr.
#[track_caller]
fn ends(arguments: &[&str], status: i32, words: &[&str]) -> String {
    let output = portcullis(arguments);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{arguments:?}: {word:?} is not in: {err}");
    }
    err
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn wrong_usage_of_operators_commands_ends_with_2() {
    let token = ["--token", "pca_x"];
    let with = |arguments: &[&'static str]| [arguments, &token[..]].concat();
    ends(&["audit", "query", "--since", "yesterday"], 2, &["--since", "1h"]);
    ends(&["audit", "query", "--reason", "because"], 2, &["--reason", "rate_limited"]);
    ends(&["audit", "query", "--limit", "0"], 2, &["--limit"]);
    ends(&with(&["get", "gizmos"]), 2, &["gizmos", "McpServer (servers)"]);
    ends(&with(&["get", "servers", "--server", "nowhere"]), 2, &["nowhere", "http://"]);
    ends(&with(&["get", "servers", "--server", "http://cp.example.com:7410"]), 2, &["plain text", "https"]);
    for part in ["http://a:b@127.0.0.1:1", "http://127.0.0.1:1/path", "http://127.0.0.1:1/?a=b"] {
        ends(&["get", "servers", "--token", "pca_x", "--server", part], 2, &["--server"]);
    }
    ends(&with(&["explain", "--key", "k", "--tool", "t", "--endpoint", "/nope"]), 2, &["/bundles/NAME/mcp"]);
    ends(&with(&["explain", "--key", "k", "--tool", "t", "--arguments", "{"]), 2, &["--arguments"]);
    ends(&with(&["explain", "--key", "k", "--tool", "t", "--arguments", "[]"]), 2, &["object"]);
    ends(&with(&["planes", "token", "create", "--name", "Not A Name"]), 2, &["--name"]);
    ends(&with(&["planes", "token", "create", "--labels", "x"]), 2, &["key=value"]);
    ends(&with(&["key", "rotate", "k", "--grace", "100000h"]), 2, &["--grace", "90d"]);
    ends(&with(&["approve", "--server", "crm", "an-id"]), 2, &["--all"]);
    ends(&with(&["approve", "--server", "crm"]), 2, &["--all"]);
}

#[test]
fn wrong_settings_end_with_2_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let token = write(dir.path(), "token", "pcp_x");
    let plane = |more: &[&'static str]| -> Vec<String> {
        let mut arguments = vec!["data-plane".to_owned(), "--data-dir".to_owned(), data.clone()];
        arguments.extend(["--plane-token-file".to_owned(), token.clone()]);
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        arguments
    };
    let refused = |arguments: &[String], words: &[&str]| {
        ends(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2, words);
    };
    refused(&plane(&[]), &["--control-plane"]);
    let local = ["--control-plane", "http://127.0.0.1:1"];
    refused(&plane(&[&local[..], &["--name", "No Name"]].concat()), &["--name"]);
    refused(&plane(&[&local[..], &["--labels", "x"]].concat()), &["key=value"]);
    refused(&plane(&[&local[..], &["--tls-cert", "a.pem"]].concat()), &["--tls-key"]);
    refused(&plane(&[&local[..], &["--allowed-origin", "nonsense"]].concat()), &["--allowed-origin"]);
    refused(
        &plane(&[&local[..], &["--trusted-proxy", "10.1.2.3/8"]].concat()),
        &["--trusted-proxy", "10.0.0.0/8"],
    );
    refused(&plane(&[&local[..], &["--log", "a=b=c"]].concat()), &["--log"]);
    let config = write(dir.path(), "typo.yaml", "grpc-lisen: 127.0.0.1:1\n");
    let err = ends(&["control-plane", "--config", &config], 2, &["line 1", "grpc-lisen"]);
    assert_eq!(err.lines().count(), 1, "{err}");
    let config = write(dir.path(), "broken.yaml", "listen: [1\n");
    ends(
        &["up", "--data-dir", "never-made", "--budget-wait", "2s"],
        2,
        &["--budget-wait", "2s is longer than 1s"],
    );
    let err = ends(&["up", "--config", &config], 2, &["line 1"]);
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn what_is_refused_or_fails_ends_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    ends(&["get", "servers", "--data-dir", &data], 1, &["admin.token", "PORTCULLIS_TOKEN"]);
    ends(&["get", "servers", "--token", "pca_x", "--server", "http://127.0.0.1:1"], 1, &["cannot reach"]);
    ends(
        &["up", "--data-dir", &data, "--ops-listen", "0.0.0.0:0"],
        1,
        &["--ops-listen", "--insecure-listen"],
    );
    ends(&["up", "--data-dir", &data, "--http-listen", "0.0.0.0:0"], 1, &["--tls-cert"]);
    ends(&["demo-server", "--listen", "0.0.0.0:0"], 1, &["--listen", "loopback"]);
    ends(&["up", "--config", &dir.path().join("gone.yaml").display().to_string()], 1, &["gone.yaml"]);
}

#[test]
fn printed_settings_tell_a_flag_a_variable_the_file_and_a_default_apart() {
    let dir = tempfile::tempdir().unwrap();
    let config = write(dir.path(), "c.yaml", "http-listen: 127.0.0.1:2\nname: eu-1\nlog: debug\n");
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["up", "--print-config", "--grpc-listen", "127.0.0.1:1", "--config", &config])
        .env("PORTCULLIS_OPS_LISTEN", "127.0.0.1:3")
        .env_remove("PORTCULLIS_LISTEN")
        .env("RUST_LOG", "trace")
        .env("PORTCULLIS_LOG", "")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{err}");
    for line in [
        "grpc-listen: \"127.0.0.1:1\" # flag",
        "ops-listen: \"127.0.0.1:3\" # variable",
        "http-listen: \"127.0.0.1:2\" # file",
        "log: \"debug\" # file",
        "listen: \"127.0.0.1:7400\" # default",
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line} is not in: {out}");
    }
    assert!(err.contains("name is not used by this command"), "{err}");
}

#[test]
fn a_log_filter_given_as_a_flag_beats_the_variables() {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["control-plane", "--print-config", "--log", "warn"])
        .env("PORTCULLIS_LOG", "debug")
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("log: \"warn\" # flag"));
}
