//! A few threads for what costs too much on a data core.
//!
//! Why few and behind a queue with a limit: a hash takes 46 MiB and tens of milliseconds on purpose. As many of them at
//! once as clients come would be an attack that we run for the attacker.
//!
//! Invariants:
//! - Offering never waits: a full queue gives the task back.
//! - Threads end when nobody can offer anything any more.
//! - They give way to the data cores.

use std::io;
use std::thread;

use flume::{Receiver, Sender, TrySendError};

/// How far the threads stand behind the data cores (`nice`).
const NICENESS: i32 = 10;

/// Where tasks are offered.
#[derive(Debug)]
pub(super) struct Pool<T> {
    queue: Sender<T>,
}

/// The other end of the queue, from which threads are fed.
#[derive(Debug)]
pub(super) struct Tasks<T>(Receiver<T>);

/// A pool that nobody works in yet, with room for that many tasks.
pub(super) fn open<T>(tasks_max: usize) -> (Pool<T>, Tasks<T>) {
    let (queue, tasks) = flume::bounded(tasks_max);
    (Pool { queue }, Tasks(tasks))
}

impl<T> Pool<T> {
    /// Hands a task over, or gives it back if too many wait.
    pub(super) fn offer(&self, task: T) -> Result<(), T> {
        match self.queue.try_send(task) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => Err(task),
        }
    }
}

impl<T> Tasks<T> {
    /// The next task, for whoever can wait for many things at once; none when nobody can offer any more.
    pub(super) async fn next(&self) -> Option<T> {
        self.0.recv_async().await.ok()
    }
}

impl<T: Send + 'static> Tasks<T> {
    /// Starts threads that work on the tasks.
    pub(super) fn staff(
        self,
        name: &str,
        threads: usize,
        work: impl Fn(T) + Clone + Send + 'static,
    ) -> io::Result<()> {
        for _ in 0..threads {
            let (tasks, work) = (self.0.clone(), work.clone());
            let toil = move || {
                // On Linux this concerns the calling thread alone. Where it is forbidden, nothing is lost but courtesy.
                let _ = rustix::process::setpriority_process(None, NICENESS);
                tasks.iter().for_each(work);
            };
            thread::Builder::new().name(name.to_owned()).spawn(toil)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_task_back() {
        let (pool, tasks) = open(2);
        assert_eq!((pool.offer(1), pool.offer(2), pool.offer(3)), (Ok(()), Ok(()), Err(3)));
        let (done, outcome) = flume::unbounded();
        tasks.staff("test", 1, move |task: i32| done.send(task).unwrap()).unwrap();
        assert_eq!(outcome.iter().take(2).collect::<Vec<_>>(), [1, 2]);
        drop(pool);
        // The thread has ended, and its end of the channel with it.
        assert!(outcome.recv().is_err());
    }
}
