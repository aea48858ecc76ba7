//! Tasks by name.

use laprox_experiments::tasks::{Depth, TASKS, Task};

#[test]
fn every_name_parses_and_prints_itself() {
    let plain = TASKS.iter().map(|entry| entry.name);
    let names = plain.filter(|name| !["longbench", "ruler", "ruler-qa"].contains(name));
    for name in names.chain(["longbench:2wikimqa", "ruler:folder/validation.jsonl", "ruler-qa:C:\\qa.jsonl"])
    {
        assert_eq!(name.parse::<Task>().unwrap().to_string(), name);
    }
}

#[test]
fn a_wrong_name_is_refused_with_what_was_expected() {
    for (name, reason) in [
        ("haystack", "task 'haystack': expected one of needle, needle-multikey, "),
        ("", "task '': expected one of needle, "),
        ("Needle", "task 'Needle': expected one of needle, "),
        ("needle:3", "task 'needle:3': expected nothing after 'needle'"),
        ("longbench", "task 'longbench': expected longbench: and one of narrativeqa, qasper, "),
        ("longbench:lsht", "task 'longbench:lsht': expected longbench: and one of narrativeqa, qasper, "),
        ("ruler", "task 'ruler': expected ruler:FILE"),
        ("ruler-qa:", "task 'ruler-qa:': expected ruler-qa:FILE"),
    ] {
        let found = format!("{:#}", name.parse::<Task>().unwrap_err());
        assert!(found.starts_with(reason), "{found}");
    }
}

#[test]
fn a_depth_is_a_percentage() {
    for (text, percent) in [("0", 0), ("25", 25), ("100%", 100)] {
        assert_eq!(text.parse::<Depth>().unwrap().percent(), percent);
    }
    for text in ["101", "-1", "0.5", "", "%", "deep"] {
        let found = format!("{:#}", text.parse::<Depth>().unwrap_err());
        assert!(found.starts_with("depth: expected 0 to 100 percent, found "), "{found}");
    }
}
