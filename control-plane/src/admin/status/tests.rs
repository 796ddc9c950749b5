use super::*;

fn problem(number: usize) -> Problem {
    Problem {
        file: "a.yaml".to_owned(),
        line: 7,
        resource: "TrustZone/x".to_owned(),
        field: "spec.zone".to_owned(),
        message: format!("problem {number} {}", "x".repeat(200)),
    }
}

#[test]
fn problems_travel_in_the_details() {
    let status = Status::from(RegistryError::Invalid(vec![problem(1), problem(2)]));
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = proto::Problems::decode(status.details()).unwrap();
    assert_eq!(details.problems.len(), 2);
    assert_eq!(details.problems[1].line, 7);
    assert!(details.problems[1].message.starts_with("problem 2"));
}

#[test]
fn details_stay_within_what_a_header_can_carry_and_count_what_is_left_out() {
    let many: Vec<Problem> = (0..1000).map(problem).collect();
    let status = Status::from(RegistryError::Invalid(many));
    assert!(status.details().len() <= MAX_DETAILS + 100, "{}", status.details().len());
    let details = proto::Problems::decode(status.details()).unwrap();
    let shown = details.problems.len() - 1;
    let last = details.problems.last().unwrap();
    assert_eq!(last.message, format!("and {} more problems like these", 1000 - shown));
}

#[test]
fn a_message_is_cut_between_characters() {
    let status = Status::from(RegistryError::Refused("é".repeat(5000)));
    assert_eq!(status.message().chars().count(), MAX_MESSAGE + 1);
}
