//! The README says what is.

use crate::harness::program::BINARY;
use crate::harness::run;

#[test]
fn the_help_in_the_readme_is_the_programs() {
    let readme = include_str!("../../README.md");
    let pasted =
        readme.split("$ conniver proxy --help\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(pasted, run(BINARY, &["proxy", "--help"]));
}
