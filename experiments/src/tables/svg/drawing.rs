//! Shapes on paper.

/// The end of a text that lies at its place.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture in the making; lengths are pixels, from the upper left.
#[derive(Clone, Debug)]
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

/// About how wide a text is.
pub fn text_width(text: &str) -> f64 {
    6.7 * text.chars().count() as f64
}

/// About how wide a title is.
pub fn title_width(text: &str) -> f64 {
    8.2 * text.chars().count() as f64
}

/// A text that may stand in an attribute or between tags.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Drawing {
    /// Paper of this size.
    pub fn new(width: f64, height: f64) -> Self {
        let mut drawing = Self { width, height, body: String::new() };
        drawing.rect("paper", [0.0, 0.0], [width, height], 1.0);
        drawing
    }

    pub fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.body +=
            &format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
    }

    /// A line through several points.
    pub fn path(&mut self, class: &str, points: &[[f64; 2]]) {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        self.body += &format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    pub fn rect(&mut self, class: &str, [x, y]: [f64; 2], [width, height]: [f64; 2], opacity: f64) {
        self.body += &format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill-opacity=\"{opacity:.3}\"/>"
        );
    }

    pub fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.body += &format!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    /// A text from the bottom up, its middle at the place.
    pub fn upright_text(&mut self, [x, y]: [f64; 2], text: &str) {
        let text = escaped(text);
        self.body += &format!(
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{text}</text>"
        );
    }

    /// A mark of the `series`th line: colour and shape are both its own.
    pub fn mark(&mut self, series: usize, [x, y]: [f64; 2]) {
        let shape = match series % 4 {
            0 => format!("<circle class=\"s{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>", series % 8),
            shape => {
                let corners: &[[f64; 2]] = match shape {
                    1 => &[[-3.6, -3.6], [3.6, -3.6], [3.6, 3.6], [-3.6, 3.6]],
                    2 => &[[0.0, -4.6], [4.4, 3.4], [-4.4, 3.4]],
                    _ => &[[0.0, -5.0], [5.0, 0.0], [0.0, 5.0], [-5.0, 0.0]],
                };
                let corners: Vec<String> =
                    corners.iter().map(|[dx, dy]| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
                format!("<polygon class=\"s{}\" points=\"{}\"/>", series % 8, corners.join(" "))
            }
        };
        self.body += &shape;
    }

    /// The picture, with a name that is read aloud.
    pub fn finish(self, title: &str, style: &str) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" role=\"img\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\"><title>{}</title>{style}{}</svg>",
            escaped(title),
            self.body
        )
    }
}
