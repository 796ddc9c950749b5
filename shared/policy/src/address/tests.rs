use super::*;

#[test]
fn every_range_of_the_tables_can_be_read() {
    assert_eq!(NEVER_NETS.len(), NEVER.len());
    assert_eq!(NOT_PUBLIC_NETS.len(), NOT_PUBLIC.len());
}

#[test]
fn addresses_are_judged_by_hosting() {
    let own = Hosting::SelfHosted;
    let vendor = Hosting::Vendor;
    for (address, for_self, for_vendor) in [
        ("8.8.8.8", true, true),
        ("2606:4700::1111", true, true),
        ("127.0.0.1", true, false),
        ("10.1.2.3", true, false),
        ("172.31.0.1", true, false),
        ("172.32.0.1", true, true),
        ("192.168.1.1", true, false),
        ("100.64.0.1", true, false),
        ("::1", true, false),
        ("fd00::1", true, false),
        ("::ffff:127.0.0.1", true, false),
        ("::ffff:8.8.8.8", true, true),
        ("64:ff9b::10.0.0.1", true, false),
        ("64:ff9b::8.8.8.8", true, true),
        ("2002:a00:1::", true, false),
        ("::10.0.0.1", true, false),
        ("203.0.113.9", true, false),
        ("169.254.169.254", false, false),
        ("::ffff:169.254.169.254", false, false),
        ("64:ff9b::169.254.169.254", false, false),
        ("2002:a9fe:a9fe::", false, false),
        ("fe80::1", false, false),
        ("0.0.0.0", false, false),
        ("::", false, false),
        ("224.0.0.1", false, false),
        ("255.255.255.255", false, false),
        ("ff02::1", false, false),
    ] {
        let parsed: IpAddr = address.parse().unwrap();
        assert_eq!(judge(parsed, own).is_ok(), for_self, "{address} for self");
        assert_eq!(judge(parsed, vendor).is_ok(), for_vendor, "{address} for vendor");
    }
}
