//! Rows say the same in memory and in a file.

use std::fs;
use std::path::Path;

use laprox_experiments::rows::{self, AblationRow, BoundRow, CorrelationRow, EvalRow, OracleRow, Row};
use laprox_reference::Allocation;

use crate::results::{ABLATION, EVAL, errors, needles, write};
use crate::{chapter, laprox, refusal, table, text, value};

/// The rows of a committed file, which are written to the bytes that they are read from.
fn committed<R: Row>(file: &str) -> Vec<R> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(file);
    let text = fs::read_to_string(path).expect("a committed file");
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize().collect::<Result<Vec<R>, _>>();
    let rows = rows.unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(rows::csv(&rows).expect("written") == text, "{file} changes when read and written");
    rows
}

#[test]
fn committed_files_are_read_and_written_to_the_same_bytes() {
    for name in ["group_rules", "head_vs_layer", "normaliser", "pooling", "window"] {
        committed::<AblationRow>(&format!("{name}/rows.csv"));
    }
    for name in ["fidelity", "fidelity-second", "needle", "retrieval", "speed"] {
        committed::<EvalRow>(&format!("{name}/rows.csv"));
        committed::<CorrelationRow>(&format!("{name}/correlations.csv"));
    }
    for name in ["rows", "layers", "head_wise"] {
        committed::<OracleRow>(&format!("oracle/{name}.csv"));
    }
    committed::<BoundRow>("bounds/rows.csv");
}

#[test]
fn columns_are_values_and_not_their_names() {
    let rows: Vec<AblationRow> = committed("head_vs_layer/rows.csv");
    let of = |name: &str| rows.iter().find(|row| row.policy.to_string() == name).expect("a row");
    assert_eq!(of("laprox").allocation, Some(Allocation::MODEL));
    assert_eq!(of("laprox").allocation, of("laprox:pool=none").allocation);
    assert_eq!(of("laprox:allocation=head").allocation, Some(Allocation::HEAD));
    assert_eq!(of("laprox:allocation=head").score, of("laprox").policy);
}

/// As a policy of an older build, or one that has lost an option.
#[test]
fn a_policy_that_this_build_does_not_know_keeps_its_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = [needles("retired:gone=1", "5%", &[0.0, 1.0]), needles("laprox", "5%", &[0.0, 0.0])];
    write(folder.path(), "needle/rows.csv", EVAL, &rows.concat());
    let chapter = chapter("needle", folder.path());
    assert_eq!(value(table(&chapter, "contexts and depths"), &["retired:gone=1"], "5%"), Some(0.5));
}

#[test]
fn an_allocation_objective_or_form_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = errors("laprox", "laprox", "model", "5%", &[0.1]).remove(0);
    for (from, to, named) in [
        (",model,,", ",modell,,", "line 2: allocation 'modell'"),
        (",drop,", ",dropped,", "line 2: unknown variant `dropped`"),
        (",layer-wise,", ",layerwise,", "line 2: unknown variant `layerwise`"),
    ] {
        write(folder.path(), "head_vs_layer/rows.csv", ABLATION, &[row.replace(from, to)]);
        let arguments = ["tables", "--quick", "ablation", "--results", text(folder.path())];
        let line = refusal(&laprox(&arguments).code(2));
        assert!(line.contains(named) && line.contains("head_vs_layer/rows.csv"), "{line}");
    }
}
