//! One kind of table, one file.

mod ablation;
mod accuracy;
mod bounds;
mod fidelity;
mod needle;
mod oracle_gap;
mod overhead;
mod prediction;

use anyhow::{Context, Result, bail};

use crate::tables::{Config, Content, Source};

/// A table that can be asked for by name.
pub struct Kind {
    /// The name.
    pub name: &'static str,
    /// Its question and claims.
    pub toml: &'static str,
    /// Makes it of its sources.
    pub build: fn(&Config, &[Source], u64) -> Result<Content>,
}

/// A kind by the names of its file and of its configuration.
macro_rules! kind {
    ($name:ident) => {
        Kind {
            name: stringify!($name),
            toml: include_str!(concat!("../../../tables/", stringify!($name), ".toml")),
            build: $name::build,
        }
    };
}

/// Every table, in the order of the report.
pub static KINDS: [Kind; 8] = [
    kind!(accuracy),
    kind!(needle),
    kind!(fidelity),
    kind!(prediction),
    kind!(ablation),
    kind!(oracle_gap),
    kind!(bounds),
    kind!(overhead),
];

impl Kind {
    /// The question and the claims.
    ///
    /// # Errors
    /// Never, as long as the committed file is a right one.
    pub fn config(&self) -> Result<Config> {
        toml::from_str(self.toml).with_context(|| format!("tables/{}.toml", self.name))
    }
}

/// The tables that were asked for, in the order of the report; all by default.
///
/// # Errors
/// When there is none of a name.
pub fn named(names: &[String]) -> Result<Vec<&'static Kind>> {
    if let Some(unknown) = names.iter().find(|name| !KINDS.iter().any(|kind| kind.name == **name)) {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        bail!("table '{unknown}': expected one of {}", known.join(", "));
    }
    let asked = |kind: &&Kind| names.is_empty() || names.iter().any(|name| name == kind.name);
    Ok(KINDS.iter().filter(asked).collect())
}
