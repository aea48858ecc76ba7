//! The one pivot, and the one table.

use laprox_experiments::pivot::Pivot;
use laprox_experiments::table::{Best, Cell, Table};

fn shown(pivot: &Pivot<&str, u32, f64>) -> Table {
    let cell = |_: &u32, value: Option<&f64>| Cell::number(value.copied(), 1);
    pivot.table("", ["name"], |line| [(*line).to_owned()], u32::to_string, cell)
}

#[test]
fn lines_come_as_they_are_put_in_and_given_columns_first() {
    let mut pivot = Pivot::with_columns(vec![20, 10]);
    for (line, column, value) in [("b", 30, 3.0), ("a", 10, 1.0), ("b", 20, 2.0), ("a", 10, 1.5)] {
        *pivot.entry(line, column) = Some(value);
    }
    assert_eq!(pivot.get(&"a", &10), Some(&1.5), "the later value counts");
    assert_eq!(pivot.get(&"a", &20), None);
    let table = shown(&pivot);
    assert_eq!(table.columns, ["20", "10", "30"]);
    let line = |place: usize| table.lines[place].cells.iter().map(|cell| &*cell.text).collect::<Vec<_>>();
    assert_eq!((&*table.lines[0].labels[0], line(0)), ("b", vec!["2.0", "-", "3.0"]));
    assert_eq!((&*table.lines[1].labels[0], line(1)), ("a", vec!["-", "1.5", "-"]));
}

#[test]
fn a_line_may_have_no_value() {
    let mut pivot = Pivot::with_columns(vec![10]);
    *pivot.entry("a", 10) = None;
    assert_eq!((pivot.lines(), pivot.values().count()), (vec![&"a"], 0));
    assert_eq!(shown(&pivot).lines[0].cells[0].text, "-");
}

#[test]
fn a_page_escapes_bars_and_a_terminal_does_not() {
    let mut table = Table::new("", ["what"], ["one", "two"]);
    table.push(["|E|"], vec![Cell::number(Some(1.0), 0), Cell::number(Some(2.0), 0)]);
    let table = table.best_of_lines(Best::Least);
    assert_eq!(
        table.markdown(),
        "| what  |   one | two |\n|-------|-------|-----|\n| \\|E\\| | **1** |   2 |"
    );
    assert_eq!(table.to_string(), "| what |   one | two |\n|------|-------|-----|\n| |E|  | **1** |   2 |");
}
