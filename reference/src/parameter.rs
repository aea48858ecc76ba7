//! Numbers that a policy or an allocation is tuned by: declared where they are used, stored by name.

/// A number with a name, a range and a default; `alpha=0.2` in the policy syntax.
#[derive(Debug)]
pub struct Parameter {
    /// The key in the policy syntax.
    pub name: &'static str,
    /// The least value.
    pub least: f64,
    /// The largest value.
    pub most: f64,
    /// The value where none is given.
    pub default: f64,
}

impl Parameter {
    /// Reads a value of the range.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn parse(&self, text: &str) -> Result<f64, String> {
        let number = text.parse().ok().filter(|number| (self.least..=self.most).contains(number));
        // Adding zero makes -0 and 0 one value.
        number
            .map(|number: f64| number + 0.0)
            .ok_or_else(|| format!("expected a number from {} to {}, found {text}", self.least, self.most))
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

    /// All as they are by default.
    pub const DEFAULT: Self = Self { given: [FREE; Self::MOST] };

    /// The value of one.
    #[must_use]
    pub fn get(&self, parameter: &Parameter) -> f64 {
        let given = self.given.iter().find(|(name, _)| *name == parameter.name);
        given.map_or(parameter.default, |(_, bits)| f64::from_bits(*bits))
    }

    /// The same with one set.
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

    /// The same with one as it is by default.
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
