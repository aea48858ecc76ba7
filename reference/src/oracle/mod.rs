//! Oracles: the best eviction, or a set with a proof of how far it is from the best.
//!
//! The eviction with the least `drop` error solves
//!
//! ```text
//! minimise   f(x) = norm_F(sum_h (A_h diag x) B_h)^2 = x^T M x
//! subject to x in {0, 1}^N,  sum x = m
//! ```
//!
//! over the `N` candidates of a layer, or of all layers under one budget (their squared errors add), with `m`
//! candidates to evict. `M` is positive semidefinite, so letting `x` range over `[0, 1]` leaves a convex problem, whose
//! solution bounds every set from below. The search runs
//!
//! ```text
//! a policy's set -> swaps -> relaxation -> rounding -> swaps -> branching, until bound and error meet
//! [`swap`]                   [`relax`]                 [`branch`]
//! ```
//!
//! [`gram`] computes the product `M x`, and [`bound`] explains why the bounds hold in floating point. [`mod@exhaustive`]
//! checks small problems. [`renormalised`] searches by swaps only, because its objective is not a quadratic form. [`centred`] is the quadratic
//! form nearest to it.

pub mod active_set;
pub mod block;
pub mod bound;
pub mod branch;
pub mod centred;
pub mod convexify;
pub mod exhaustive;
pub mod gram;
pub mod relax;
pub mod renormalised;
pub mod stop;
pub mod swap;

pub use branch::{Certified, Limits, certify};
pub use exhaustive::exhaustive;
pub use gram::{LayerGram, PairGram, Rows, StackedGram};
pub use stop::Stop;
pub use swap::Eviction;
