//! Small heat maps in a grid; every cell has its number.

use super::drawing::{Anchor, Drawing, text_width, title_width};
use crate::tables::{Heat, Panel};

const LEFT: f64 = 58.0;
const TOP: f64 = 66.0;
const CELL: [f64; 2] = [40.0, 20.0];
const NAME: f64 = 20.0;
const BELOW: f64 = 36.0;

pub(super) fn drawn(heat: &Heat) -> Drawing {
    let widest = heat.panels.iter().flatten().map(|panel| text_width(&panel.name)).fold(0.0, f64::max);
    let across = (CELL[0] * heat.xs.len() as f64).max(widest) + 22.0;
    let down = NAME + CELL[1] * heat.ys.len() as f64 + BELOW;
    let columns = heat.panels.iter().map(Vec::len).max().unwrap_or(0);
    let explained =
        format!("in percent; from left to right: {}; from top to bottom: {}", heat.x_label, heat.y_label);
    let texts = title_width(&heat.title).max(text_width(&explained)) + 24.0;
    let width = (LEFT + across * columns as f64).max(texts);
    let mut drawing = Drawing::new(width, TOP + down * heat.panels.len() as f64);
    drawing.text("title", [12.0, 24.0], Anchor::Start, &heat.title);
    drawing.text("small", [12.0, 44.0], Anchor::Start, &explained);
    for (row, panels) in heat.panels.iter().enumerate() {
        let y = TOP + down * row as f64;
        for (place, depth) in heat.ys.iter().enumerate() {
            let y = y + NAME + CELL[1] * (place as f64 + 0.5) + 4.0;
            drawing.text("small", [LEFT - 8.0, y], Anchor::End, depth);
        }
        for (column, panel) in panels.iter().enumerate() {
            draw(&mut drawing, heat, panel, [LEFT + across * column as f64, y]);
        }
    }
    drawing
}

fn draw(drawing: &mut Drawing, heat: &Heat, panel: &Panel, [left, top]: [f64; 2]) {
    drawing.text("", [left, top + 13.0], Anchor::Start, &panel.name);
    for (line, shares) in panel.cells.iter().enumerate() {
        for (column, share) in shares.iter().enumerate() {
            let at = [left + CELL[0] * column as f64, top + NAME + CELL[1] * line as f64];
            cell(drawing, at, *share);
        }
    }
    let bottom = top + NAME + CELL[1] * heat.ys.len() as f64;
    for (column, context) in heat.xs.iter().enumerate() {
        let x = left + CELL[0] * (column as f64 + 0.5);
        drawing.text("small", [x, bottom + 14.0], Anchor::Middle, context);
    }
}

/// A greater share is more opaque; a dash means not measured.
fn cell(drawing: &mut Drawing, [x, y]: [f64; 2], share: Option<f64>) {
    drawing.rect("cell", [x, y], CELL, share.unwrap_or(0.0).clamp(0.0, 1.0));
    let text = share.map_or("-".into(), |share| format!("{:.0}", 100.0 * share));
    let class = if share.is_some_and(|share| share > 0.85) { "small full" } else { "small" };
    drawing.text(class, [x + CELL[0] / 2.0, y + CELL[1] / 2.0 + 4.0], Anchor::Middle, &text);
}
