//! Borrowed tensors in the precision of their capture.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};

/// Numbers as they lie in a file or in memory. A path converts them when it needs them.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// IEEE half precision.
    F16(&'a [f16]),
    /// IEEE single precision.
    F32(&'a [f32]),
    /// IEEE double precision.
    F64(&'a [f64]),
}

impl<'a> Elements<'a> {
    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of `range`.
    ///
    /// # Panics
    /// When `range` is out of bounds.
    #[must_use]
    #[inline]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Elements<'a> {
        match self {
            Self::F16(values) => Elements::F16(&values[range]),
            Self::F32(values) => Elements::F32(&values[range]),
            Self::F64(values) => Elements::F64(&values[range]),
        }
    }

    /// Every number, widened exactly, in order.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F16(values) => {
                let mut wide = vec![0.0; values.len()];
                values.convert_to_f64_slice(&mut wide);
                wide
            }
            Self::F32(values) => values.iter().map(|&v| f64::from(v)).collect(),
            Self::F64(values) => values.to_vec(),
        }
    }

    /// The first index whose number is NaN or infinite.
    #[must_use]
    pub fn first_non_finite(&self) -> Option<usize> {
        match self {
            Self::F16(values) => first_not(values, f16::is_finite),
            Self::F32(values) => first_not(values, f32::is_finite),
            Self::F64(values) => first_not(values, f64::is_finite),
        }
    }
}

/// The first index whose value fails the test. Whole blocks are tested at once, which costs fewer instructions than an
/// early stop saves.
fn first_not<T: Copy>(values: &[T], is: impl Fn(T) -> bool) -> Option<usize> {
    const BLOCK: usize = 1024;
    let all = |block: &&[T]| block.iter().fold(true, |all, &value| all & is(value));
    let block = values.chunks(BLOCK).position(|block| !all(&block))?;
    let within = values[block * BLOCK..].iter().position(|&value| !is(value))?;
    Some(block * BLOCK + within)
}

/// A C-ordered tensor `[N0, .., Nk]`: elements whose count is the product of the extents.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a, const RANK: usize> {
    shape: [usize; RANK],
    elements: Elements<'a>,
}

impl<'a, const RANK: usize> TensorView<'a, RANK> {
    /// Pairs elements with their extents.
    ///
    /// # Errors
    /// [`Error::Shape`] when the count of the elements is not the product of the extents.
    pub fn new(shape: [usize; RANK], elements: Elements<'a>) -> Result<Self> {
        let count = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        if count == Some(elements.len()) {
            Ok(Self { shape, elements })
        } else {
            let found = format_args!("{} elements", elements.len());
            Err(Error::shape("tensor", format_args!("{shape:?}"), found))
        }
    }

    /// The extents.
    #[must_use]
    pub fn shape(&self) -> [usize; RANK] {
        self.shape
    }

    /// The numbers in C order.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        self.elements
    }

    /// The numbers of entry `index` of the first axis, in C order.
    ///
    /// # Panics
    /// When `index` is not below the first extent.
    #[must_use]
    pub fn outer(&self, index: usize) -> Elements<'a> {
        let len: usize = self.shape[1..].iter().product();
        self.elements.slice(index * len..(index + 1) * len)
    }
}
