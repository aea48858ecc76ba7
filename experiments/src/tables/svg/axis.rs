//! The places of numbers on an axis, and its ticks.

/// An axis from one end to the other.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    step: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// From `from` to `to` pixels, with room for all of the numbers. It begins at zero unless all numbers are far from it.
    pub fn linear(numbers: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = range(numbers).unwrap_or((0.0, 1.0));
        let low = if (0.0..=0.4 * high).contains(&low) { 0.0 } else { low };
        let high = if high <= 0.0 && low > 3.0 * high { 0.0 } else { high };
        let (low, high) = if low < high { (low, high) } else { (low - 0.5, high + 0.5) };
        let step = step(low, high);
        // An end that is a tick up to rounding is that tick.
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self { low, high, step, logarithmic: false, from, to }
    }

    /// The same by powers of ten, of numbers above zero.
    pub fn logarithmic(numbers: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Self {
        let numbers = numbers.into_iter().filter(|&number| number > 0.0).map(f64::log10);
        let (low, high) = range(numbers).unwrap_or((0.0, 1.0));
        let (low, high) = ((low + 1e-9).floor(), (high - 1e-9).ceil());
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, step: 1.0, logarithmic: true, from, to }
    }

    /// The pixel of a number.
    pub fn place(&self, number: f64) -> f64 {
        let number = if self.logarithmic { number.log10() } else { number };
        self.from + (number - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The numbers to write, and how.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let step = self.step;
        let count = ((self.high - self.low) / step).round() as usize;
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let tick = |place: usize| {
            let number = self.low + place as f64 * step;
            if self.logarithmic {
                let digits = (-number).max(0.0) as usize;
                return (10_f64.powf(number), format!("{:.digits$}", 10_f64.powf(number)));
            }
            // A zero with a rounding error has no sign.
            let number = if number.abs() < step / 2.0 { 0.0 } else { number };
            (number, format!("{number:.digits$}"))
        };
        (0..=count).map(tick).collect()
    }
}

/// The least and the greatest.
fn range(numbers: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.into_iter().fold(None, |range, number| match range {
        None => Some((number, number)),
        Some((low, high)) => Some((low.min(number), high.max(number))),
    })
}

/// 1, 2 or 5 times a power of ten: between three and seven steps from one end to the other.
fn step(low: f64, high: f64) -> f64 {
    let rough = (high - low) / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|&step| step >= rough).unwrap_or(10.0 * power)
}
