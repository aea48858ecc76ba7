//! How many entries a KV head may keep on average, the window included.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// `b - w`: the candidates that a KV head keeps, on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidatesPerHead(pub usize);

impl CandidatesPerHead {
    /// `b`: the same with the window's `w` entries.
    #[must_use]
    pub fn with_window(self, window_len: usize) -> EntriesPerHead {
        EntriesPerHead(self.0 + window_len)
    }
}

/// `b`: the entries that a KV head keeps on average, the window included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntriesPerHead(pub usize);

/// `b`: a number of entries per KV head, or a fraction of the context.
///
/// A fraction keeps the decimal as it was written, so that rounding half up is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Budget {
    /// Entries per KV head on average, window included.
    Tokens(usize),
    /// `parts / whole` of the context length.
    Fraction {
        /// Numerator.
        parts: u64,
        /// Denominator, a power of ten.
        whole: u64,
    },
}

impl Budget {
    /// `b` for a context of `n` and a window of `w`: `n` if everything is kept, otherwise `w < b < n`.
    ///
    /// # Errors
    /// [`Error::Budget`] when `b <= w` and `b < n`.
    pub fn resolve(&self, context_len: usize, window_len: usize) -> Result<EntriesPerHead> {
        let tokens = match *self {
            Self::Tokens(tokens) => tokens,
            Self::Fraction { parts, whole } => round_half_up(context_len, parts, whole),
        };
        if tokens >= context_len {
            Ok(EntriesPerHead(context_len))
        } else if tokens <= window_len {
            Err(Error::Budget {
                budget: self.to_string(),
                reason: format!(
                    "keeps {tokens} of {context_len} entries, expected more than the window of {window_len}"
                ),
            })
        } else {
            Ok(EntriesPerHead(tokens))
        }
    }

    /// `b - w`, the candidates kept per KV head on average.
    ///
    /// # Errors
    /// As [`Budget::resolve`].
    pub fn candidates_per_head(&self, context_len: usize, window_len: usize) -> Result<CandidatesPerHead> {
        Ok(CandidatesPerHead(self.resolve(context_len, window_len)?.0 - window_len))
    }
}

/// `floor(n * parts / whole + 1/2)`, exactly.
fn round_half_up(n: usize, parts: u64, whole: u64) -> usize {
    let doubled = 2 * n as u128 * u128::from(parts) + u128::from(whole);
    usize::try_from(doubled / (2 * u128::from(whole))).unwrap_or(usize::MAX)
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tokens(tokens) => write!(f, "{tokens}"),
            Self::Fraction { parts, whole } => {
                let hundredfold = u128::from(parts) * 100;
                let (percent, rest) = (hundredfold / u128::from(whole), hundredfold % u128::from(whole));
                if rest == 0 {
                    write!(f, "{percent}%")
                } else {
                    let digits = whole.ilog10() as usize;
                    let decimals = format!("{rest:0digits$}");
                    write!(f, "{percent}.{}%", decimals.trim_end_matches('0'))
                }
            }
        }
    }
}

impl FromStr for Budget {
    type Err = Error;

    /// `128` is tokens; `5%` and `0.05` are the same fraction of the context.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::Budget {
            budget: text.to_owned(),
            reason: "expected tokens (128), a percentage (5%) or a fraction (0.05)".into(),
        };
        let budget = match text.strip_suffix('%') {
            Some(percent) => fraction(percent, 2),
            None if text.contains('.') => fraction(text, 0),
            None => text.parse().ok().filter(|_| !text.starts_with('+')).map(Self::Tokens),
        };
        match budget.ok_or_else(refuse)? {
            Self::Fraction { parts, whole } if parts == 0 || parts > whole => Err(Error::Budget {
                budget: text.to_owned(),
                reason: "expected a fraction above 0 and at most 100%".into(),
            }),
            budget => Ok(budget),
        }
    }
}

/// Reads a plain decimal and divides it by `10^shift`.
fn fraction(decimal: &str, shift: u32) -> Option<Budget> {
    let (integer, decimals) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = format!("{integer}{decimals}");
    if digits.is_empty() || decimals.len() > 16 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()? + shift)?;
    Some(reduce(digits.parse().ok()?, whole))
}

/// Drops common factors of ten, so that `5%` and `0.050` are one value.
fn reduce(mut parts: u64, mut whole: u64) -> Budget {
    while parts.is_multiple_of(10) && whole.is_multiple_of(10) {
        parts /= 10;
        whole /= 10;
    }
    Budget::Fraction { parts, whole }
}
