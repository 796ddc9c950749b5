//! Every service, method, message, field and enum value says what it is: the `.proto` files are the API's documentation.

use prost::Message as _;
use prost_types::source_code_info::Location;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// Paths of descriptors within a file, as `descriptor.proto` numbers them.
mod path {
    pub(crate) const MESSAGE: i32 = 4;
    pub(crate) const ENUM: i32 = 5;
    pub(crate) const SERVICE: i32 = 6;
    pub(crate) const FIELD: i32 = 2;
    pub(crate) const NESTED: i32 = 3;
    pub(crate) const NESTED_ENUM: i32 = 4;
    pub(crate) const ONEOF: i32 = 8;
    pub(crate) const VALUE: i32 = 2;
    pub(crate) const METHOD: i32 = 2;
}

#[test]
fn everything_in_the_api_is_commented() {
    let set = FileDescriptorSet::decode(portcullis_proto::DESCRIPTORS).unwrap();
    let mut seen = 0;
    let mut bare = Vec::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("portcullis.")) {
        let locations = &file.source_code_info.as_ref().unwrap().location;
        let mut check = |at: Vec<i32>, name: String| {
            seen += 1;
            if !commented(locations, &at) {
                bare.push(format!("{}: {name}", file.name()));
            }
        };
        for (at, message) in indexed(&file.message_type) {
            walk_message(vec![path::MESSAGE, at], message, &mut check);
        }
        for (at, enumeration) in indexed(&file.enum_type) {
            walk_enum(vec![path::ENUM, at], enumeration, &mut check);
        }
        for (at, service) in indexed(&file.service) {
            check(vec![path::SERVICE, at], service.name().to_owned());
            for (inner, method) in indexed(&service.method) {
                check(
                    vec![path::SERVICE, at, path::METHOD, inner],
                    format!("{}.{}", service.name(), method.name()),
                );
            }
        }
    }
    assert!(seen > 200, "only {seen} descriptors were looked at");
    assert!(bare.is_empty(), "without a comment: {bare:#?}");
}

fn indexed<T>(items: &[T]) -> impl Iterator<Item = (i32, &T)> {
    (0..).zip(items)
}

fn walk_message(at: Vec<i32>, message: &DescriptorProto, check: &mut impl FnMut(Vec<i32>, String)) {
    // Entries of maps are made by the compiler.
    if message.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    check(at.clone(), message.name().to_owned());
    let under = |kind, index| [at.as_slice(), &[kind, index]].concat();
    for (index, field) in indexed(&message.field) {
        check(under(path::FIELD, index), format!("{}.{}", message.name(), field.name()));
    }
    for (index, oneof) in indexed(&message.oneof_decl) {
        check(under(path::ONEOF, index), format!("{}.{}", message.name(), oneof.name()));
    }
    for (index, nested) in indexed(&message.nested_type) {
        walk_message(under(path::NESTED, index), nested, check);
    }
    for (index, nested) in indexed(&message.enum_type) {
        walk_enum(under(path::NESTED_ENUM, index), nested, check);
    }
}

fn walk_enum(at: Vec<i32>, enumeration: &EnumDescriptorProto, check: &mut impl FnMut(Vec<i32>, String)) {
    check(at.clone(), enumeration.name().to_owned());
    for (index, value) in indexed(&enumeration.value) {
        check([at.as_slice(), &[path::VALUE, index]].concat(), value.name().to_owned());
    }
}

fn commented(locations: &[Location], at: &[i32]) -> bool {
    locations.iter().any(|location| location.path == at && !location.leading_comments().trim().is_empty())
}
