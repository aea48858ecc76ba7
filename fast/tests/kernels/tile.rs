//! A tile refuses rows and panels that end before its sums do.

use std::panic::{AssertUnwindSafe, catch_unwind};

use laprox_fast::Level;
use laprox_fast::simd::{ROWS, Rows, tile};
use pulp::{Simd, WithSimd};

/// A product of one column of a panel of six registers.
struct Product<'a> {
    rows: Rows<'a>,
    stride: usize,
    len: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let panel = [simd.splat_f32s(1.0); 6];
        let mut sums = [[simd.splat_f32s(0.0)]; ROWS];
        tile::<S, f32, 1, 1>(simd, self.rows, &panel, self.stride, self.len, &mut sums);
    }
}

/// The largest number whose double wraps around to 0.
const HALF: usize = 1 << (usize::BITS - 1);

fn refusal(rows: Rows<'_>, stride: usize, len: usize) -> Vec<Option<String>> {
    let refused = |level: Level| {
        let product = AssertUnwindSafe(|| level.run(Product { rows, stride, len }));
        catch_unwind(product)
            .err()
            .and_then(|panic| panic.downcast::<&str>().ok())
            .map(|text| text.to_string())
    };
    Level::all().into_iter().map(refused).collect()
}

#[test]
fn sizes_that_fit_are_not_refused() {
    let data = [1.0; 12];
    assert!(refusal(Rows::new(&data, 0, 6, 2, 1), 5, 2).iter().all(Option::is_none));
    assert!(refusal(Rows::new(&data, 4, 6, 2, 1).from(1), 1, 1).iter().all(Option::is_none));
}

/// Each of these would pass if its product wrapped around.
#[test]
fn sizes_that_overflow_are_refused() {
    let data = [1.0; 12];
    let rows = [
        (Rows::new(&data, 2, 3, HALF, 1), 1),
        (Rows::new(&data, 0, 1, 0, HALF), 3),
        (Rows::new(&data, 0, 1, 0, HALF).from(2), 1),
        (Rows::new(&data, 1, 2, 1, usize::MAX), 2),
        (Rows::new(&data, 1, 2, 1, 1).from(usize::MAX), 1),
    ];
    for (rows, len) in rows {
        for text in refusal(rows, 1, len) {
            assert_eq!(text.as_deref(), Some("rows end before the sum does"), "{rows:?}, {len}");
        }
    }
    for text in refusal(Rows::new(&data, 0, 1, 0, 1), HALF, 3) {
        assert_eq!(text.as_deref(), Some("a panel ends before the sum does"));
    }
}

#[test]
#[should_panic(expected = "at least one row")]
fn a_tile_of_no_rows_is_refused() {
    let _ = Rows::new(&[1.0], 0, 0, 1, 1);
}
