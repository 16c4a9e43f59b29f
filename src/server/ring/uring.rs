//! One io_uring: operations in, events out.
//!
//! Why buffers live in here: the kernel reads a send buffer until its completion and writes receive buffers at any
//! time, so whoever could free them early could corrupt memory. Callers hand a `Vec` in and get it back when the kernel
//! has let go; what remains outside is plain safe code.
//!
//! Invariants:
//! - At most one send per slot is in flight, and its bytes do not move until its completion was read.
//! - `flights` counts the operations whose last completion has not been read; the ring's memory is freed only at zero.
//! - The ring is created and entered by one thread (SINGLE_ISSUER); it is not `Send`.
#![allow(unsafe_code, reason = "submission entries carry addresses that the kernel will use")]

use std::io;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use super::buffers::{Buffers, Chunk, GROUP};
use super::handover;

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Submissions per turn before an extra system call is needed.
    pub submissions: u32,
    /// Completions that may wait.
    pub completions: u32,
    /// Receive buffers, a power of two.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
}

impl Default for Depth {
    fn default() -> Self {
        Self { submissions: 4096, completions: 16384, buffers: 1024, buffer_bytes: 4096 }
    }
}

/// A place in the socket table together with the number of its life, so that a late completion is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// The place.
    pub(crate) index: u32,
    /// How often the place was used before, modulo 2^24.
    pub(crate) life: u32,
}

/// What the kernel reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// A listener accepted a connection, or failed to; unless `armed`, it accepts no more.
    Accepted { door: u32, outcome: io::Result<OwnedFd>, armed: bool },
    /// A connection received something; unless `armed`, nothing more will come until the next receive is asked for.
    Received { slot: Slot, inbound: Inbound, armed: bool },
    /// Another core has woken this one.
    Woken,
    /// A send ended; its buffer waits in [`Ring::reclaim`].
    Sent { slot: Slot, outcome: Result<usize, rustix::io::Errno> },
}

/// What a receive brought.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// Bytes.
    Bytes(Chunk),
    /// All buffers are in use; ask again when some were given back.
    Starved,
    /// The peer will send no more.
    End,
    /// The receive was cancelled by us.
    Cancelled,
    /// The connection broke.
    Broken(rustix::io::Errno),
}

/// Completions that an enter must have brought for another one to be worth its cost.
const GAIN_MIN: usize = 16;
/// Completions that are not left to gather any longer.
const GATHERED_MAX: usize = 128;

/// Whether an enter may be skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urge {
    /// Enter the kernel only if something is to be submitted or known to be pending.
    IfNeeded,
    /// Enter in any case: before going to sleep nothing may be overlooked.
    Always,
}

/// The ring.
pub(crate) struct Ring {
    uring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<Buffers>,
    sends: ManuallyDrop<Vec<Send>>,
    backlog: Vec<squeue::Entry>,
    flights: u32,
    entries: u64,
    /// Waits in which completions were let gather.
    gatherings: u64,
    /// Whether the kernel can let completions gather.
    gathers: bool,
    one_thread: PhantomData<*mut ()>,
}

#[derive(Default)]
struct Send {
    bytes: Vec<u8>,
    in_flight: bool,
}

impl Ring {
    /// Makes a ring on the calling thread.
    pub(crate) fn new(depth: Depth) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(depth.completions)
            .dontfork()
            .build(depth.submissions)?;
        let buffers = Buffers::new(depth.buffers, depth.buffer_bytes);
        let ring = Self {
            gatherings: 0,
            gathers: uring.params().is_feature_min_timeout(),
            uring: ManuallyDrop::new(uring),
            buffers: ManuallyDrop::new(buffers),
            sends: ManuallyDrop::new(Vec::new()),
            backlog: Vec::new(),
            flights: 0,
            entries: 0,
            one_thread: PhantomData,
        };
        ring.buffers.register(&ring.uring.submitter())?;
        Ok(ring)
    }

    /// Names the eventfd that completions ring while the ring is watched.
    pub(crate) fn set_alarm(&mut self, alarm: BorrowedFd<'_>) -> io::Result<()> {
        self.unwatch();
        self.uring.submitter().register_eventfd(alarm.as_raw_fd())
    }

    /// A descriptor of this ring for other threads to wake it by.
    pub(crate) fn duplicate_fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the descriptor is the ring's own, which is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }.try_clone_to_owned()
    }

    /// Wakes the thread that waits in another ring.
    pub(crate) fn wake(&mut self, ring: BorrowedFd<'_>) {
        let woken = Token { kind: WOKEN, slot: door_slot(0) }.pack();
        let entry = opcode::MsgRingData::new(fd(ring), 0, woken, None).build();
        self.push_silently(entry);
    }

    /// Accepts connections on a listening socket until told otherwise.
    pub(crate) fn accept(&mut self, door: u32, listener: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        self.launch(entry.build().user_data(Token { kind: ACCEPT, slot: door_slot(door) }.pack()));
    }

    /// Stops accepting on a listening socket.
    pub(crate) fn cancel_accept(&mut self, door: u32) {
        self.cancel(Token { kind: ACCEPT, slot: door_slot(door) });
    }

    /// Receives once.
    pub(crate) fn receive_once(&mut self, slot: Slot, socket: BorrowedFd<'_>) {
        let entry = opcode::Recv::new(fd(socket), ptr::null_mut(), 0).buf_group(GROUP).build();
        let entry = entry.flags(squeue::Flags::BUFFER_SELECT);
        self.launch(entry.user_data(Token { kind: RECEIVE, slot }.pack()));
    }

    /// Receives until told otherwise.
    pub(crate) fn receive(&mut self, slot: Slot, socket: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(fd(socket), GROUP).build();
        self.launch(entry.user_data(Token { kind: RECEIVE, slot }.pack()));
    }

    /// Stops the receive of a slot; its last event follows.
    pub(crate) fn cancel_receive(&mut self, slot: Slot) {
        self.cancel(Token { kind: RECEIVE, slot });
    }

    /// Sends `bytes`, which must not be empty. None may be in flight for this slot.
    pub(crate) fn send(&mut self, slot: Slot, socket: BorrowedFd<'_>, bytes: Vec<u8>) {
        assert!(!bytes.is_empty());
        let place = place(slot);
        if self.sends.len() <= place {
            self.sends.resize_with(place + 1, Send::default);
        }
        assert!(!self.sends[place].in_flight);
        self.sends[place].bytes = bytes;
        self.resend(slot, socket, 0);
    }

    /// Sends again what lies at and behind `offset` in the buffer of the last send, which has ended short of its end.
    pub(crate) fn resend(&mut self, slot: Slot, socket: BorrowedFd<'_>, offset: usize) {
        let send = &mut self.sends[place(slot)];
        assert!(!send.in_flight);
        assert!(offset < send.bytes.len());
        send.in_flight = true;
        let rest = &send.bytes[offset..];
        let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        // The vector stays in `sends`, and `reclaim` refuses to give it out until its completion was read, so the
        // address stays valid although the entry below is safe to build.
        let entry = opcode::Send::new(fd(socket), rest.as_ptr(), count).flags(libc::MSG_NOSIGNAL).build();
        self.launch(entry.user_data(Token { kind: SEND, slot }.pack()));
    }

    /// Stops the send of a slot; its event follows.
    pub(crate) fn cancel_send(&mut self, slot: Slot) {
        self.cancel(Token { kind: SEND, slot });
    }

    /// How many bytes the buffer of the last send of a slot holds.
    pub(crate) fn send_bytes(&self, slot: Slot) -> usize {
        self.sends[place(slot)].bytes.len()
    }

    /// Takes the buffer of the last send back, after its event.
    pub(crate) fn reclaim(&mut self, slot: Slot) -> Vec<u8> {
        let send = &mut self.sends[place(slot)];
        assert!(!send.in_flight);
        mem::take(&mut send.bytes)
    }

    /// The bytes of a chunk.
    pub(crate) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.buffers.bytes(chunk)
    }

    /// Gives a receive buffer back. The kernel sees it at the next [`Ring::enter`].
    pub(crate) fn recycle(&mut self, chunk: Chunk) {
        self.buffers.recycle(chunk);
    }

    /// Whether a receive has a chance to find a buffer.
    pub(crate) fn has_buffers(&self) -> bool {
        self.buffers.is_stocked()
    }

    /// Submits everything asked for and lets the kernel finish what it can, without waiting: one system call, or none
    /// if nothing is to be done, or a few if much has arrived, until `count_max` completions can be read.
    pub(crate) fn enter(&mut self, urge: Urge, count_max: usize) -> io::Result<()> {
        self.buffers.publish();
        self.flush_backlog();
        let queued = self.uring.submission().len();
        if queued == 0 && !self.is_owed_work() && urge == Urge::IfNeeded {
            return Ok(());
        }
        let mut known = self.uring.completion().len();
        self.enter_kernel(queued, EnterFlags::GETEVENTS)?;
        // One call runs only so many of the pending completions (20 on Linux 6.13 and later), however many there are.
        for _ in 0..count_max / GAIN_MIN {
            let count = self.uring.completion().len();
            if count - known < GAIN_MIN || count >= count_max || !self.is_owed_work() {
                break;
            }
            known = count;
            self.enter_kernel(0, EnterFlags::GETEVENTS)?;
        }
        Ok(())
    }

    /// Submits everything asked for and waits for one completion, but not longer than `span`.
    pub(crate) fn wait(&mut self, span: Duration) -> io::Result<()> {
        self.wait_for(1, SubmitArgs::new().timespec(&Timespec::from(span)))
    }

    /// Whether completions can be let gather: not before Linux 6.12.
    pub(crate) fn can_gather(&self) -> bool {
        self.gathers
    }

    /// The same, but lets completions gather for `gather_us` microseconds, unless [`GATHERED_MAX`] come sooner.
    pub(crate) fn wait_gathering(&mut self, span: Duration, gather_us: u32) -> io::Result<()> {
        let span = Timespec::from(span);
        self.gatherings += 1;
        self.wait_for(GATHERED_MAX, SubmitArgs::new().timespec(&span).min_wait_usec(gather_us))
    }

    fn wait_for(&mut self, count: usize, arguments: SubmitArgs<'_, '_>) -> io::Result<()> {
        self.buffers.publish();
        self.flush_backlog();
        self.entries += 1;
        tolerate(self.uring.submitter().submit_with_args(count, &arguments))
    }

    /// How often the kernel was entered through this ring.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// How often completions were let gather.
    pub(crate) fn gatherings(&self) -> u64 {
        self.gatherings
    }

    /// Before going to sleep on a watched ring: lets the kernel finish everything that it may not announce any more.
    pub(crate) fn settle_down(&mut self) -> io::Result<()> {
        /// The flag may also stand for nothing, until the next piece of work, if the kernel set it a moment too late.
        const ROUNDS_MAX: usize = 8;
        for _ in 0..ROUNDS_MAX {
            self.enter(Urge::Always, 1)?;
            if self.is_stirring() || !self.is_owed_work() {
                break;
            }
        }
        Ok(())
    }

    /// Whether completions can be read or something waits to be submitted.
    pub(crate) fn is_stirring(&mut self) -> bool {
        !(self.backlog.is_empty() && self.uring.submission().is_empty() && self.uring.completion().is_empty())
    }

    /// Whether the kernel has completions that it can finish only when we enter.
    fn is_owed_work(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether something may have arrived that was not collected yet.
    pub(crate) fn is_behind(&mut self) -> bool {
        !self.uring.completion().is_empty() || self.is_owed_work() || !self.backlog.is_empty()
    }

    /// Moves up to `count_max` events into `events`.
    pub(crate) fn collect(&mut self, events: &mut Vec<Event>, count_max: usize) {
        // SAFETY: `self` is borrowed mutably, so this is the only handle to the completion queue, and it is used and
        // dropped within this function. The shared form leaves `self` free for decoding.
        let mut queue = unsafe { self.uring.completion_shared() };
        let decoder =
            Decoder { buffers: &mut self.buffers, sends: &mut self.sends, flights: &mut self.flights };
        decoder.decode(queue.by_ref().take(count_max), events);
    }

    /// Lets completions ring the doorbell, before going to sleep.
    pub(crate) fn watch(&mut self) {
        self.uring.completion().enable_eventfd();
    }

    /// Keeps completions from ringing the doorbell: we are awake.
    pub(crate) fn unwatch(&mut self) {
        self.uring.completion().disable_eventfd();
    }

    fn launch(&mut self, entry: squeue::Entry) {
        self.flights += 1;
        self.push(entry);
    }

    fn cancel(&mut self, token: Token) {
        self.push_silently(opcode::AsyncCancel::new(token.pack()).build());
    }

    /// Asks for something whose success is not reported and whose failure does not matter: what was to be cancelled has
    /// ended, whoever was to be woken is.
    fn push_silently(&mut self, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry.user_data(Token { kind: SILENT, slot: door_slot(0) }.pack()));
    }

    fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        // The queue is full: submit it in between. Should the kernel refuse for lack of memory, the entry waits.
        let queued = self.uring.submission().len();
        let submitted = self.enter_kernel(queued, EnterFlags::empty()).is_ok();
        if !(submitted && self.backlog.is_empty() && self.try_push(&entry)) {
            self.backlog.push(entry);
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: entries are built only in this file. Their addresses are those of send buffers, which `sends` holds
        // until their completion was read, and of the buffer group, which lives as long as the ring.
        unsafe { self.uring.submission().push(entry).is_ok() }
    }

    fn flush_backlog(&mut self) {
        let backlog = mem::take(&mut self.backlog);
        for entry in backlog {
            if !(self.backlog.is_empty() && self.try_push(&entry)) {
                self.backlog.push(entry);
            }
        }
    }

    fn enter_kernel(&mut self, queued: usize, flags: EnterFlags) -> io::Result<()> {
        self.entries += 1;
        let queued = u32::try_from(queued).expect("the queue has at most 32,768 entries");
        // SAFETY: no argument structure is passed, and `queued` is the number of entries that were pushed.
        let entered =
            unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, flags.bits(), None) };
        tolerate(entered)
    }

    /// Cancels everything and reads completions until nothing is in flight. Returns whether it worked within a second.
    fn settle(&mut self) -> bool {
        const ROUNDS_MAX: usize = 100;
        self.push_silently(opcode::AsyncCancel2::new(CancelBuilder::any()).build());
        let mut events = Vec::new();
        for _ in 0..ROUNDS_MAX {
            if self.wait(Duration::from_millis(10)).is_err() {
                return false;
            }
            self.collect(&mut events, usize::MAX);
            events.clear();
            if self.flights == 0 {
                return true;
            }
        }
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let settled = self.settle();
        // SAFETY: each is dropped once, here, and not used afterwards. The ring goes first. If operations are still in
        // flight, the memory that they may touch is left allocated for ever.
        unsafe {
            ManuallyDrop::drop(&mut self.uring);
            if settled {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.sends);
            }
        }
    }
}

/// The names of operations that the driver uses and the kernel does not know.
pub(crate) fn missing_operations() -> io::Result<Vec<&'static str>> {
    let used = [
        (opcode::AcceptMulti::CODE, "ACCEPT"),
        (opcode::RecvMulti::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
        (opcode::MsgRingData::CODE, "MSG_RING"),
    ];
    let ring = IoUring::new(1)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    Ok(used.into_iter().filter(|(code, _)| !known.is_supported(*code)).map(|(_, name)| name).collect())
}

/// Lets pass what is no failure: the time was over, a signal came, or there was no memory or no room in the completion
/// queue just now, and the next turn tries again.
fn tolerate(entered: io::Result<usize>) -> io::Result<()> {
    match entered.map_err(|error| (error.raw_os_error(), error)) {
        Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

/// Turns completions into events.
struct Decoder<'a> {
    buffers: &'a mut Buffers,
    sends: &'a mut Vec<Send>,
    flights: &'a mut u32,
}

impl Decoder<'_> {
    fn decode(self, completions: impl Iterator<Item = cqueue::Entry>, events: &mut Vec<Event>) {
        for completion in completions {
            let token = Token::unpack(completion.user_data());
            let armed = cqueue::more(completion.flags());
            match token.kind {
                SILENT => continue,
                WOKEN => {
                    events.push(Event::Woken);
                    continue;
                }
                // What else there is was launched by this ring.
                _ => {}
            }
            *self.flights -= u32::from(!armed);
            let slot = token.slot;
            events.push(match token.kind {
                ACCEPT => Event::Accepted { door: slot.index, outcome: accepted(&completion), armed },
                RECEIVE => Event::Received { slot, inbound: received(self.buffers, &completion), armed },
                SEND => {
                    self.sends[place(slot)].in_flight = false;
                    Event::Sent { slot, outcome: taken(&completion) }
                }
                kind => unreachable!("no operation is submitted with kind {kind}"),
            });
        }
    }
}

fn accepted(completion: &cqueue::Entry) -> io::Result<OwnedFd> {
    match completion.result() {
        number if number >= 0 => Ok(handover::accepted(number)),
        failure => Err(io::Error::from_raw_os_error(-failure)),
    }
}

fn received(buffers: &mut Buffers, completion: &cqueue::Entry) -> Inbound {
    let result = completion.result();
    let count = usize::try_from(result).unwrap_or(0);
    if let Some(id) = cqueue::buffer_select(completion.flags()) {
        let chunk = buffers.receive(id, count);
        if count > 0 {
            return Inbound::Bytes(chunk);
        }
        buffers.recycle(chunk);
    }
    match -result {
        0 => Inbound::End,
        libc::ENOBUFS => {
            buffers.starve();
            Inbound::Starved
        }
        libc::ECANCELED => Inbound::Cancelled,
        code => Inbound::Broken(rustix::io::Errno::from_raw_os_error(code)),
    }
}

fn taken(completion: &cqueue::Entry) -> Result<usize, rustix::io::Errno> {
    let result = completion.result();
    usize::try_from(result).map_err(|_| rustix::io::Errno::from_raw_os_error(-result))
}

const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;
const SILENT: u64 = 4;
const WOKEN: u64 = 5;

const LIFE_BITS: u32 = 24;
const LIFE_MASK: u64 = (1 << LIFE_BITS) - 1;

impl Slot {
    /// The slot's next life.
    pub(crate) fn next_life(self) -> Slot {
        let life = (u64::from(self.life) + 1) & LIFE_MASK;
        Slot { index: self.index, life: u32::try_from(life).expect("24 bits") }
    }
}

/// What stands in a completion's user data: slot in the low half, life above it, kind on top.
#[derive(Clone, Copy)]
struct Token {
    kind: u64,
    slot: Slot,
}

impl Token {
    fn pack(self) -> u64 {
        self.kind << (32 + LIFE_BITS)
            | (u64::from(self.slot.life) & LIFE_MASK) << 32
            | u64::from(self.slot.index)
    }

    fn unpack(word: u64) -> Self {
        let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("masked to 32 bits");
        let slot = Slot { index: low(word), life: low(word >> 32 & LIFE_MASK) };
        Self { kind: word >> (32 + LIFE_BITS), slot }
    }
}

fn door_slot(door: u32) -> Slot {
    Slot { index: door, life: 0 }
}

fn place(slot: Slot) -> usize {
    usize::try_from(slot.index).expect("usize has 64 bits")
}

fn fd(borrowed: BorrowedFd<'_>) -> Fd {
    let number: RawFd = borrowed.as_raw_fd();
    Fd(number)
}
