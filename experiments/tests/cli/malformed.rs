//! Every malformed dump ends in exit code 2 and one line that names the file.

use crate::{broken, laprox, refusal, text};

#[test]
fn every_malformed_dump_is_refused_in_one_line_that_names_the_file() {
    let cases = broken::cases();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    for case in cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dump = folder.path().join("dump");
        case.write(&dump);
        // Nothing at the dump's own path is a missing file; everything else is bad input.
        let code = if dump.symlink_metadata().is_ok() { 2 } else { 3 };
        let refused = laprox(&["inspect", text(&dump), "--check"]).code(code);
        let line = refusal(&refused);
        assert!(line.contains(case.file), "{}: expected {} in: {line}", case.name, case.file);
    }
}

#[test]
fn a_malformed_dump_leaves_no_output_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = folder.path().join("dump");
    let inside = broken::cases().into_iter().rfind(|case| !case.file.is_empty());
    inside.expect("a case inside the dump").write(&dump);
    let out = folder.path().join("retained");
    laprox(&["evict", text(&dump), "--budget", "50%", "--out", text(&out)]).code(2);
    let left: Vec<_> =
        folder.path().read_dir().expect("readable").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["dump"]);
}
