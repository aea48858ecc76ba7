//! A line of a results file, and files of them.

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One line of a results file.
pub trait Row: Serialize + DeserializeOwned {
    /// The columns that identify a row: no two rows of a file agree in all of them.
    const KEY: &'static [&'static str];
    /// The columns whose numbers have to be finite.
    const FINITE: &'static [&'static str];
}

/// The rows as CSV with a header.
///
/// # Errors
/// When a row cannot be serialised.
pub fn csv<R: Serialize>(rows: &[R]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The rows as JSON, one document per line.
///
/// # Errors
/// When a row cannot be serialised.
pub fn jsonl<R: Serialize>(rows: &[R]) -> Result<String> {
    rows.iter().map(|row| Ok(serde_json::to_string(row)? + "\n")).collect()
}
