//! Stage *evaluate*: `norm_F(O)` of the window's output. The objectives of a retained set are the reference's.

use crate::attend::extents;
use crate::error::DeviceError;
use crate::launch::Grid;
use crate::layer::DeviceLayer;
use crate::upload;

/// `norm_F(O)`, `O = sum_h (A_h V) W_h` over the window, in f32 but for the last sum.
pub(crate) fn output_norm(layer: &DeviceLayer<'_>) -> Result<f64, DeviceError> {
    let (device, shape) = (&layer.device, layer.shape());
    let (singles, rows) = (layer.singles()?, layer.joined_rows()?);
    let [query_extents, key_extents] = extents(layer);
    let row_extents = [shape.query_heads, shape.window_len];
    let mut attended = device.allocate::<f32>(&query_extents)?;
    device
        .launch("evaluate_attended_naive", Grid::new([shape.window_len, shape.query_heads, 1], 128))?
        .input(&singles.query, &query_extents)
        .input(&singles.key, &key_extents)
        .input(&singles.value, &key_extents)
        .input(&rows.largest, &row_extents)
        .input(&rows.sums, &row_extents)
        .output(&mut attended, &query_extents)
        .ints(&[shape.group_size(), shape.window_len, shape.head_dim, shape.context_len, shape.cached_len()])
        .real(layer.scale_log2())
        .run()?;
    let projection = upload::singles(device, layer.problem.activations().output_projection.elements())?;
    let mut channels = device.allocate::<f32>(&[shape.hidden_dim])?;
    device
        .launch("evaluate_output_naive", Grid::new([shape.hidden_dim, 1, 1], 32))?
        .input(&attended, &query_extents)
        .input(&projection, &[shape.hidden_dim, shape.query_heads * shape.head_dim])
        .output(&mut channels, &[shape.hidden_dim])
        .ints(&[shape.query_heads, shape.window_len, shape.head_dim])
        .run()?;
    let squares: f64 = device.copy_out(&channels)?.into_iter().map(f64::from).sum();
    Ok(squares.sqrt())
}
