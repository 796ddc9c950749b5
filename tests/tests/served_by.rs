//! A zone that some data planes serve: the others list and call nothing of it, and nobody else asks its servers what they offer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "steps of tests"
)]

use portcullis_policy::Reason;
use portcullis_proto::admin::v1 as api;
use portcullis_tests::Upstream;
use portcullis_tests::admin::secret;
use portcullis_tests::patience::eventually;
use portcullis_tests::planes::{ControlOptions, ControlPlane, DataPlane, PlaneOptions};
use serde_json::{Value, json};

const DOCUMENTS: &str = r#"
apiVersion: portcullis/v1
kind: TrustZone
metadata: { name: european }
spec: { reachableFrom: [default], servedBy: [ { region: eu } ] }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: crm }
spec:
  transport: { streamableHttp: { url: "CRM" } }
  zone: european
  auth: { header: { name: Authorization, valueFrom: { secret: crm-token } } }
---
apiVersion: portcullis/v1
kind: McpServer
metadata: { name: wiki }
spec: { transport: { streamableHttp: { url: "WIKI" } } }
---
apiVersion: portcullis/v1
kind: VirtualKey
metadata: { name: dev }
spec:
  principal: { kind: human, subject: dev }
  grants: [ { server: crm, allow: ["*"], resources: ["*"] }, { server: wiki, allow: ["*"] } ]
"#;

/// A data plane with a token that gives it this region.
async fn plane(control: &ControlPlane, region: &str) -> DataPlane {
    let request = api::CreatePlaneTokenRequest {
        labels: [("region".to_owned(), region.to_owned())].into(),
        ..api::CreatePlaneTokenRequest::default()
    };
    let token = control.admin.planes().create_plane_token(request).await.unwrap().into_inner().token;
    DataPlane::start(PlaneOptions::new(region, &control.url, &token)).await
}

const CREDENTIAL: &str = "Bearer of-the-crm-2c41";

/// Waits until a plane keeps the credential of the server on its disk, or does not.
async fn keeps_credential(plane: &DataPlane, keeps: bool) {
    let file = plane.dir.path().join("data/secrets.bin");
    eventually("the secrets on disk", async || {
        let kept = std::fs::read(&file).ok()?;
        let found = kept.windows(CREDENTIAL.len()).any(|part| part == CREDENTIAL.as_bytes());
        (found == keeps).then_some(())
    })
    .await;
}

async fn explained(control: &ControlPlane, plane: &str) -> Value {
    let request = api::ExplainRequest {
        key: "dev".to_owned(),
        tool: "crm_lookup".to_owned(),
        plane: plane.to_owned(),
        ..api::ExplainRequest::default()
    };
    let response = control.admin.policy().explain(request).await.unwrap().into_inner();
    serde_json::from_str(&response.json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_listed_called_and_probed_through_the_planes_that_it_names() {
    let (crm, wiki) = (Upstream::modern(&["lookup"]).await, Upstream::legacy(&["search"]).await);
    let control = ControlPlane::start(ControlOptions::default()).await;
    control.admin.set_secret("crm-token", CREDENTIAL).await;
    let us = plane(&control, "us").await;
    let applied = control.admin.apply(&DOCUMENTS.replace("CRM", &crm.url).replace("WIKI", &wiki.url)).await;
    let key = secret(&applied, "dev");
    // The plane that is there asks only the server that it serves: a tool, a prompt, and what the server says of itself.
    let waiting = control.admin.awaits(3).await;
    assert!(waiting.iter().all(|one| one.server == "wiki"), "{waiting:?}");
    let eu = plane(&control, "eu").await;
    control.admin.awaits(6).await;
    control.admin.approve_all().await;
    let version = control.admin.snapshot().await.version;
    for plane in [&us, &eu] {
        plane.enforces(version).await;
    }

    keeps_credential(&eu, true).await;
    keeps_credential(&us, false).await;
    for modern in [true, false] {
        for (plane, listed) in [(&eu, vec!["crm_lookup", "wiki_search"]), (&us, vec!["wiki_search"])] {
            let caller = match modern {
                true => plane.modern("/mcp", &key),
                false => plane.legacy("/mcp", &key).open().await,
            };
            let mut names = caller.tools().await;
            names.sort();
            assert_eq!(names, listed, "modern {modern}");
            assert!(caller.call("wiki_search", json!({})).await.succeeded());
            let before = crm.calls();
            let answer = caller.call("crm_lookup", json!({})).await;
            let record = plane.record(answer.request_id()).await;
            if listed.len() == 2 {
                assert!(answer.succeeded());
                assert_eq!(record.reason, None);
            } else {
                assert_eq!(answer.reason(), "zone_denied");
                assert_eq!(record.reason, Some(Reason::ZoneDenied));
                assert_eq!(record.rule.as_deref(), Some("TrustZone/european spec.servedBy"));
                assert_eq!(crm.calls(), before, "nothing goes there");
            }
            let resources = caller.ask("resources/read", json!({"uri": "note:///a"})).await;
            assert_eq!(resources.response().get("result").is_some(), listed.len() == 2, "modern {modern}");
        }
    }

    // Asked before: with the plane, and without.
    assert_eq!(explained(&control, "eu").await["decision"], "permit");
    let denied = explained(&control, "us").await;
    assert_eq!(
        (&denied["reason"], &denied["rule"]),
        (&json!("zone_denied"), &json!("TrustZone/european spec.servedBy"))
    );
    let open = explained(&control, "").await;
    let step = open["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["rule"] == "TrustZone/european spec.servedBy");
    assert_eq!(step.unwrap()["outcome"], "live", "{open}");
    let unknown = api::ExplainRequest {
        key: "dev".to_owned(),
        tool: "crm_lookup".to_owned(),
        plane: "x".to_owned(),
        ..Default::default()
    };
    let refused = control.admin.policy().explain(unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused:?}");

    // A zone that takes another plane in is served there at once.
    let wider = "apiVersion: portcullis/v1\nkind: TrustZone\nmetadata: { name: european }\nspec: { reachableFrom: [default], servedBy: [ { region: eu }, { region: us } ] }\n";
    control.admin.apply(wider).await;
    us.enforces(control.admin.snapshot().await.version).await;
    let caller = us.modern("/mcp", &key);
    eventually("the tool", async || caller.call("crm_lookup", json!({})).await.succeeded().then_some(()))
        .await;
    keeps_credential(&us, true).await;
    let presented = crm.seen();
    assert!(
        presented.iter().all(|seen| seen.headers.get("authorization").is_some_and(|had| had == CREDENTIAL))
    );
    // And closed to it again, it loses what it no longer needs.
    control.admin.apply(&wider.replace(", { region: us }", "")).await;
    us.enforces(control.admin.snapshot().await.version).await;
    keeps_credential(&us, false).await;
    keeps_credential(&eu, true).await;
    for wrong in ["servedBy: [ {} ]", "servedBy: [eu]"] {
        let text = wider.replace("servedBy: [ { region: eu }, { region: us } ]", wrong);
        assert!(control.admin.try_apply(&text).await.is_err(), "{wrong}");
    }
}
