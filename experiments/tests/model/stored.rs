//! Every format's numbers and products against ggml's own widening and sums in f64.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use laprox_experiments::model::{ELEMENTS, Matrix};
use laprox_fast::Level;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn numbers(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Random numbers in a format, and what the tensor library widens its bytes to.
fn random(element: GgmlDType, [rows, columns]: [usize; 2], seed: u64) -> (Matrix, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let numbers = Tensor::from_vec(numbers(rows * columns, &mut rng), (rows, columns), &Device::Cpu).unwrap();
    let stored = QTensor::quantize(&numbers, element).unwrap();
    let widened = stored.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let matrix = Matrix::owned(stored.data().unwrap().into_owned(), element, [rows, columns]);
    (matrix, widened)
}

/// Columns that are one block, several, no whole chunk, and, where the blocks allow it, no whole register.
fn columns(element: GgmlDType) -> Vec<usize> {
    match element.block_size() {
        1 => vec![1, 15, 16, 17, 255, 257, 600],
        32 => vec![32, 96, 256, 288, 576],
        block => vec![block, 2 * block, 3 * block],
    }
}

#[test]
fn every_format_widens_as_the_tensor_library_widens_it_to_the_bit() {
    for element in ELEMENTS {
        let (matrix, expected) = random(element, [5, *columns(element).last().unwrap()], 1);
        assert_eq!(matrix.numbers(), expected, "{element:?}");
    }
}

/// Scales and quantised numbers that no quantisation makes: each byte on its own, and no scale beyond f16's largest.
#[test]
fn blocks_of_any_bytes_widen_as_the_tensor_library_widens_them() {
    for element in ELEMENTS {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let columns = 256 * 4;
        let len = columns / element.block_size() * element.type_size();
        // No half of two such bytes is infinite or NaN.
        let bytes: Vec<u8> = (0..len).map(|_| rng.random_range(0..=0xff_u8) & 0xbb).collect();
        let stored = candle_core::quantized::ggml_file::qtensor_from_ggml(
            element,
            &bytes,
            vec![1, columns],
            &Device::Cpu,
        );
        let expected: Vec<f32> =
            stored.unwrap().dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let found = Matrix::owned(bytes, element, [1, columns]).numbers();
        assert_eq!(found, expected, "{element:?}");
    }
}

#[test]
fn an_infinite_scale_is_not_lost() {
    for scale in [0x7c00_u16, 0xfc00, 0x7e00] {
        let mut block = [1_u8; 18];
        block[..2].copy_from_slice(&scale.to_le_bytes());
        let numbers = Matrix::owned(block.to_vec(), GgmlDType::Q4_0, [1, 32]).numbers();
        assert!(numbers.iter().all(|number| !number.is_finite()), "{numbers:?}");
    }
}

/// A sum of `k` products is off by at most `k u` of their magnitude: every order and every fusion of them.
fn assert_products(found: &[f32], x: &[f32], weights: &[f32], columns: usize, what: &str) {
    let rows = weights.len() / columns;
    assert_eq!(found.len(), x.len() / columns * rows, "{what}");
    let unit = f64::from(f32::EPSILON) / 2.0;
    for (i, x) in x.chunks_exact(columns).enumerate() {
        for (j, weights) in weights.chunks_exact(columns).enumerate() {
            let terms = || x.iter().zip(weights).map(|(&x, &w)| f64::from(x) * f64::from(w));
            let bound = columns as f64 * unit * terms().map(f64::abs).sum::<f64>();
            let error = (f64::from(found[i * rows + j]) - terms().sum::<f64>()).abs();
            assert!(error <= bound, "{what}, row {i}, weight row {j}: {error} uses more than {bound}");
        }
    }
}

#[test]
fn products_of_every_format_are_those_of_the_widened_matrix() {
    let counts = (1..=17).chain([31, 32, 33, 70]);
    for element in ELEMENTS {
        for columns in columns(element) {
            for (rows, count) in [1, 3, 4, 5, 67].into_iter().cycle().zip(counts.clone()) {
                let (matrix, weights) = random(element, [rows, columns], 2);
                let x = numbers(count * columns, &mut ChaCha8Rng::seed_from_u64(count as u64));
                for level in Level::all() {
                    let what = format!("{element:?} [{rows}, {columns}], {count} rows, {level}");
                    assert_products(&matrix.product_at(level, &x), &x, &weights, columns, &what);
                }
            }
        }
    }
}

#[test]
fn a_row_of_few_has_the_same_product_in_any_company() {
    for element in ELEMENTS {
        let columns = *columns(element).last().unwrap();
        let (matrix, _) = random(element, [37, columns], 3);
        let x = numbers(32 * columns, &mut ChaCha8Rng::seed_from_u64(4));
        let together = matrix.product(&x);
        let alone: Vec<f32> = x.chunks_exact(columns).flat_map(|x| matrix.product(x)).collect();
        assert_eq!(together, alone, "{element:?}");
    }
}

#[test]
fn products_do_not_depend_on_the_form_or_the_number_of_threads() {
    for element in ELEMENTS {
        let columns = *columns(element).last().unwrap();
        let (matrix, _) = random(element, [300, columns], 5);
        let widened = matrix.widened();
        for count in [1, 5, 40] {
            let x = numbers(count * columns, &mut ChaCha8Rng::seed_from_u64(6));
            let expected = matrix.product(&x);
            assert_eq!(widened.product(&x), expected, "{element:?}, {count} rows");
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(pool.install(|| matrix.product(&x)), expected, "{element:?}, {threads} threads");
            }
        }
    }
}
