//! The loop around the turn: when to go on, when to let others run, when to sleep.
//!
//! Why two kinds of sleep: one of glommio's scheduler rounds costs three to four system calls and a memory barrier on all
//! cores, a wait in our own ring costs one call. So a core that runs out of work first naps in the ring, where traffic
//! of any rate finds it, and hands itself over to glommio only when nothing came for [`NAP`]; glommio's other tasks, if
//! there are any, wait no longer than that.
//!
//! Invariants:
//! - Before sleeping, a core says so and then looks round once more; whatever is done for it afterwards wakes it.
//! - A core that sleeps without a deadline is woken by a completion, by a neighbour or by the wish to stop.

use std::future::{Future, poll_fn};
use std::hint::spin_loop;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;
use stdx::{Instant, Span};

use super::turn::{Driver, Found};
use crate::doors::DoorEnd;
use crate::journal::JournalEnd;
use crate::mind::Mind;
use crate::ring::alarm_file;

/// How long the loop keeps the core for itself.
const YIELD_SPAN: Span = Span::from_ms(5);
/// How long a core waits in its ring before it sleeps through glommio.
const NAP: Duration = Duration::from_millis(5);
/// A deadline sooner than this is not put at risk by letting completions gather.
const GATHER_SPAN_MIN: Duration = Duration::from_millis(1);

/// Runs a core until it has ended gracefully, or until the kernel refuses the ring.
pub(crate) async fn run<M: Mind>(mut driver: Driver<M>) -> io::Result<()> {
    let mut bed = Bed::new(&mut driver)?;
    let mut idle_rounds = 0;
    let mut yielded_at = driver.clock.now();
    while !driver.is_finished() {
        if driver.turn()? == Found::Something {
            idle_rounds = 0;
            yielded_at = yield_if_due(&driver, yielded_at).await;
        } else if idle_rounds < driver.habits.spin_rounds && driver.gather_us() == 0 {
            idle_rounds += 1;
            spin_loop();
        } else {
            driver.mesh.bell().lie_down();
            let rested = rest(&mut driver, &mut bed).await;
            driver.mesh.bell().get_up();
            rested?;
        }
    }
    Ok(())
}

async fn yield_if_due<M: Mind>(driver: &Driver<M>, yielded_at: Instant) -> Instant {
    let now = driver.clock.now();
    if now.since(yielded_at) < YIELD_SPAN {
        return yielded_at;
    }
    glommio::executor().yield_now().await;
    now
}

/// Sleeps until there is something to do. The bell says already that the core sleeps.
async fn rest<M: Mind>(driver: &mut Driver<M>, bed: &mut Bed) -> io::Result<()> {
    if driver.is_restless() {
        return Ok(());
    }
    let left = driver.time_left();
    let nap = left.map_or(NAP, |left| left.min(NAP));
    match driver.gather_us() {
        gather_us @ 1.. if nap >= GATHER_SPAN_MIN.max(Duration::from_micros(gather_us.into())) => {
            driver.ring.wait_gathering(nap, gather_us)?;
        }
        _nothing_gathers => driver.ring.wait(nap)?,
    }
    let left = driver.time_left();
    if driver.is_restless() || left == Some(Duration::ZERO) {
        return Ok(());
    }
    driver.ring.watch();
    let slept = match driver.ring.settle_down() {
        Ok(()) if !driver.is_restless() => bed.sleep(left).await,
        outcome => outcome,
    };
    driver.ring.unwatch();
    slept
}

impl<M: Mind> Driver<M> {
    /// For how many microseconds what arrives is left to gather.
    fn gather_us(&mut self) -> u32 {
        if self.habits.gather_us == 0 {
            0
        } else {
            self.tempo.gather_us(self.clock.now(), self.mind.packets_read())
        }
    }

    /// Whether something must be done that nobody will announce any more.
    fn is_restless(&mut self) -> bool {
        self.ring.is_stirring()
            || self.mesh.bell().has_mail()
            || self.journal.as_ref().is_some_and(JournalEnd::has_mail)
            || self.door.as_ref().is_some_and(DoorEnd::has_mail)
            || self.must_heed_stop()
            || self.must_go_on_opening()
            || self.is_finished()
    }

    /// How long the core may sleep; `None` is until somebody rings.
    fn time_left(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.next_deadline().map(|deadline| Duration::from_nanos(deadline.since(now).ns()))
    }
}

/// Where a core sleeps: glommio awaits the alarm, which completions sound while the ring is watched.
struct Bed {
    alarm: Rc<BufferedFile>,
    sounded: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
}

impl Bed {
    fn new<M: Mind>(driver: &mut Driver<M>) -> io::Result<Self> {
        let bell = driver.mesh.bell();
        driver.ring.set_alarm(bell.alarm())?;
        bell.publish_ring(driver.ring.duplicate_fd()?);
        let alarm = bell.alarm().try_clone_to_owned()?;
        Ok(Self { alarm: Rc::new(alarm_file(alarm)), sounded: None })
    }

    /// Sleeps until the alarm sounds or `left` is over.
    async fn sleep(&mut self, left: Option<Duration>) -> io::Result<()> {
        // One read stays pending over many sleeps. A read that was dropped could still be alive in the kernel when the
        // next one starts, and swallow the alarm that the next one waits for.
        let sounded = self.sounded.get_or_insert_with(|| Box::pin(hear(self.alarm.clone())));
        let mut timer = left.map(Timer::new);
        let outcome = poll_fn(|context| {
            if let Poll::Ready(outcome) = sounded.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            let over = timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(context).is_ready());
            if over { Poll::Ready(None) } else { Poll::Pending }
        });
        let Some(outcome) = outcome.await else { return Ok(()) };
        self.sounded = None;
        outcome
    }
}

async fn hear(alarm: Rc<BufferedFile>) -> io::Result<()> {
    alarm.read_at(0, 8).await.map(drop).map_err(io::Error::from)
}
