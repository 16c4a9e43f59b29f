//! The loop around the turn: when to go on, when to let others run, when to sleep.
//!
//! Why not let glommio schedule turns: one of its scheduler rounds costs three to four system calls, one of ours costs
//! one. So the loop runs by itself while there is work, and goes through glommio only to sleep, or once a millisecond.
//!
//! Invariants:
//! - Before sleeping, a core says so and then takes one more full turn; whatever is done for it afterwards rings.
//! - A core that sleeps without a deadline is woken by a completion, by a neighbour or by the wish to stop.

use std::future::{Future, poll_fn};
use std::hint::spin_loop;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;
use stdx::{Instant, Span};

use super::turn::{Driver, Found};
use crate::mind::Mind;
use crate::ring::{Urge, doorbell_file};

/// How long the loop keeps the core for itself.
const YIELD_SPAN: Span = Span::from_ms(1);

/// Runs a core until it has ended gracefully, or until the kernel refuses the ring.
pub(crate) async fn run<M: Mind>(mut driver: Driver<M>) -> io::Result<()> {
    let mut bed = Bed::new(&driver)?;
    let mut idle_rounds = 0;
    let mut yielded_at = driver.clock.now();
    while !driver.is_finished() {
        if driver.turn(Urge::IfNeeded)? == Found::Something {
            idle_rounds = 0;
            yielded_at = yield_if_due(&driver, yielded_at).await;
        } else if idle_rounds < driver.habits.spin_rounds {
            idle_rounds += 1;
            spin_loop();
        } else {
            sleep(&mut driver, &mut bed).await?;
            yielded_at = driver.clock.now();
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

async fn sleep<M: Mind>(driver: &mut Driver<M>, bed: &mut Bed) -> io::Result<()> {
    driver.mesh.bell().lie_down();
    driver.ring.watch();
    let found = driver.turn(Urge::Always);
    let restless = driver.ring.is_stirring() || driver.mesh.bell().has_mail();
    let slept = match found {
        Ok(Found::Nothing) if !restless && !driver.is_finished() => bed.sleep(driver.nap()).await,
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    };
    driver.ring.unwatch();
    driver.mesh.bell().get_up();
    slept
}

impl<M: Mind> Driver<M> {
    /// How long the core may sleep; `None` is until somebody rings.
    fn nap(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.next_deadline().map(|deadline| Duration::from_nanos(deadline.since(now).ns()))
    }
}

/// Where a core sleeps: glommio awaits the bell's eventfd for it.
struct Bed {
    bell: Rc<BufferedFile>,
    rung: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
}

impl Bed {
    fn new<M: Mind>(driver: &Driver<M>) -> io::Result<Self> {
        let eventfd = driver.mesh.bell().fd().as_fd().try_clone_to_owned()?;
        Ok(Self { bell: Rc::new(doorbell_file(eventfd)), rung: None })
    }

    /// Sleeps until the bell is rung or `nap` is over.
    async fn sleep(&mut self, nap: Option<Duration>) -> io::Result<()> {
        // One read stays pending over many sleeps. A read that was dropped could still be alive in the kernel when the
        // next one starts, and swallow the ring that the next one waits for.
        let rung = self.rung.get_or_insert_with(|| Box::pin(await_ring(self.bell.clone())));
        let mut timer = nap.map(Timer::new);
        let outcome = poll_fn(|context| {
            if let Poll::Ready(outcome) = rung.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            let over = timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(context).is_ready());
            if over { Poll::Ready(None) } else { Poll::Pending }
        });
        let Some(outcome) = outcome.await else { return Ok(()) };
        self.rung = None;
        outcome
    }
}

async fn await_ring(bell: Rc<BufferedFile>) -> io::Result<()> {
    bell.read_at(0, 8).await.map(drop).map_err(io::Error::from)
}
