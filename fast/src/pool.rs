//! Smoothing over neighbouring candidates. The loops are plain: the compiler vectorises them for the kernel that inlines them.

use laprox_reference::Pooling;

/// The number of neighbours on either side.
#[must_use]
pub fn reach(pooling: Pooling) -> usize {
    match pooling {
        Pooling::None => 0,
        Pooling::Average(kernel) | Pooling::Max(kernel) => kernel / 2,
    }
}

/// The number that stands for a neighbour outside the candidates.
#[must_use]
pub fn outside(pooling: Pooling) -> f64 {
    if matches!(pooling, Pooling::Max(_)) { f64::NEG_INFINITY } else { 0.0 }
}

/// Pools `scores`, which hold [`reach`] more numbers on either side. The result is that of [`Pooling::apply`], to the bit.
#[inline(always)]
pub fn pool(pooling: Pooling, scores: &[f64], pooled: &mut [f64]) {
    match pooling {
        Pooling::None => pooled.copy_from_slice(scores),
        Pooling::Average(kernel) => {
            join_neighbours(kernel, scores, pooled, |sum, score| sum + score);
            divide(pooled, kernel as f64);
        }
        Pooling::Max(kernel) => join_neighbours(kernel, scores, pooled, f64::max),
    }
}

/// Divides finite numbers by a count without division instructions, which take many times longer.
///
/// The product with the inverse is off by one unit in the last place at most. The remainder, if f64 holds it, corrects it to
/// the rounded quotient (Markstein 1990).
#[inline(always)]
pub fn divide(numbers: &mut [f64], count: f64) {
    let inverse = 1.0 / count;
    for number in numbers {
        let quotient = *number * inverse;
        let rest = quotient.mul_add(-count, *number);
        *number = rest.mul_add(inverse, quotient);
    }
}

#[inline(always)]
fn join_neighbours(kernel: usize, scores: &[f64], pooled: &mut [f64], join: impl Fn(f64, f64) -> f64) {
    pooled.copy_from_slice(&scores[..pooled.len()]);
    // Kernels are odd.
    for neighbour in (1..kernel).step_by(2) {
        let (near, far) = (&scores[neighbour..], &scores[neighbour + 1..]);
        for ((pooled, &near), &far) in pooled.iter_mut().zip(near).zip(far) {
            *pooled = join(join(*pooled, near), far);
        }
    }
}
