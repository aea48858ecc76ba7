//! ggml's element types, by the numbers that files give them.

use candle_core::quantized::GgmlDType;

/// An element type that files use.
pub(super) struct ElementType {
    id: u32,
    name: &'static str,
    /// The tensor library's name; `None` if it does not read the type.
    dtype: Option<GgmlDType>,
}

const fn read(id: u32, name: &'static str, dtype: GgmlDType) -> ElementType {
    ElementType { id, name, dtype: Some(dtype) }
}

const fn unread(id: u32, name: &'static str) -> ElementType {
    ElementType { id, name, dtype: None }
}

const TYPES: &[ElementType] = &[
    read(0, "F32", GgmlDType::F32),
    read(1, "F16", GgmlDType::F16),
    read(30, "BF16", GgmlDType::BF16),
    read(2, "Q4_0", GgmlDType::Q4_0),
    read(3, "Q4_1", GgmlDType::Q4_1),
    read(6, "Q5_0", GgmlDType::Q5_0),
    read(7, "Q5_1", GgmlDType::Q5_1),
    read(8, "Q8_0", GgmlDType::Q8_0),
    read(10, "Q2_K", GgmlDType::Q2K),
    read(11, "Q3_K", GgmlDType::Q3K),
    read(12, "Q4_K", GgmlDType::Q4K),
    read(13, "Q5_K", GgmlDType::Q5K),
    read(14, "Q6_K", GgmlDType::Q6K),
    unread(9, "Q8_1"),
    unread(15, "Q8_K"),
    unread(16, "IQ2_XXS"),
    unread(17, "IQ2_XS"),
    unread(18, "IQ3_XXS"),
    unread(19, "IQ1_S"),
    unread(20, "IQ4_NL"),
    unread(21, "IQ3_S"),
    unread(22, "IQ2_S"),
    unread(23, "IQ4_XS"),
    unread(24, "I8"),
    unread(25, "I16"),
    unread(26, "I32"),
    unread(27, "I64"),
    unread(28, "F64"),
    unread(29, "IQ1_M"),
    unread(34, "TQ1_0"),
    unread(35, "TQ2_0"),
    unread(39, "MXFP4"),
    unread(40, "NVFP4"),
];

/// The tensor library's type of a number.
///
/// # Errors
/// Says which type it is and which types are read.
pub(super) fn dtype(id: u32) -> Result<GgmlDType, String> {
    let known = TYPES.iter().find(|row| row.id == id);
    known.and_then(|row| row.dtype).ok_or_else(|| {
        let name = known.map_or_else(|| format!("number {id}"), |row| row.name.to_owned());
        let read: Vec<&str> = TYPES.iter().filter(|row| row.dtype.is_some()).map(|row| row.name).collect();
        format!("type {name} is not supported, only {}", read.join(", "))
    })
}
