use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn public_reach_refuses_every_special_range_in_every_disguise() {
    for text in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "169.254.169.254",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "3fff::1",
        "5f00::1",
    ] {
        assert!(!Reach::Public.allows(ip(text)), "{text}");
    }
}

#[test]
fn public_reach_takes_public_addresses() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "192.169.0.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001:80b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert!(Reach::Public.allows(ip(text)), "{text}");
    }
}

#[test]
fn link_local_is_refused_for_everyone() {
    for text in [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fd00:ec2::254",
    ] {
        assert!(!Reach::Inside.allows(ip(text)), "{text}");
        assert!(!Reach::Public.allows(ip(text)), "{text}");
    }
}

#[test]
fn inside_reach_takes_loopback_and_private_addresses() {
    for text in ["127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "fc00::1", "8.8.8.8"] {
        assert!(Reach::Inside.allows(ip(text)), "{text}");
    }
}
