//! One dot per line, with its interval.

use super::axis::Axis;
use super::drawing::{Anchor, Drawing, text_width, title_width};
use crate::tables::Dots;

const TOP: f64 = 44.0;
const LINE: f64 = 20.0;
const WIDTH: f64 = 400.0;

pub(super) fn drawn(dots: &Dots) -> Drawing {
    let left = dots.dots.iter().map(|(name, _)| text_width(name)).fold(40.0, f64::max) + 24.0;
    let bottom = TOP + LINE * dots.dots.len() as f64 + 10.0;
    let width = (left + WIDTH + 90.0).max(title_width(&dots.title) + 24.0);
    let mut drawing = Drawing::new(width, bottom + 54.0);
    drawing.text("title", [12.0, 24.0], Anchor::Start, &dots.title);
    let axis = frame(&mut drawing, dots, left, bottom);
    for (place, (name, point)) in dots.dots.iter().enumerate() {
        let (x, y) = (axis.place(point.value), TOP + LINE * (place as f64 + 0.5));
        drawing.text("", [left - 10.0, y + 4.0], Anchor::End, name);
        if let Some([low, high]) = point.interval {
            drawing.line("s0 whisker", [axis.place(low), y], [axis.place(high), y]);
        }
        drawing.mark(0, [x, y]);
        let value = format!("{:.3}", point.value);
        drawing.text("small", [left + WIDTH + 12.0, y + 4.0], Anchor::Start, &value);
    }
    drawing
}

/// The axis with its ticks and name, and the reference.
fn frame(drawing: &mut Drawing, dots: &Dots, left: f64, bottom: f64) -> Axis {
    let ends =
        dots.dots.iter().flat_map(|(_, point)| point.interval.into_iter().flatten().chain([point.value]));
    let numbers = ends.chain(dots.reference.as_ref().map(|(_, number)| *number));
    let axis = if dots.logarithmic { Axis::logarithmic } else { Axis::linear };
    let axis = axis(&mut numbers.into_iter() as &mut dyn Iterator<Item = f64>, left, left + WIDTH);
    for (number, text) in axis.ticks() {
        let x = axis.place(number);
        drawing.line("grid", [x, TOP], [x, bottom]);
        drawing.text("small", [x, bottom + 17.0], Anchor::Middle, &text);
    }
    drawing.line("axis", [left, bottom], [left + WIDTH, bottom]);
    drawing.text("", [left + WIDTH / 2.0, bottom + 38.0], Anchor::Middle, &dots.x_label);
    if let Some((name, number)) = &dots.reference {
        let x = axis.place(*number);
        drawing.line("reference", [x, TOP], [x, bottom]);
        drawing.text("small", [x, TOP - 5.0], Anchor::Middle, name);
    }
    axis
}
