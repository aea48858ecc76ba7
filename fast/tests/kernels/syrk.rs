//! The Gram matrix of whole numbers is exact.

use half::f16;
use laprox_fast::Level;
use laprox_fast::simd::syrk::Gram;
use laprox_reference::Elements;

#[test]
fn whole_numbers_have_the_exact_gram_matrix_at_every_level_and_in_every_format() {
    for (len, count) in [(1, 1), (5, 3), (31, 127), (32, 128), (33, 129), (70, 300), (3, 0)] {
        let whole = |i: usize| ((i * i + 7 * i) % 23) as f64 - 11.0;
        let doubles: Vec<f64> = (0..len * count).map(whole).collect();
        let singles: Vec<f32> = doubles.iter().map(|&number| number as f32).collect();
        let halves: Vec<f16> = doubles.iter().map(|&number| f16::from_f64(number)).collect();
        let formats = [Elements::F64(&doubles), Elements::F32(&singles), Elements::F16(&halves)];
        for (level, numbers) in Level::all().into_iter().flat_map(|level| formats.map(|f| (level, f))) {
            let rows: Vec<Elements<'_>> =
                (0..count).map(|row| numbers.slice(row * len..(row + 1) * len)).collect();
            let gram = Gram::new(level, len, &rows, 0.5);
            for (i, j) in (0..len).flat_map(|i| (0..=i).map(move |j| (i, j))) {
                let exact: f64 = doubles.chunks_exact(len).map(|row| row[i] * row[j] / 4.0).sum();
                assert_eq!(gram.entry(i, j), exact, "{level}: ({i}, {j}) of {len} columns, {count} rows");
            }
        }
    }
}
