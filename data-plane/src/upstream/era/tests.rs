use super::*;

fn judged(response: &str) -> Discovery {
    discovery(response.as_bytes())
}

const MODERN: Discovery = Discovery::Speaks(Spoken::Modern(Revision::V2026_07_28));
const LEGACY: Discovery = Discovery::Speaks(Spoken::Legacy);

#[test]
fn the_answer_to_discover_tells_the_era() {
    for (response, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28","2025-11-25"]}}"#, MODERN),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2025-11-25"]}}"#, LEGACY),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2099-01-01"]}}"#,
            Discovery::NothingInCommon,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":"2026-07-28"}}"#,
            Discovery::NothingInCommon,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, LEGACY),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}}"#,
            MODERN,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"","data":{"supported":["2025-06-18"]}}}"#,
            LEGACY,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":""}}"#, Discovery::NothingInCommon),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":""}}"#, MODERN),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":""}}"#, MODERN),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":""}}"#, LEGACY),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":""}}"#, LEGACY),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Server not initialized"}}"#, LEGACY),
        ("<html>", LEGACY),
        ("", LEGACY),
    ] {
        assert_eq!(judged(response), expected, "{response}");
    }
}

#[test]
fn an_observation_is_assumed_only_if_it_can_be_spoken() {
    let observed = |modern, version: &str| ObservedProtocol {
        modern,
        protocol_version: version.to_owned(),
        capabilities: Arc::from(RawValue::from_string("{}".to_owned()).unwrap()),
    };
    assert_eq!(Spoken::assumed(&observed(true, "2026-07-28")), Some(Spoken::Modern(Revision::V2026_07_28)));
    assert_eq!(Spoken::assumed(&observed(true, "2099-01-01")), None);
    assert_eq!(Spoken::assumed(&observed(false, "2025-11-25")), Some(Spoken::Legacy));
}

#[tokio::test]
async fn one_asks_for_all_who_wait_and_they_share_its_failure() {
    let cell = EraCell::default();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let gate = tokio::sync::Notify::new();
    let failing = || async {
        asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        gate.notified().await;
        Err::<Spoken, _>(nothing_in_common())
    };
    let open = async {
        tokio::task::yield_now().await;
        gate.notify_one();
    };
    let (first, second, third, ()) =
        tokio::join!(cell.get(failing), cell.get(failing), cell.get(failing), open);
    assert!(first.is_err() && second.is_err() && third.is_err());
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(cell.get(|| async { Ok(Spoken::Legacy) }).await.unwrap(), Spoken::Legacy);
    cell.doubt();
    assert_eq!(cell.known(), None);
}
