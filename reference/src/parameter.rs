//! Named numbers that tune a policy or an allocation. The file that reads a number declares it.

/// A number with a name, a range and a default; `alpha=0.2` in the policy syntax.
#[derive(Debug)]
pub struct Parameter {
    /// The key in the policy syntax.
    pub name: &'static str,
    /// The least value.
    pub least: f64,
    /// The largest value.
    pub most: f64,
    /// The value if none is given.
    pub default: f64,
    /// Whether every value is a whole number.
    pub whole: bool,
}

impl Parameter {
    /// A number from `least` to `most`.
    #[must_use]
    pub const fn new(name: &'static str, [least, most]: [f64; 2], default: f64) -> Self {
        Self { name, least, most, default, whole: false }
    }

    /// A whole number from `least` to `most`.
    #[must_use]
    pub const fn whole(name: &'static str, [least, most]: [u32; 2], default: u32) -> Self {
        let [least, most, default] = [least as f64, most as f64, default as f64];
        Self { name, least, most, default, whole: true }
    }

    /// Reads a value and checks its range.
    ///
    /// # Errors
    /// The message says what was expected and found.
    pub fn parse(&self, text: &str) -> Result<f64, String> {
        let allowed = |number: &f64| {
            (self.least..=self.most).contains(number) && (!self.whole || number.fract() == 0.0)
        };
        // Adding zero makes -0 and 0 one value.
        text.parse().ok().filter(allowed).map(|number: f64| number + 0.0).ok_or_else(|| {
            let kind = if self.whole { "a whole number" } else { "a number" };
            format!("expected {kind} from {} to {}, found {text}", self.least, self.most)
        })
    }
}

/// The parameters of a policy that differ from their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// Names and the bits of finite numbers, sorted; an empty name is a free place.
    given: [(&'static str, u64); Self::MOST],
}

impl Parameters {
    /// How many parameters one policy may have.
    pub const MOST: usize = 8;

    /// Every parameter at its default.
    pub const DEFAULT: Self = Self { given: [FREE; Self::MOST] };

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, parameter: &Parameter) -> f64 {
        let given = self.given.iter().find(|(name, _)| *name == parameter.name);
        given.map_or(parameter.default, |(_, bits)| f64::from_bits(*bits))
    }

    /// The same with one parameter set.
    ///
    /// # Panics
    /// When more than [`Parameters::MOST`] differ from their defaults.
    #[must_use]
    pub fn with(mut self, parameter: &Parameter, value: f64) -> Self {
        self = self.without(parameter);
        if value != parameter.default {
            let free = self.given.iter().position(|place| *place == FREE);
            self.given[free.expect("a policy has at most MOST parameters")] =
                (parameter.name, value.to_bits());
            self.given.sort_unstable();
        }
        self
    }

    /// The same with one parameter back at its default.
    #[must_use]
    pub fn without(mut self, parameter: &Parameter) -> Self {
        for place in self.given.iter_mut().filter(|(name, _)| *name == parameter.name) {
            *place = FREE;
        }
        self.given.sort_unstable();
        self
    }
}

const FREE: (&str, u64) = ("", 0);
