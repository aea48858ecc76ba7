//! Rows that have something in common, in the order in which they come.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use anyhow::{Result, ensure};

/// Rows by their key: keys in the order of their first row, rows as they came.
pub fn grouped<T, K: Clone + Eq + Hash>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<(K, Vec<T>)> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for row in rows {
        let key = key(&row);
        let place = *places.entry(key.clone()).or_insert(groups.len());
        if place == groups.len() {
            groups.push((key, Vec::new()));
        }
        groups[place].1.push(row);
    }
    groups
}

/// Each value once, in the order in which they come.
pub fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

/// Refuses a value that is given twice: it would count twice.
///
/// # Errors
/// Names the list and the value.
pub fn require_distinct<T: PartialEq + Display>(list: &str, values: &[T]) -> Result<()> {
    for (index, value) in values.iter().enumerate() {
        ensure!(!values[..index].contains(value), "{list}: {value} is given twice");
    }
    Ok(())
}

/// The parts that are not empty, between commas.
pub fn joined<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}
