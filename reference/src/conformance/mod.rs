//! The claims that every path must satisfy: strategies for the inputs, derived bounds, and one test body.
//!
//! A path subscribes with one line in a test file of its crate:
//!
//! ```text
//! laprox_reference::conforms!(fast, paths());
//! ```
//!
//! where `paths()` lists its [`Path`]s, for example one for each instruction set. Whole-number problems must come out equal
//! to the bit, all others within bounds that follow from the path's own [`Arithmetic`]. [`sample`] holds real layers to the same bounds.

pub mod arithmetic;
pub mod body;
pub mod compare;
pub mod problem;
pub mod rounding;
pub mod sample;
pub mod whole;

use crate::backend::Backend;

pub use arithmetic::Arithmetic;
pub use rounding::Bounds;

/// One implementation and its arithmetic.
pub struct Path {
    /// Its name in failures.
    pub name: String,
    /// The implementation.
    pub backend: Box<dyn Backend>,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// Sizes of its tiles and blocks, whose neighbours are tried.
    pub tiles: Vec<usize>,
}

/// Tests that the paths of `$paths` satisfy every claim of [`body`], in a module `$name`.
#[macro_export]
macro_rules! conforms {
    ($name:ident, $paths:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the paths may come from anywhere")]
            use super::*;

            $crate::conforms!(@tests $paths,
                whole_number_scores_are_equal_to_the_bit,
                whole_number_errors_are_equal_to_the_bit,
                scores_are_within_their_bounds,
                scores_of_sharp_rows_are_within_their_bounds,
                scores_of_tiles_and_their_neighbours_are_within_their_bounds,
                errors_are_within_their_bounds,
                errors_of_tiles_and_their_neighbours_are_within_their_bounds,
                retained_sets_agree_up_to_near_ties,
                scores_do_not_depend_on_what_is_shared,
                halves_and_singles_score_like_the_doubles_they_are,
                a_rank_deficient_projection_is_within_its_bounds,
                a_set_of_another_size_is_refused,
            );
        }
    };
    (@tests $paths:expr, $($claim:ident,)*) => {
        $(
            #[test]
            fn $claim() {
                $crate::conformance::body::$claim(&$paths);
            }
        )*
    };
}
