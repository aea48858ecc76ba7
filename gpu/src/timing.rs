//! Time on the device. Launches are recorded once as a graph and replayed, and events around the replays measure them.

use cudarc::driver::{CudaGraph, CudaSlice, sys};

use crate::device::Device;
use crate::error::{DeviceError, Result, doing};

/// Launches that can be repeated.
pub struct Recorded<'a> {
    device: &'a Device,
    graph: CudaGraph,
}

impl Device {
    /// Records the launches of `enqueue`, which do not run. The device must have been [opened for
    /// timing](Device::open_for_timing), and `enqueue` may not allocate or wait.
    pub fn record(&self, enqueue: impl FnOnce() -> Result<()>) -> Result<Recorded<'_>> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        doing("recording launches", self.compute.begin_capture(mode))?;
        let enqueued = enqueue();
        let graph = doing("recording launches", self.compute.end_capture(sys::CUgraphInstantiate_flags(0)));
        enqueued?;
        let nothing = || DeviceError::request("recorded launches", "at least one", "none");
        Ok(Recorded { device: self, graph: graph?.ok_or_else(nothing)? })
    }

    /// Bytes read and written per second by a copy inside the device's memory, the best of some tries. The copies are not
    /// recorded: on an H200, recorded ones of 1 GiB reached 2.7 TB/s, and others of 4 GiB 4.3 TB/s.
    pub fn copy_rate(&self, bytes: usize) -> Result<f64> {
        let words = bytes / size_of::<u32>();
        let zeros = || doing("clearing memory", self.compute.alloc_zeros::<u32>(words));
        let (from, mut to): (CudaSlice<u32>, CudaSlice<u32>) = (zeros()?, zeros()?);
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            best = best.min(self.elapsed(|| doing("copying", self.compute.memcpy_dtod(&from, &mut to)))?);
        }
        Ok(2.0 * (words * size_of::<u32>()) as f64 / (best / 1e3))
    }

    /// Milliseconds between an event before and one behind the work of `enqueue`.
    fn elapsed(&self, enqueue: impl FnOnce() -> Result<()>) -> Result<f64> {
        let event = || {
            let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            doing("recording an event", self.compute.record_event(flags))
        };
        let start = event()?;
        enqueue()?;
        let end = event()?;
        Ok(f64::from(doing("reading the time", start.elapsed_ms(&end))?))
    }
}

impl Recorded<'_> {
    /// Milliseconds per replay, the mean over `replays` in a row.
    pub fn milliseconds(&self, replays: usize) -> Result<f64> {
        let launch = || doing("replaying launches", self.graph.launch());
        let all = self.device.elapsed(|| (0..replays).try_for_each(|_| launch()))?;
        Ok(all / replays.max(1) as f64)
    }

    /// The median of several measurements of [`Recorded::milliseconds`], after one that does not count.
    pub fn median_milliseconds(&self, measurements: usize, replays: usize) -> Result<f64> {
        self.milliseconds(replays)?;
        let times = (0..measurements.max(1)).map(|_| self.milliseconds(replays));
        let mut times = times.collect::<Result<Vec<_>, _>>()?;
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }
}
