//! The least work of each stage.

use laprox_reference::LayerShape;

/// Flops of a softmax's weight beside its logit: the largest so far, the difference to it, a power of two (three additions and a
/// polynomial of degree 6), the sum, the scaling, and the square for its column's norm.
const SOFTMAX: f64 = 1.0 + 1.0 + (3.0 + 12.0) + 1.0 + 1.0 + 2.0;

/// The work of a stage.
#[derive(Clone, Copy, Default)]
pub struct Work {
    pub flops: f64,
    pub bytes: f64,
}

impl std::ops::Add for Work {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

/// The sizes as floating point numbers.
pub struct Sizes {
    pub heads: f64,
    pub kv_heads: f64,
    pub group: f64,
    pub d: f64,
    pub hidden: f64,
    pub context: f64,
    pub candidates: f64,
    pub window: f64,
}

impl Sizes {
    pub fn new(shape: LayerShape) -> Self {
        Self {
            heads: shape.query_heads as f64,
            kv_heads: shape.kv_heads as f64,
            group: shape.group_size() as f64,
            d: shape.head_dim as f64,
            hidden: shape.hidden_dim as f64,
            context: shape.context_len as f64,
            candidates: shape.candidate_len() as f64,
            window: shape.window_len as f64,
        }
    }

    /// Keys or values in half precision.
    pub fn cached_bytes(&self) -> f64 {
        2.0 * self.kv_heads * self.context * self.d
    }

    /// Logits and their softmax. The result is one f32 per head and candidate.
    pub fn attend(&self) -> Work {
        let weights = self.heads * self.window * self.context;
        Work {
            flops: weights * (2.0 * self.d + SOFTMAX),
            bytes: self.cached_bytes() + 4.0 * self.heads * self.candidates,
        }
    }

    /// Values times a triangle.
    pub fn project(&self) -> Work {
        Work {
            flops: self.heads * self.candidates * self.d * (self.d + 1.0),
            bytes: self.cached_bytes() + 4.0 * self.heads * self.candidates,
        }
    }

    /// The lower half of one Gram matrix per head, in f64: each flop counts as two of f32's.
    pub fn factor(&self) -> Work {
        Work {
            flops: 2.0 * self.heads * self.hidden * self.d * (self.d + 1.0),
            bytes: 2.0 * self.hidden * self.heads * self.d,
        }
    }

    /// One Gram matrix per group.
    pub fn group_factor(&self) -> Work {
        Work { flops: self.group * self.factor().flops, ..self.factor() }
    }

    /// Values times the output projection itself.
    pub fn literal_project(&self) -> Work {
        Work { flops: 2.0 * self.heads * self.candidates * self.d * self.hidden, ..self.project() }
    }

    /// Products of two statistics per head, and one pooled score per slot.
    pub fn combine(&self) -> Work {
        let (statistics, scores) = (self.heads * self.candidates, self.kv_heads * self.candidates);
        Work { flops: 2.0 * statistics + 7.0 * scores, bytes: 8.0 * statistics + 8.0 * scores }
    }

    /// Values of all heads of a group in its coordinates: a triangle of blocks.
    pub fn group_project(&self) -> Work {
        let width = self.group * self.d;
        Work { flops: self.kv_heads * self.candidates * width * (width + 1.0), bytes: self.cached_bytes() }
    }

    /// The mixing of the heads' projected values, and the squares.
    pub fn removed(&self) -> Work {
        let mixed: f64 = (1..=self.group as usize).map(|h| 2.0 * (h * h) as f64 * self.d).sum();
        let squares: f64 = 2.0 * self.group * self.group * self.d;
        Work { flops: self.kv_heads * self.candidates * (mixed + squares), bytes: 0.0 }
    }

    /// A row's differences to its centre, and the squares.
    pub fn centred(&self) -> Work {
        let changes: f64 = (1..=self.group as usize).map(|h| 3.0 * h as f64 * self.d).sum();
        let squares = 2.0 * self.group * self.d;
        Work { flops: self.kv_heads * self.candidates * self.window * (changes + squares), bytes: 0.0 }
    }

    /// Logits and weighted values.
    pub fn average(&self) -> Work {
        Work {
            flops: 4.0 * self.heads * self.window * self.context * self.d,
            bytes: 2.0 * self.cached_bytes(),
        }
    }

    /// `matrices` times `w` rows times the output projection.
    pub fn output(&self, matrices: f64) -> Work {
        Work {
            flops: 2.0 * matrices * self.window * self.heads * self.d * self.hidden,
            bytes: 2.0 * self.hidden * self.heads * self.d,
        }
    }
}
