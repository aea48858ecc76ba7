//! Lines over named places.

use super::axis::Axis;
use super::drawing::{Anchor, Drawing, text_width, title_width};
use crate::statistics::Estimate;
use crate::tables::Lines;

const LEFT: f64 = 70.0;
const TOP: f64 = 44.0;
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 290.0;
const LEGEND_LINE: f64 = 20.0;

pub(super) fn drawn(lines: &Lines) -> Drawing {
    let names =
        lines.series.iter().map(|(name, _)| name).chain(lines.reference.as_ref().map(|(name, _)| name));
    let legend = names.map(|name| text_width(name)).fold(0.0, f64::max) + 60.0;
    let width = (LEFT + WIDTH + legend).max(title_width(&lines.title) + 24.0);
    let rows = lines.series.len() + usize::from(lines.reference.is_some());
    let height = TOP + HEIGHT.max(rows as f64 * LEGEND_LINE) + 54.0;
    let mut drawing = Drawing::new(width, height);
    drawing.text("title", [12.0, 24.0], Anchor::Start, &lines.title);
    let axis = frame(&mut drawing, lines);
    if let Some((_, number)) = lines.reference {
        let y = axis.place(number);
        drawing.line("reference", [LEFT, y], [LEFT + WIDTH, y]);
    }
    for series in 0..lines.series.len() {
        draw(&mut drawing, lines, &axis, series);
    }
    key(&mut drawing, lines);
    drawing
}

/// The axes with their ticks and names.
fn frame(drawing: &mut Drawing, lines: &Lines) -> Axis {
    let bottom = TOP + HEIGHT;
    let points = lines.series.iter().flat_map(|(_, points)| points.iter().flatten());
    let reference = lines.reference.as_ref().map(|(_, number)| *number);
    let numbers: Vec<f64> = points.flat_map(extent).chain(reference).collect();
    let axis = if far_apart(&numbers) { Axis::logarithmic } else { Axis::linear };
    let axis = axis(numbers.iter().copied(), bottom, TOP);
    for (number, text) in axis.ticks() {
        let y = axis.place(number);
        drawing.line("grid", [LEFT, y], [LEFT + WIDTH, y]);
        drawing.text("small", [LEFT - 8.0, y + 4.0], Anchor::End, &text);
    }
    drawing.line("axis", [LEFT, TOP], [LEFT, bottom]);
    drawing.line("axis", [LEFT, bottom], [LEFT + WIDTH, bottom]);
    for (place, name) in lines.places.iter().enumerate() {
        let x = x(lines, place);
        drawing.line("axis", [x, bottom], [x, bottom + 5.0]);
        drawing.text("small", [x, bottom + 19.0], Anchor::Middle, name);
    }
    drawing.text("", [LEFT + WIDTH / 2.0, bottom + 40.0], Anchor::Middle, &lines.x_label);
    drawing.upright_text([18.0, TOP + HEIGHT / 2.0], &lines.y_label);
    axis
}

/// Whether the least number would lie on the bottom of a linear axis.
fn far_apart(numbers: &[f64]) -> bool {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = numbers.iter().copied().fold(0.0, f64::max);
    least > 0.0 && greatest > 50.0 * least
}

fn extent(point: &Estimate) -> Vec<f64> {
    [point.value].into_iter().chain(point.interval.into_iter().flatten()).collect()
}

/// Places are in the middle of equal parts.
fn x(lines: &Lines, place: usize) -> f64 {
    LEFT + WIDTH * (place as f64 + 0.5) / lines.places.len().max(1) as f64
}

/// One line with its marks; beside the others by a little, so that intervals do not hide each other.
fn draw(drawing: &mut Drawing, lines: &Lines, axis: &Axis, series: usize) {
    let aside = 5.0 * (series as f64 - (lines.series.len() as f64 - 1.0) / 2.0);
    let (_, points) = &lines.series[series];
    let there =
        points.iter().enumerate().filter_map(|(place, point)| Some((x(lines, place) + aside, (*point)?)));
    let there: Vec<(f64, Estimate)> = there.collect();
    let places: Vec<[f64; 2]> = there.iter().map(|(x, point)| [*x, axis.place(point.value)]).collect();
    drawing.path(&class(series), &places);
    for ((x, point), place) in there.iter().zip(&places) {
        if let Some([low, high]) = point.interval {
            let class = format!("s{} whisker", series % 8);
            drawing.line(&class, [*x, axis.place(low)], [*x, axis.place(high)]);
        }
        drawing.mark(series, *place);
    }
}

/// Beyond eight lines colours come again, dashed.
fn class(series: usize) -> String {
    format!("s{} line{}", series % 8, if series < 8 { "" } else { " dashed" })
}

fn key(drawing: &mut Drawing, lines: &Lines) {
    let left = LEFT + WIDTH + 16.0;
    let y = |row: usize| TOP + 10.0 + row as f64 * LEGEND_LINE;
    for (row, (name, _)) in lines.series.iter().enumerate() {
        drawing.path(&class(row), &[[left, y(row)], [left + 26.0, y(row)]]);
        drawing.mark(row, [left + 13.0, y(row)]);
        drawing.text("", [left + 34.0, y(row) + 4.0], Anchor::Start, name);
    }
    if let Some((name, _)) = &lines.reference {
        let y = y(lines.series.len());
        drawing.line("reference", [left, y], [left + 26.0, y]);
        drawing.text("", [left + 34.0, y + 4.0], Anchor::Start, name);
    }
}
