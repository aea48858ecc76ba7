//! The examples of the README of this crate are what the binary prints.

#[test]
fn the_console_examples_are_what_is_printed() {
    trycmd::TestCases::new().case("README.md");
}
