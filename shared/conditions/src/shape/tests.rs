use super::*;

fn shape(notes: &[(&[&str], Node)]) -> Shape {
    let mut shape = Shape::default();
    for (path, node) in notes {
        shape.note(path, node.clone()).unwrap();
    }
    shape
}

#[test]
fn what_is_read_as_an_object_and_as_a_value_is_refused_in_either_order() {
    let mut first = shape(&[(&["a", "b"], Node::Present)]);
    assert_eq!(first.note(&["a"], Node::Scalar(Scalar::Text)), Err(Clash));
    let mut second = shape(&[(&["a"], Node::Scalar(Scalar::Text))]);
    assert_eq!(second.note(&["a", "b"], Node::Present), Err(Clash));
}

#[test]
fn a_type_takes_the_place_of_mere_presence_and_stays() {
    let mut shape = shape(&[(&["a"], Node::Present), (&["a"], Node::Scalar(Scalar::Long))]);
    shape.note(&["a"], Node::Present).unwrap();
    shape.note(&["a"], Node::Scalar(Scalar::Text)).unwrap();
    assert_eq!(shape.get(&["a"]), Some(&Node::Scalar(Scalar::Long)));
}

#[test]
fn shapes_that_expect_different_types_of_a_member_do_not_merge_and_change_nothing() {
    let mut ours = shape(&[(&["a", "x"], Node::Scalar(Scalar::Long)), (&["b"], Node::Present)]);
    let before = ours.clone();
    let theirs = shape(&[(&["b"], Node::Scalar(Scalar::Text)), (&["a", "x"], Node::Scalar(Scalar::Text))]);
    assert_eq!(ours.merge(&theirs), Err(Clash));
    assert_eq!(ours, before);
    let fitting = shape(&[(&["b"], Node::Scalar(Scalar::Text)), (&["a", "y"], Node::Present)]);
    ours.merge(&fitting).unwrap();
    assert_eq!(ours.get(&["b"]), Some(&Node::Scalar(Scalar::Text)));
    assert_eq!(ours.get(&["a", "y"]), Some(&Node::Present));
}

#[test]
fn only_who_looks_at_a_value_is_told_that_it_is_of_another_form() {
    let shape = shape(&[(&["a"], Node::Present), (&["b", "c"], Node::Scalar(Scalar::Long))]);
    let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(!shape.looks_at(&path(&["a"])));
    assert!(!shape.looks_at(&path(&["other"])));
    assert!(shape.looks_at(&path(&["b"])));
    assert!(shape.looks_at(&path(&["b", "c"])));
    assert!(!shape.looks_at(&path(&["b", "d"])));
}
