use super::*;

const START: Tip = Tip { version: 6, link: 0xABCD };

fn header_of(frame: &[u8]) -> Option<FrameHeader> {
    FrameHeader::parse(frame.first_chunk::<HEADER_BYTES>().unwrap())
}

#[test]
fn a_frame_reads_back_and_leads_to_the_next() {
    let (frame, tip) = encode(START, b"{\"a\":1}").unwrap();
    let header = header_of(&frame).unwrap();
    assert_eq!((header.version, header.link, header.own), (7, START.link, tip.link));
    assert!(header.matches(&frame[HEADER_BYTES..]));
    assert!(!header.matches(b"{\"a\":2}"));
    let (next, _) = encode(tip, b"{}").unwrap();
    assert_eq!(header_of(&next).unwrap().link, tip.link);
}

#[test]
fn every_flipped_bit_is_seen() {
    let (frame, _) = encode(START, b"{\"a\":1}").unwrap();
    for bit in 0..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let sound = header_of(&flipped).is_some_and(|header| header.matches(&flipped[HEADER_BYTES..]));
        assert!(!sound, "bit {bit}");
    }
}

#[test]
fn a_later_record_is_found_at_any_place_and_an_earlier_one_is_not() {
    let (frame, _) = encode(START, b"{\"a\":1}").unwrap();
    for before in [0, 1, 23, 24, 511] {
        let mut bytes = vec![b'x'; before];
        bytes.extend_from_slice(&frame);
        bytes.extend_from_slice(b"after");
        assert!(holds_record_after(&bytes, 6), "{before}");
        assert!(!holds_record_after(&bytes, 7), "{before}");
    }
    assert!(!holds_record_after(&frame[..frame.len() - 1], 6));
}

#[test]
fn a_payload_above_the_bound_has_no_frame() {
    assert!(encode(START, &vec![b' '; MAX_RECORD_BYTES + 1]).is_none());
}

#[test]
fn only_sectors_of_zeros_count_as_never_written() {
    let (frame, _) = encode(START, &[b'x'; 2000]).unwrap();
    for offset in [0, 40, 488, 500, 509, 511, 512] {
        assert!(!has_unwritten_sector(&frame, offset, true), "{offset}");
        assert!(!has_unwritten_sector(&frame, offset, false), "{offset}");
        let into = usize::try_from(offset).unwrap() % 512;
        let boundary = 512 - into;
        let mut second = frame.clone();
        second[boundary..boundary + 512].fill(0);
        assert!(has_unwritten_sector(&second, offset, boundary >= HEADER_BYTES), "{offset}");
        let mut few = frame.clone();
        few[boundary + 8..boundary + 500].fill(0);
        assert!(!has_unwritten_sector(&few, offset, true), "{offset}");
    }
    let mut head = frame;
    head[..100].fill(0);
    assert!(has_unwritten_sector(&head, 412, false));
}
