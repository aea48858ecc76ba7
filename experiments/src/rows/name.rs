//! Columns that stay names: a file may hold some that this build does not know.

use std::borrow::Cow;
use std::fmt;

use laprox_reference::Policy;
use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        pub struct $name(Cow<'static, str>);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A policy's name, with all options that differ from its defaults: `laprox:pool=none`.
    PolicyName
}

name! {
    /// A metric's name. Benchmarks bring their own; those that tables know are named here.
    MetricName
}

impl PolicyName {
    /// The full cache.
    pub const FULL: Self = Self(Cow::Borrowed("full"));
    /// The method under study, with its defaults.
    pub const LAPROX: Self = Self(Cow::Borrowed("laprox"));
}

impl From<&Policy> for PolicyName {
    fn from(policy: &Policy) -> Self {
        Self(policy.to_string().into())
    }
}

impl MetricName {
    /// The negative log-likelihood of a text's next tokens, in nats per token.
    pub const NLL: Self = Self(Cow::Borrowed("nll"));
    /// The KL divergence from the full cache's predictions, in nats per token.
    pub const KL: Self = Self(Cow::Borrowed("kl"));
    /// The share of tokens at which the most probable one is the full cache's.
    pub const AGREEMENT: Self = Self(Cow::Borrowed("agreement"));
    /// The share of the reference that the answer begins with: partial credit beside the score of the same answer.
    pub const PREFIX: Self = Self(Cow::Borrowed("prefix"));
    /// The seconds of the prefill.
    pub const PREFILL_SECONDS: Self = Self(Cow::Borrowed("prefill s"));
    /// The seconds that scoring takes; the full value is the prefill's.
    pub const SCORE_SECONDS: Self = Self(Cow::Borrowed("score s"));
    /// Decoded tokens per second.
    pub const DECODE_SPEED: Self = Self(Cow::Borrowed("decode tokens/s"));
}

impl From<&'static str> for MetricName {
    fn from(name: &'static str) -> Self {
        Self(name.into())
    }
}
