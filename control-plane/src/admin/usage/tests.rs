use super::*;

fn read(level: &str, unit: &str, period: &str) -> Result<Selector, RegistryError> {
    let (level, unit, period) = (level.to_owned(), unit.to_owned(), period.to_owned());
    Selector::read(&proto::BudgetSelector { level, unit, period, name: String::new() })
}

#[test]
fn a_selector_is_read_as_it_is_written_and_nothing_else_is() {
    let found = read("tool", "micro-usd", "3mo").unwrap();
    assert_eq!(
        found,
        Selector {
            level: Some(Level::Tool),
            name: None,
            unit: Some(Unit::MicroUsd),
            length: Some(Length::Quarter)
        }
    );
    assert_eq!(read("", "", "").unwrap(), Selector::default());
    for (level, unit, period) in [("tools", "", ""), ("", "usd", ""), ("", "", "2d")] {
        assert!(read(level, unit, period).is_err(), "{level} {unit} {period}");
    }
}
