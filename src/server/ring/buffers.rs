//! The receive buffers of one core, lent to the kernel through a ring that both sides can see.
//!
//! Why a shared pool: the kernel takes a buffer only when bytes have arrived, so an idle connection owns none. Buffers
//! lie one cache line further apart than their size: at a power of two, the first lines of all buffers would share one
//! set of the cache. Why not all of them circulate: the kernel uses them in turn, so each one that circulates becomes
//! resident memory and passes through the cache, whereas a quiet core needs a few.
//!
//! Invariants:
//! - A buffer is the kernel's, or behind exactly one [`Chunk`], or at rest; a `Chunk` is made from one completion and
//!   given back once, because it is neither `Copy` nor `Clone`.
//! - All buffers circulate before a receive is refused for good: each refusal doubles those that do.
//! - The memory outlives the ring it is registered with; `Ring` upholds this by dropping itself first.
#![allow(unsafe_code, reason = "the buffer ring is memory shared with the kernel")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The one buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

const PAGE_BYTES: usize = 4096;
const LINE_BYTES: usize = 64;
/// Buffers that circulate at the beginning and after quiet times.
const CIRCULATING_MIN: u16 = 64;
/// How many times [`Buffers::publish`] is called between two looks at whether fewer would do.
const LOOK_INTERVAL: u32 = 4096;

/// The pool.
pub(crate) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
    lent_out: u16,
    /// Buffers at rest, the one that rested last on top.
    resting: Vec<u16>,
    /// How many should circulate.
    wanted: u16,
    /// Most chunks at once since the last look.
    lent_out_max: u16,
    publishes: u32,
}

/// A filled buffer that the kernel has handed over.
#[derive(Debug)]
pub(crate) struct Chunk {
    id: u16,
    count: usize,
}

impl Buffers {
    /// Reserves `count` buffers, a power of two up to 32,768, of `buffer_bytes` each.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> Self {
        assert!(count.is_power_of_two());
        assert!(buffer_bytes > 0);
        let mut buffers = Self {
            entries: reserve(entries_layout(count)).cast(),
            memory: reserve(memory_layout(count, buffer_bytes)),
            count,
            buffer_bytes,
            tail: 0,
            lent_out: 0,
            resting: (0..count).rev().collect(),
            wanted: count.min(CIRCULATING_MIN),
            lent_out_max: 0,
            publishes: 0,
        };
        buffers.circulate();
        buffers.publish();
        buffers
    }

    /// Tells the kernel where the pool lies.
    pub(crate) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let address =
            u64::try_from(self.entries.as_ptr().expose_provenance()).expect("pointers have 64 bits");
        // SAFETY: the entries live as long as `self`, which the owner keeps until the ring is gone; their number is
        // the number that was allocated.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, GROUP, 0) }
    }

    /// Takes note of a completion that carries buffer `id` with `count` bytes in it.
    pub(crate) fn receive(&mut self, id: u16, count: usize) -> Chunk {
        assert!(id < self.count);
        assert!(count <= stride(self.buffer_bytes));
        self.lent_out += 1;
        self.lent_out_max = self.lent_out_max.max(self.lent_out);
        Chunk { id, count }
    }

    /// The bytes of a chunk.
    pub(crate) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        // SAFETY: `receive` checked id and count against the allocation; the kernel does not write to a buffer between
        // its completion and `lend`, which needs the chunk by value and so cannot run while the slice lives.
        unsafe { slice::from_raw_parts(self.buffer(chunk.id).as_ptr(), chunk.count) }
    }

    /// Gives a buffer back; the kernel sees it after `publish`.
    pub(crate) fn recycle(&mut self, chunk: Chunk) {
        self.lent_out -= 1;
        if self.circulating() > self.wanted {
            self.resting.push(chunk.id);
        } else {
            self.lend(chunk.id);
        }
    }

    /// A receive found no buffer: twice as many shall circulate.
    pub(crate) fn starve(&mut self) {
        self.want(self.wanted.saturating_mul(2));
    }

    /// Whether the kernel has buffers left, as far as the completions read so far tell.
    pub(crate) fn is_stocked(&self) -> bool {
        self.lent_out < self.circulating()
    }

    /// Shows the kernel all buffers given back so far.
    pub(crate) fn publish(&mut self) {
        self.look();
        // SAFETY: the tail lies inside the first entry, which is allocated and aligned; only this thread writes it,
        // and the kernel reads it with acquire order, so the entries below it are visible first.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Adjusts how many circulate to twice as many as were in use at once.
    fn look(&mut self) {
        let wanted = self.lent_out_max.saturating_mul(2);
        if wanted > self.wanted {
            self.want(wanted);
        }
        self.publishes += 1;
        if self.publishes == LOOK_INTERVAL {
            self.want(wanted);
            self.publishes = 0;
            self.lent_out_max = self.lent_out;
        }
    }

    fn want(&mut self, wanted: u16) {
        self.wanted =
            wanted.max(CIRCULATING_MIN).checked_next_power_of_two().unwrap_or(self.count).min(self.count);
        self.circulate();
    }

    /// Lends resting buffers until as many circulate as should.
    fn circulate(&mut self) {
        while self.circulating() < self.wanted
            && let Some(id) = self.resting.pop()
        {
            self.lend(id);
        }
    }

    fn circulating(&self) -> u16 {
        self.count - u16::try_from(self.resting.len()).expect("at most `count` buffers rest")
    }

    fn lend(&mut self, id: u16) {
        let address = self.buffer(id).as_ptr().expose_provenance();
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place` is below `count`; the kernel does not read an entry at or above the published tail, and at
        // most `count` buffers exist, so this entry is free.
        let entry = unsafe { &mut *self.entries.as_ptr().add(place) };
        entry.set_addr(u64::try_from(address).expect("pointers have 64 bits"));
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn buffer(&self, id: u16) -> NonNull<u8> {
        // SAFETY: `id` is below `count` (checked in `receive`, or counted in `new`), so the result lies inside `memory`.
        unsafe { self.memory.add(usize::from(id) * stride(self.buffer_bytes)) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated in `new` with these layouts, and the owner drops the ring before its buffers.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout(self.count));
            dealloc(self.memory.as_ptr(), memory_layout(self.count, self.buffer_bytes));
        }
    }
}

fn stride(buffer_bytes: u32) -> usize {
    usize::try_from(buffer_bytes).expect("usize has 64 bits").next_multiple_of(LINE_BYTES) + LINE_BYTES
}

fn entries_layout(count: u16) -> Layout {
    let bytes = usize::from(count) * size_of::<BufRingEntry>();
    Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 32,768 entries of 16 bytes")
}

fn memory_layout(count: u16, buffer_bytes: u32) -> Layout {
    let bytes = usize::from(count) * stride(buffer_bytes);
    Layout::from_size_align(bytes, PAGE_BYTES).expect("below the size of the address space")
}

fn reserve(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0);
    // SAFETY: the size is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_buffers_circulate_as_the_load_needs_and_fewer_when_it_is_over() {
        let mut buffers = Buffers::new(512, 64);
        assert_eq!(buffers.circulating(), CIRCULATING_MIN);
        let chunks: Vec<Chunk> = (0..CIRCULATING_MIN).map(|id| buffers.receive(id, 1)).collect();
        assert!(!buffers.is_stocked());
        buffers.starve();
        assert!(buffers.is_stocked());
        buffers.publish();
        assert_eq!(buffers.circulating(), 2 * CIRCULATING_MIN);
        chunks.into_iter().for_each(|chunk| buffers.recycle(chunk));
        (0..2 * LOOK_INTERVAL).for_each(|_| buffers.publish());
        for id in 0..2 * CIRCULATING_MIN {
            let chunk = buffers.receive(id, 1);
            buffers.recycle(chunk);
        }
        assert_eq!(buffers.circulating(), CIRCULATING_MIN);
        (0..20).for_each(|_| buffers.starve());
        assert_eq!(buffers.circulating(), 512);
    }

    #[test]
    fn a_small_pool_circulates_as_a_whole() {
        let buffers = Buffers::new(2, 64);
        assert_eq!(buffers.circulating(), 2);
    }
}
