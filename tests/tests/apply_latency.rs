//! How long after the answer to an apply a connected data plane enforces it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use std::time::{Duration, Instant};

use portcullis_tests::admin::secret;
use portcullis_tests::{Portcullis, Upstream};
use serde_json::json;

const APPLIES: usize = 100;

fn key(grants: &str) -> String {
    format!(
        r#"
apiVersion: portcullis/v1
kind: VirtualKey
metadata: {{ name: bot }}
spec: {{ principal: {{ kind: agent, subject: bot }}, grants: [ {grants} ] }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_apply_answered_is_enforced_within_a_quarter_of_a_second() {
    let upstream = Upstream::modern(&["read"]).await;
    let portcullis = Portcullis::start().await;
    let server = format!(
        r#"
apiVersion: portcullis/v1
kind: McpServer
metadata: {{ name: files }}
spec: {{ transport: {{ streamableHttp: {{ url: "{}" }} }} }}
---
"#,
        upstream.url
    );
    let granted = key(r#"{ server: files, allow: ["*"] }"#);
    let applied = portcullis.admit(&(server + &granted), 3).await;
    let bot = portcullis.plane.modern("/mcp", &secret(&applied, "bot"));
    assert!(bot.call("files_read", json!({})).await.succeeded());

    // What counts is the caller's view: from the answer to apply to the first call that is decided anew.
    let mut took = Vec::with_capacity(APPLIES);
    for number in 0..APPLIES {
        let callable = number % 2 == 1;
        portcullis.admin.apply(&if callable { granted.clone() } else { key("") }).await;
        let answered = Instant::now();
        while bot.call("files_read", json!({})).await.succeeded() != callable {
            assert!(answered.elapsed() < Duration::from_secs(10), "apply {number} is not enforced");
        }
        took.push(answered.elapsed());
    }
    took.sort_unstable();
    let (median, p99) = (took[APPLIES / 2], took[APPLIES * 99 / 100 - 1]);
    println!("from apply answered to enforced: median {median:?}, p99 {p99:?}, most {:?}", took[APPLIES - 1]);
    assert!(p99 < Duration::from_millis(250), "{p99:?}");
}
