//! Rows that have something in common, in the order in which they come.

/// Rows by what `key` says of them: keys in the order of their first row, rows as they came.
pub fn grouped<T, K: PartialEq>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for row in rows {
        let key = key(&row);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn keys_and_rows_stay_in_their_order() {
        let groups = grouped([5, 2, 7, 4, 9], |row| row % 2);
        assert_eq!(groups, [(1, vec![5, 7, 9]), (0, vec![2, 4])]);
        assert!(grouped([0; 0], |row| *row).is_empty());
    }
}
