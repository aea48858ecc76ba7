//! The PTX that ships was made from these sources, and is launched only with the parameters of its entries.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use laprox_gpu::attend::Statistic;
use laprox_gpu::{DeviceLayer, Format, ptx};

use common::problem::{Problem, Sizes};

fn kernels() -> PathBuf {
    common::crate_folder().join("kernels")
}

/// The first line is the digest of the sources, so a changed source needs a new text.
#[test]
fn the_text_was_made_from_the_sources_beside_it() {
    let unit = ptx::translation_unit(&kernels()).unwrap();
    let stamp = ptx::stamp(&unit);
    assert_eq!(
        ptx::TEXT.lines().next(),
        Some(stamp.as_str()),
        "a kernel's source has changed: run the example regenerate_ptx"
    );
}

#[test]
fn any_change_of_a_source_changes_the_stamp() {
    let unit = ptx::translation_unit(&kernels()).unwrap();
    for at in [0, unit.len() / 2, unit.len() - 1] {
        let mut changed = unit.clone().into_bytes();
        changed[at] = if changed[at] == b' ' { b'\n' } else { b' ' };
        assert_ne!(ptx::stamp(&String::from_utf8_lossy(&changed)), ptx::stamp(&unit), "byte {at}");
    }
}

#[test]
fn every_source_is_part_of_the_text() {
    let mut found: Vec<_> =
        std::fs::read_dir(kernels()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.retain(|name| name.to_string_lossy().ends_with(".cu"));
    assert_eq!(found.len(), ptx::SOURCES.len());
    assert!(ptx::SOURCES.iter().all(|source| found.iter().any(|name| name == source)));
}

#[test]
fn every_entry_has_a_signature() {
    let signatures = ptx::signatures(ptx::TEXT);
    assert_eq!(signatures.len(), ptx::TEXT.matches(".visible .entry ").count());
    assert_eq!(signatures["score_sum"], [8, 8, 4]);
    assert_eq!(signatures["attend_rows_bf16_d128"], [8, 8, 8, 8, 4, 4, 4, 4, 4, 4]);
}

fn refusal(text: &str) -> String {
    let problem = Problem::alive(Sizes::with_context(70), Format::Bf16, 1);
    let lent = problem.layer_problem();
    let device = Arc::new(common::open(text));
    let layer = DeviceLayer::upload(&device, &lent).unwrap();
    let Err(error) = layer.window_statistic(Statistic::Squares) else { panic!("the launch was not refused") };
    error.to_string()
}

/// A kernel whose parameters do not fit its arguments is not launched.
#[test]
fn a_launch_that_does_not_fit_the_signature_is_refused() {
    let one = "\t.param .u32 attend_columns_bf16_d64_param_9,\n";
    assert!(ptx::TEXT.contains(one));
    let wider = ptx::TEXT.replace(one, "\t.param .u64 attend_columns_bf16_d64_param_9,\n");
    let refusal = refusal(&wider);
    assert!(refusal.contains("attend_columns_bf16_d64") && refusal.contains("4, 8, 4, 4, 4]"), "{refusal}");
}

#[test]
fn a_kernel_that_is_missing_is_named() {
    let refusal = refusal(&ptx::TEXT.replace("attend_columns_bf16_d64", "renamed"));
    assert_eq!(refusal, "kernel attend_columns_bf16_d64: not in the PTX");
}
