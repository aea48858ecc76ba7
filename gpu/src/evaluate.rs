//! Stage *evaluate*: `norm_F(O)` of the window's output. The reference computes the objectives of a retained set.

use crate::error::Result;
use crate::launch::Grid;
use crate::layer::DeviceLayer;
use crate::upload;

/// `norm_F(O)`, `O = sum_h (A_h V) W_h` over the window. All but the last sum is in f32.
pub(crate) fn output_norm(layer: &DeviceLayer<'_>) -> Result<f64> {
    let (device, shape) = (&layer.device, layer.shape());
    let (singles, rows) = (layer.singles()?, layer.joined_rows()?);
    let extents = layer.query_extents();
    let mut attended = device.allocate::<f32>(&extents)?;
    let grid = Grid::new([shape.window_len, shape.query_heads, 1], 128);
    let launch = layer
        .reading(device.launch("evaluate_attended_naive", grid)?, singles)
        .input(&*singles.value, &layer.cached_extents())
        .input(&rows.largest, &rows.extents(layer))
        .input(&rows.sums, &rows.extents(layer))
        .output(&mut attended, &extents);
    layer.attending(launch).int(shape.head_dim).run()?;
    let projection = upload::singles(device, layer.output_projection.elements())?;
    let mut channels = device.allocate::<f32>(&[shape.hidden_dim])?;
    device
        .launch("evaluate_output_naive", Grid::new([shape.hidden_dim, 1, 1], 32))?
        .input(&attended, &extents)
        .input(&projection, &[shape.hidden_dim, shape.query_heads * shape.head_dim])
        .output(&mut channels, &[shape.hidden_dim])
        .ints(&[shape.query_heads, shape.window_len, shape.head_dim])
        .run()?;
    let squares: f64 = device.copy_out(&channels)?.into_iter().map(f64::from).sum();
    Ok(squares.sqrt())
}
