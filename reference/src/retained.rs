//! Retained sets: ascending positions per layer and KV head, the window always among them.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::reweighting::Reweighting;
use crate::shape::{KvHead, LayerIndex, LayerOrdinal, LayerShape};

/// The retained positions of one sample: `[layers * Hkv]` ascending lists, flattened. A set may be [reweighted](Reweighting).
#[derive(Clone, Debug, PartialEq)]
pub struct RetainedSet {
    kv_heads: usize,
    context_len: usize,
    offsets: Vec<usize>,
    positions: Vec<u32>,
    reweighting: Option<Reweighting>,
}

impl RetainedSet {
    /// Builds the set from each KV head's retained candidates, ascending, and appends the window to each.
    ///
    /// `heads` lists the `kv_heads` KV heads of the first layer, then those of the next.
    ///
    /// # Errors
    /// [`Error::Shape`] when a list is not strictly ascending or holds more than candidates, or when the lists do not
    /// make whole layers.
    pub fn from_candidates(
        kv_heads: usize,
        context_len: usize,
        window_len: usize,
        heads: &[Vec<u32>],
    ) -> Result<Self> {
        if kv_heads == 0 || heads.is_empty() || !heads.len().is_multiple_of(kv_heads) {
            let expected = format_args!("lists for whole layers of {kv_heads} KV heads");
            return Err(Error::shape("retained set", expected, format_args!("{} lists", heads.len())));
        }
        let window = window_positions(context_len, window_len)?;
        let mut offsets = vec![0];
        let mut positions = Vec::new();
        for candidates in heads {
            check_candidates(candidates, window.start)?;
            positions.extend_from_slice(candidates);
            positions.extend(window.clone());
            offsets.push(positions.len());
        }
        Ok(Self { kv_heads, context_len, offsets, positions, reweighting: None })
    }

    /// Takes the set as it is stored: [`RetainedSet::offsets`] and [`RetainedSet::positions`], the window among them.
    ///
    /// # Errors
    /// [`Error::Shape`] when the offsets do not divide the positions into `layers` layers of `kv_heads` KV heads, or a KV
    /// head's positions are not strictly ascending, not below `context_len`, or without the window.
    pub fn from_stored(
        (layers, kv_heads): (usize, usize),
        context_len: usize,
        window_len: usize,
        offsets: &[u64],
        positions: &[u32],
    ) -> Result<Self> {
        let window = window_positions(context_len, window_len)?;
        if offsets.len() != layers * kv_heads + 1 {
            let expected = format_args!("{layers} * {kv_heads} + 1");
            return Err(Error::shape("offsets of a retained set", expected, offsets.len()));
        }
        let total = positions.len() as u64;
        let ascending = offsets.windows(2).all(|ends| ends[0] <= ends[1]);
        if offsets[0] != 0 || !ascending || offsets.last() != Some(&total) {
            let expected = format_args!("numbers that ascend from 0 to {total}");
            let found = offsets.windows(2).find(|ends| ends[0] > ends[1]).unwrap_or(offsets);
            let found = format_args!("{} and {}", found[0], found[found.len() - 1]);
            return Err(Error::shape("offsets of a retained set", expected, found));
        }
        let heads = offsets.windows(2).enumerate().map(|(head, ends)| {
            let own = &positions[ends[0] as usize..ends[1] as usize];
            stored_candidates(own, &window).map_err(|(expected, found)| {
                let (layer, head) = (head / kv_heads + 1, head % kv_heads);
                let expected = format_args!("{expected} in KV head {head} of layer {layer} of {layers}");
                Error::shape("retained set", expected, found)
            })
        });
        let heads = heads.collect::<Result<Vec<_>>>()?;
        Self::from_candidates(kv_heads, context_len, window_len, &heads)
    }

    /// Keeps every position of `layers` layers.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no layer or no KV head, or a position does not fit 32 bits.
    pub fn everything(layers: usize, kv_heads: usize, context_len: usize) -> Result<Self> {
        Self::from_candidates(kv_heads, context_len, context_len, &vec![Vec::new(); layers * kv_heads])
    }

    /// The same positions with these biases and values.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one bias per position.
    pub fn reweighted(self, reweighting: Reweighting) -> Result<Self> {
        let (found, expected) = (reweighting.bias().len(), self.positions.len());
        if found != expected {
            return Err(Error::shape("bias", format_args!("{expected}, one per retained entry"), found));
        }
        Ok(Self { reweighting: Some(reweighting), ..self })
    }

    /// The biases and values of the entries, in the order of [`RetainedSet::positions`], if the set is reweighted.
    #[must_use]
    pub fn reweighting(&self) -> Option<&Reweighting> {
        self.reweighting.as_ref()
    }

    /// How many layers there are.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        (self.offsets.len() - 1) / self.kv_heads
    }

    /// One layer's part.
    ///
    /// # Panics
    /// When the ordinal is not below [`RetainedSet::layer_count`].
    #[must_use]
    pub fn layer(&self, ordinal: LayerOrdinal) -> LayerRetained<'_> {
        let first = ordinal.0 * self.kv_heads;
        LayerRetained {
            context_len: self.context_len,
            offsets: &self.offsets[first..=first + self.kv_heads],
            positions: &self.positions,
            reweighting: self.reweighting.as_ref(),
        }
    }

    /// The evicted candidates as indices in the order (layer, KV head, position), `candidate_len` per KV head.
    #[must_use]
    pub fn evicted(&self, candidate_len: usize) -> Vec<usize> {
        let mut evicted = Vec::new();
        for (head, offsets) in self.offsets.windows(2).enumerate() {
            let mut kept = self.positions[offsets[0]..offsets[1]].iter().copied().peekable();
            for position in 0..candidate_len {
                if kept.next_if_eq(&(position as u32)).is_none() {
                    evicted.push(head * candidate_len + position);
                }
            }
        }
        evicted
    }

    /// The start of each KV head's positions, and the end of the last one's: `[layers * Hkv + 1]`.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// All positions, head after head.
    #[must_use]
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }
}

/// One layer's part of a [`RetainedSet`].
#[derive(Clone, Copy, Debug)]
pub struct LayerRetained<'a> {
    context_len: usize,
    offsets: &'a [usize],
    positions: &'a [u32],
    reweighting: Option<&'a Reweighting>,
}

impl<'a> LayerRetained<'a> {
    /// The ascending positions that one KV head keeps.
    ///
    /// # Panics
    /// When the layer has no such KV head.
    #[must_use]
    pub fn head(&self, head: KvHead) -> &'a [u32] {
        &self.positions[self.entries(head)]
    }

    /// A KV head's entries among all of the set.
    fn entries(&self, head: KvHead) -> Range<usize> {
        self.offsets[head.0]..self.offsets[head.0 + 1]
    }

    /// Whether entries have a bias or another value.
    #[must_use]
    pub fn is_reweighted(&self) -> bool {
        self.reweighting.is_some()
    }

    /// The bias of each entry of a KV head, if the set is reweighted.
    ///
    /// # Panics
    /// When the layer has no such KV head.
    #[must_use]
    pub fn bias(&self, head: KvHead) -> Option<&'a [f32]> {
        self.reweighting.map(|reweighting| &reweighting.bias()[self.entries(head)])
    }

    /// The values of a KV head's entries, `[entries, d]`, if they are replaced.
    ///
    /// # Panics
    /// When the layer has no such KV head.
    #[must_use]
    pub fn values(&self, head: KvHead) -> Option<&'a [f32]> {
        let reweighting = self.reweighting?;
        let (values, dim) = (reweighting.values()?, reweighting.value_dim()?);
        let Range { start, end } = self.entries(head);
        Some(&values[start * dim..end * dim])
    }

    /// Whether each of the `n` positions is kept by one KV head.
    #[must_use]
    pub fn keeps(&self, head: KvHead) -> Vec<bool> {
        let mut keeps = vec![false; self.context_len];
        for &position in self.head(head) {
            keeps[position as usize] = true;
        }
        keeps
    }

    /// Checks that the set was made for a layer of this shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of KV heads, the context length or the width of replaced values differ.
    pub fn check(&self, layer: LayerIndex, shape: LayerShape) -> Result<()> {
        let sizes = |kv_heads, positions| format!("{kv_heads} KV heads and {positions} positions");
        let found = sizes(self.offsets.len() - 1, self.context_len);
        let expected = sizes(shape.kv_heads, shape.context_len);
        if found != expected {
            return Err(Error::shape("retained set", format_args!("{expected} for layer {layer}"), found));
        }
        match self.reweighting.and_then(Reweighting::value_dim).filter(|&dim| dim != shape.head_dim) {
            Some(found) => {
                let expected = format_args!("{} numbers per entry for layer {layer}", shape.head_dim);
                Err(Error::shape("replaced values", expected, found))
            }
            None => Ok(()),
        }
    }

    /// Refuses a reweighted set.
    ///
    /// # Errors
    /// [`Error::Shape`]
    pub fn check_plain(&self) -> Result<()> {
        if self.is_reweighted() {
            let expected =
                "one without biases and replaced values, for which drop errors and bounds are defined";
            return Err(Error::shape("retained set", expected, "a reweighted one"));
        }
        Ok(())
    }
}

fn window_positions(context_len: usize, window_len: usize) -> Result<Range<u32>> {
    let start = context_len.checked_sub(window_len).and_then(|start| u32::try_from(start).ok());
    match (start, u32::try_from(context_len)) {
        (Some(start), Ok(end)) => Ok(start..end),
        _ => {
            let expected = format_args!("at most the context of {context_len}, which fits 32 bits");
            Err(Error::shape("window", expected, window_len))
        }
    }
}

/// The candidates among the stored positions of one KV head; otherwise the rule that they break, and how.
fn stored_candidates(positions: &[u32], window: &Range<u32>) -> Result<Vec<u32>, (String, String)> {
    if let Some(pair) = positions.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(("strictly ascending positions".into(), format!("{} after {}", pair[1], pair[0])));
    }
    if let Some(last) = positions.last().filter(|&&last| last >= window.end) {
        return Err((format!("positions below {}", window.end), last.to_string()));
    }
    let (candidates, own) = positions.split_at(positions.partition_point(|&one| one < window.start));
    if own.len() < window.len() {
        let expected = format!("the window from {} to {}", window.start, window.end - 1);
        return Err((expected, format!("{} of its {} positions", own.len(), window.len())));
    }
    Ok(candidates.to_vec())
}

fn check_candidates(candidates: &[u32], end: u32) -> Result<()> {
    let ascending = candidates.windows(2).all(|pair| pair[0] < pair[1]);
    if ascending && candidates.last().is_none_or(|&last| last < end) {
        return Ok(());
    }
    let expected = format_args!("strictly ascending positions below {end}");
    Err(Error::shape("retained set", expected, format_args!("{candidates:?}")))
}
