//! After a tour in which every kind of secret is made and used, none of them is anywhere but where it is kept: no file of either
//! plane, no log line at any level, no audit record, no metric, no answer holds one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use portcullis_data_plane::ledger::Filter;
use portcullis_proto::admin::v1 as api;
use portcullis_tests::admin::{Admin, secret};
use portcullis_tests::binary::{Process, run};
use portcullis_tests::client::page;
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::records;
use portcullis_tests::{Caller, Upstream};
use serde_json::json;

const UPSTREAM_SECRET: &str = "Bearer upstream-credential-5f1c9d27";
const SECOND_SECRET: &str = "Bearer upstream-credential-8a62e0b4";

fn documents(url: &str) -> String {
    format!(
        r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: files }}
spec:
  transport: {{ streamableHttp: {{ url: "{url}" }} }}
  auth: {{ header: {{ name: Authorization, valueFrom: {{ secret: files-token }} }} }}
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {{ server: files, allow: ["*"], prompts: ["*"], resources: ["*"] }} ] }}
"#
    )
}

/// Every file under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// A text as it might be written down.
fn spellings(text: &str) -> [String; 4] {
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [text.to_owned(), standard, url, hex]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere_but_where_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("state");
    let data_text = data.to_str().unwrap().to_owned();
    let upstream = Upstream::legacy(&["read", "fail", "broken", "progress"]).await;
    let control = Process::start(
        dir.path(),
        "control",
        &[
            "control-plane",
            "--data-dir",
            &data_text,
            "--grpc-listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
            "--log",
            "trace",
        ],
    );
    let grpc = control.address("grpcUrl");
    let admin_token = std::fs::read_to_string(control.address("adminTokenFile")).unwrap().trim().to_owned();
    let admin = Admin::new(&grpc, &admin_token, None);
    let (_, plane_token) = admin.plane_token().await;
    let token_file = dir.path().join("plane.token");
    std::fs::write(&token_file, &plane_token).unwrap();
    let plane_arguments = [
        "data-plane",
        "--data-dir",
        &data_text,
        "--listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
        "--control-plane",
        &grpc,
        "--plane-token-file",
        token_file.to_str().unwrap(),
        "--name",
        "eu-1",
        "--log",
        "trace",
    ];
    let mut plane = Process::start(dir.path(), "plane", &plane_arguments);

    // Secrets are set, keys made, rotated and revoked, tokens made and revoked.
    admin.set_secret("files-token", UPSTREAM_SECRET).await;
    let applied = admin.apply(&documents(&upstream.url)).await;
    let first_key = secret(&applied, "bot");
    admin.awaits(6).await;
    admin.approve_all().await;
    let rotated = api::RotateKeyRequest { name: "bot".to_owned(), grace_seconds: 3600 };
    let second_key = admin.keys().rotate_key(rotated).await.unwrap().into_inner().key.unwrap().secret;
    let made = api::CreateKeyRequest { name: "brief".to_owned(), file: None };
    let brief_key = admin.keys().create_key(made).await.unwrap().into_inner().key.unwrap().secret;
    let revoked = api::RevokeKeyRequest { name: "brief".to_owned(), message: "over".to_owned() };
    admin.keys().revoke_key(revoked).await.unwrap();
    let (other_id, other_token) = admin.plane_token().await;
    admin.planes().revoke_plane_token(api::RevokePlaneTokenRequest { id: other_id }).await.unwrap();
    let cli = ["--server", &grpc, "--token", &admin_token];
    for command in [
        vec!["get", "servers", "-o", "json"],
        vec!["secret", "list", "-o", "json"],
        vec!["history", "-o", "json"],
    ] {
        let (status, out, err) = run(&[command.as_slice(), &cli].concat());
        assert_eq!(status, Some(0), "{command:?}: {err}");
        for shown in [UPSTREAM_SECRET, &first_key, &second_key, &admin_token] {
            assert!(!out.contains(shown) && !err.contains(shown), "{command:?} shows a secret");
        }
    }

    // They are used, in good and in bad calls of both eras.
    let mut answers = String::new();
    let at = |plane: &Process, key: &str| Caller::modern(plane.address("mcpUrl"), key);
    for key in [&first_key, &second_key] {
        let bot = at(&plane, key);
        eventually("the key is good", async || {
            bot.try_ask("tools/call", json!({"name": "files_read"}))
                .await
                .is_ok_and(|a| a.succeeded())
                .then_some(())
        })
        .await;
        let old = Caller::legacy(plane.address("mcpUrl"), key).with("cookie", "a=b").open().await;
        for tool in ["files_read", "files_fail", "files_broken", "files_progress", "files_unknown"] {
            for caller in [&bot, &old] {
                answers += &format!("{:?}", caller.call(tool, json!({"text": "harmless"})).await);
            }
        }
        answers += &format!("{:?}", old.ask("resources/list", json!({})).await);
        old.end().await;
    }
    for wrong in [brief_key.as_str(), other_token.as_str(), admin_token.as_str()] {
        let answer = at(&plane, wrong).call("files_read", json!({})).await;
        assert_eq!(answer.status, 401);
        answers += &format!("{answer:?}");
    }
    // A secret changes, and the upstream gets the new one.
    let presented = |value: &str| {
        upstream.seen().iter().any(|seen| seen.headers.get("authorization").is_some_and(|held| held == value))
    };
    assert!(presented(UPSTREAM_SECRET));
    admin.set_secret("files-token", SECOND_SECRET).await;
    let bot = at(&plane, &second_key);
    eventually("the upstream gets the new secret", async || {
        bot.call("files_read", json!({})).await;
        presented(SECOND_SECRET).then_some(())
    })
    .await;
    // The plane starts again from what it keeps, and leaves nothing of what a crash left.
    plane.kill();
    let left = data.join("data/secrets.new");
    std::fs::copy(data.join("data/secrets.bin"), &left).unwrap();
    let mut plane = Process::start(dir.path(), "plane", &plane_arguments);
    assert!(at(&plane, &second_key).call("files_read", json!({})).await.succeeded());
    eventually("what a crash left is gone", async || (!left.exists()).then_some(())).await;
    for path in ["metrics", "snapshot", "readyz"] {
        answers += &page(&format!("{}/{path}", plane.address("opsUrl"))).await.unwrap().1;
        answers += &page(&format!("{}/{path}", control.address("httpUrl"))).await.unwrap().1;
    }
    plane.kill();

    // What was sent upstream holds nothing of the callers'.
    for seen in upstream.seen() {
        let sent = format!("{:?} {}", seen.headers, seen.message);
        for own in [&first_key, &second_key, &admin_token, &plane_token] {
            assert!(!sent.contains(own.as_str()), "a caller's credential went upstream");
        }
        assert!(!seen.headers.contains_key("cookie"));
    }

    // Where each may be: the vault and its copy, and the administrator's own file. Keys and tokens are nowhere.
    let kept_at = |path: &Path, text: &str| {
        let inside = |name: &str| path.components().any(|part| part.as_os_str() == name);
        match text {
            // A file is written whole beside its name and takes its place: killed in between, a plane leaves it there until its
            // next start, for its owner alone as all of them.
            UPSTREAM_SECRET | SECOND_SECRET => {
                inside("vault")
                    || inside("vault.new")
                    || path.ends_with("data/secrets.bin")
                    || path.ends_with("data/secrets.new")
            }
            _ if text == admin_token => path.ends_with("state/admin.token"),
            _ => false,
        }
    };
    let plane_secret = plane_token.split('.').next().unwrap().to_owned();
    let other_secret = other_token.split('.').next().unwrap().to_owned();
    let everything = [
        UPSTREAM_SECRET,
        SECOND_SECRET,
        &first_key,
        &second_key,
        &brief_key,
        &admin_token,
        &plane_secret,
        &other_secret,
    ];
    let records = records(&data, Filter::default());
    assert!(records.len() > 20, "{}", records.len());
    let records = serde_json::to_string(&records).unwrap();
    // What is searched for is ASCII, so that nothing of it is lost where other bytes are.
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mut looked_at: Vec<(PathBuf, String)> = Vec::new();
    for path in files(&data) {
        // The control plane runs on, and what is written beside a name is gone when it has taken its place.
        let Ok(bytes) = std::fs::read(&path) else {
            assert!(!path.exists(), "{} cannot be read", path.display());
            continue;
        };
        looked_at.push((path, String::from_utf8_lossy(&bytes).into_owned()));
    }
    for log in [&control.log, &plane.log] {
        let text = read(log);
        assert!(text.len() > 1000, "{} says nothing", log.display());
        looked_at.push((log.clone(), text));
    }
    looked_at.push((PathBuf::from("(audit records)"), records));
    looked_at.push((PathBuf::from("(answers)"), answers));
    let mut leaks = Vec::new();
    for (path, found) in &looked_at {
        for text in everything {
            if !spellings(text).iter().any(|spelling| found.contains(spelling.as_str())) {
                continue;
            }
            if !kept_at(path, text) {
                leaks.push(format!("{} holds {}…", path.display(), &text[..15]));
            }
            if let Ok(kept) = std::fs::metadata(path) {
                assert_eq!(kept.permissions().mode() & 0o777, 0o600, "{}", path.display());
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    // The search finds what is there.
    let holders = |text: &str| looked_at.iter().filter(|(_, found)| found.contains(text)).count();
    assert!(holders(SECOND_SECRET) >= 1 && holders(&admin_token) == 1);
}
