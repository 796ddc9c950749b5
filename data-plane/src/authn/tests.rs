use super::*;

fn of(pairs: &[(&'static str, &'static str)]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    presented(&headers).map(str::to_owned)
}

#[test]
fn exactly_one_credential_in_one_of_two_places_counts() {
    assert_eq!(of(&[("authorization", "Bearer pcl_a")]).as_deref(), Some("pcl_a"));
    assert_eq!(of(&[("authorization", "bEaReR  pcl_a ")]).as_deref(), Some("pcl_a"));
    assert_eq!(of(&[("x-portcullis-key", "pcl_a")]).as_deref(), Some("pcl_a"));
    for pairs in [
        &[][..],
        &[("authorization", "Basic pcl_a")],
        &[("authorization", "pcl_a")],
        &[("authorization", "Bearer pcl_a"), ("x-portcullis-key", "pcl_a")],
        &[("authorization", "Bearer pcl_a"), ("authorization", "Bearer pcl_a")],
        &[("x-portcullis-key", "pcl_a"), ("x-portcullis-key", "pcl_a")],
        &[("authorization", "Basic eA=="), ("x-portcullis-key", "pcl_a")],
    ] {
        assert_eq!(of(pairs), None, "{pairs:?}");
    }
}
