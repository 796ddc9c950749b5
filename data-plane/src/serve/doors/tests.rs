use super::*;

fn admits(bound: &str, allowed: &[&str], host: Option<&str>, origin: Option<&str>) -> bool {
    let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
    let doors = Doors::new(bound.parse().unwrap(), &allowed, &["Gate.internal".to_owned()]).unwrap();
    let mut headers = HeaderMap::new();
    if let Some(host) = host {
        headers.append(header::HOST, host.parse().unwrap());
    }
    if let Some(origin) = origin {
        headers.append(header::ORIGIN, origin.parse().unwrap());
    }
    doors.admits(&"/mcp".parse().unwrap(), &headers)
}

#[test]
fn on_loopback_only_loopback_names_and_allowed_origins_come_in() {
    let bound = "127.0.0.1:7400";
    for host in ["localhost", "localhost:7400", "LOCALHOST:1", "127.0.0.1:7400", "[::1]:7400"] {
        assert!(admits(bound, &[], Some(host), None), "{host}");
    }
    for host in ["evil.example.com", "localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1", "user@localhost"]
    {
        assert!(!admits(bound, &[], Some(host), None), "{host}");
    }
    assert!(admits(bound, &[], None, None));
    assert!(admits(bound, &[], Some("localhost"), Some("http://localhost:3000")));
    for origin in ["null", "http://evil.com", "http://localhost.evil.com", "localhost", "http://a@localhost"]
    {
        assert!(!admits(bound, &[], Some("localhost"), Some(origin)), "{origin}");
    }
    assert!(admits(
        bound,
        &["https://app.example.com"],
        Some("localhost"),
        Some("https://APP.example.com:443")
    ));
    assert!(!admits(bound, &["https://app.example.com"], Some("localhost"), Some("http://app.example.com")));
    assert!(admits(bound, &["https://app.example.com"], Some("app.example.com:8443"), None));
}

#[test]
fn elsewhere_loopback_names_do_not_come_in() {
    assert!(!admits("10.1.2.3:7400", &[], Some("localhost"), None));
    assert!(admits("10.1.2.3:7400", &[], Some("10.1.2.3:7400"), None));
    assert!(!admits("10.1.2.3:7400", &[], Some("10.9.9.9"), None));
    assert!(admits("0.0.0.0:7400", &[], Some("10.9.9.9:7400"), None));
    assert!(!admits("0.0.0.0:7400", &[], Some("mcp.example.com"), None));
    assert!(admits("0.0.0.0:7400", &[], Some("gate.internal:7400"), None));
    assert!(admits("0.0.0.0:7400", &["https://mcp.example.com"], Some("mcp.example.com"), None));
    assert!(!admits("0.0.0.0:7400", &[], Some("10.9.9.9:7400"), Some("http://localhost:3000")));
}

#[test]
fn a_doubled_header_is_invalid() {
    let doors = Doors::new("127.0.0.1:1".parse().unwrap(), &[], &[]).unwrap();
    for name in [header::HOST, header::ORIGIN] {
        let mut headers = HeaderMap::new();
        let value = if name == header::HOST { "localhost" } else { "http://localhost" };
        headers.append(name.clone(), value.parse().unwrap());
        headers.append(name, value.parse().unwrap());
        assert!(!doors.admits(&"/mcp".parse().unwrap(), &headers));
    }
    assert!(Doors::new("127.0.0.1:1".parse().unwrap(), &["mcp.example.com".to_owned()], &[]).is_err());
}
