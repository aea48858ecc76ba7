//! Streams: work in order, which is done when something waits for it.

use std::collections::VecDeque;

use crate::launch::Launch;

use super::{Driver, Failure, LAUNCH_FAILED, NOT_SUPPORTED, Outcome, Point, failure, host};

/// One piece of work.
///
/// `CopyIn` holds bytes that its caller may change at once. Pinned bytes are read, or written, when the work is done. `Mark`
/// records the time of an event.
#[derive(Clone, Debug)]
pub(super) enum Work {
    CopyIn { to: u64, data: Vec<u8> },
    CopyInPinned { to: u64, from: usize, len: usize },
    CopyOutPinned { from: u64, to: usize, len: usize },
    CopyInside { from: u64, to: u64, len: usize },
    Fill { to: u64, value: u8, len: usize },
    Free { address: u64 },
    Wait(Point),
    Launch(Queued),
    Mark { event: usize },
}

/// A launch of a function that waits for its turn.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub function: usize,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: usize,
    pub parameters: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Stream {
    queue: VecDeque<Work>,
    /// The amount of work that has been taken off the queue.
    done: u64,
    failed: Option<Failure>,
    /// Work that is recorded and not queued.
    capture: Option<Vec<Work>>,
}

impl Stream {
    fn end(&self) -> u64 {
        self.done + self.queue.len() as u64
    }
}

impl Driver {
    pub(super) fn enqueue(&mut self, stream: usize, work: Work) {
        let stream = self.stream_at(stream);
        match &mut stream.capture {
            Some(capture) => capture.push(work),
            None => stream.queue.push_back(work),
        }
    }

    /// Records an event behind all work of a stream.
    pub(super) fn record(&mut self, event: usize, stream: usize) -> Outcome<()> {
        self.event_at(event)?;
        self.enqueue(stream, Work::Mark { event });
        let position = self.stream_at(stream).end();
        self.event_at(event)?.point = Some(Point { stream, position });
        Ok(())
    }

    /// Lets a stream wait for an event. An event without a record has happened.
    pub(super) fn wait(&mut self, stream: usize, event: usize) -> Outcome<()> {
        if let Some(point) = self.event_at(event)?.point {
            self.enqueue(stream, Work::Wait(point));
        }
        Ok(())
    }

    /// Does a stream's work up to a point, and returns a fault from there or before.
    pub(super) fn reach(&mut self, point: Point) -> Outcome<()> {
        self.advance(point);
        self.stream_at(point.stream).failed.take().map_or(Ok(()), Err)
    }

    /// Does a stream's work up to a point or a fault. Behind a fault that no wait has returned yet, no work is done.
    fn advance(&mut self, point: Point) {
        while self.stream_at(point.stream).done < point.position {
            let stream = self.stream_at(point.stream);
            if stream.failed.is_some() {
                stream.done += stream.queue.len() as u64;
                stream.queue.clear();
            }
            let Some(work) = stream.queue.pop_front() else { break };
            stream.done += 1;
            if let Err(failed) = self.perform(work) {
                self.stream_at(point.stream).failed = Some(failed);
            }
        }
    }

    pub(super) fn synchronize(&mut self, stream: usize) -> Outcome<()> {
        if self.stream_at(stream).capture.is_some() {
            return Err(failure(NOT_SUPPORTED, "a stream that is being captured cannot be waited for"));
        }
        let position = self.stream_at(stream).end();
        self.reach(Point { stream, position })
    }

    /// Does the work of all streams, other threads' included. The next wait for a stream still returns its fault.
    pub(super) fn finish(&mut self) {
        for stream in 0..self.streams.len() {
            let position = self.stream_at(stream).end();
            self.advance(Point { stream, position });
        }
    }

    pub(super) fn begin_capture(&mut self, stream: usize) {
        self.stream_at(stream).capture = Some(Vec::new());
    }

    pub(super) fn end_capture(&mut self, stream: usize) -> Outcome<usize> {
        let captured = self.stream_at(stream).capture.take();
        self.graphs.push(captured.ok_or_else(|| failure(NOT_SUPPORTED, "nothing is being captured"))?);
        Ok(self.graphs.len())
    }

    pub(super) fn replay(&mut self, graph: usize, stream: usize) -> Outcome<()> {
        let graph = self.graphs.get(graph.wrapping_sub(1)).cloned();
        let works = graph.ok_or_else(|| failure(NOT_SUPPORTED, "no such graph"))?;
        works.into_iter().for_each(|work| self.enqueue(stream, work));
        Ok(())
    }

    fn perform(&mut self, work: Work) -> Outcome<()> {
        match work {
            Work::CopyIn { to, data } => self.memory.write(to, &data)?,
            Work::CopyInPinned { to, from, len } => {
                // SAFETY: the call that queued this was promised `len` readable bytes until the copy is done.
                let data = unsafe { host::read(from, len) };
                self.memory.write(to, &data)?;
            }
            Work::CopyOutPinned { from, to, len } => {
                let data = self.memory.read(from, len)?;
                // SAFETY: the call that queued this was promised `len` writable bytes until the copy is done.
                unsafe { host::write(to, data) };
            }
            Work::CopyInside { from, to, len } => {
                let data = self.memory.read(from, len)?.to_vec();
                self.memory.write(to, &data)?;
            }
            Work::Fill { to, value, len } => self.memory.write(to, &vec![value; len])?,
            Work::Free { address } => self.memory.free(address)?,
            Work::Wait(point) => self.reach(point)?,
            Work::Launch(Queued { function, grid, block, dynamic_shared, parameters }) => {
                let function = &self.functions[function - 1];
                let kernel = &function.module.kernels[function.index];
                let launch = Launch { kernel, grid, block, dynamic_shared, parameters: &parameters };
                let statistics = launch.run(&mut self.memory);
                self.executed +=
                    statistics.map_err(|finding| failure(LAUNCH_FAILED, finding.to_string()))?.executed;
            }
            Work::Mark { event } => self.events[event - 1].executed = self.executed,
        }
        Ok(())
    }
}
