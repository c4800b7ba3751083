//! Work in pieces on several threads, taken in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::job::Cancel;

/// Does the pieces `0..count` with `work` on `threads` threads, and hands what comes of them to `take`
/// in order, on the thread of the caller.
///
/// No more than `threads + 2` results are alive at a time, the one that is being taken among them.
/// The first error in order ends it; what `work` returns never depends on the threads.
pub fn in_order<T: Send>(
    count: usize,
    threads: usize,
    cancel: &Cancel,
    work: impl Fn(usize) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let queue = Queue {
        count,
        ahead: threads.max(1) + 2,
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        // Before the threads: a machine that has no more of them ends this here, and those that began
        // must not wait.
        let _stop = Stop(&queue);
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                let _guard = StopOnPanic(&queue);
                while let Some(index) = queue.claim() {
                    let result = cancel.check().and_then(|()| work(index));
                    queue.lock().done.insert(index, result);
                    queue.changed.notify_all();
                }
            });
        }
        for index in 0..count {
            cancel.check()?;
            take(index, queue.wait_for(index)?)?;
            queue.lock().taken = index + 1;
            queue.changed.notify_all();
        }
        Ok(())
    })
}

struct Queue<T> {
    count: usize,
    ahead: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The first piece that nobody works on.
    next: usize,
    /// How many have been taken.
    taken: usize,
    done: BTreeMap<usize, Result<T>>,
    stopped: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            next: 0,
            taken: 0,
            done: BTreeMap::new(),
            stopped: false,
        }
    }
}

impl<T> Queue<T> {
    /// The next piece to do, as soon as it is not too far ahead.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.next >= self.count {
                return None;
            }
            if state.next < state.taken + self.ahead {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.wait(state);
        }
    }

    fn wait_for(&self, index: usize) -> Result<T> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.done.remove(&index) {
                return result;
            }
            if state.stopped {
                return Err(Error::failed("a thread stopped early (this is a bug)"));
            }
            state = self.wait(state);
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, State<T>>) -> MutexGuard<'g, State<T>> {
        self.changed.wait(guard).unwrap_or_else(|e| e.into_inner())
    }
}

/// Whatever happens to the one who takes, the threads must not wait for it to go on.
struct Stop<'a, T>(&'a Queue<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A thread that dies must not leave the others waiting for its piece.
struct StopOnPanic<'a, T>(&'a Queue<T>);

impl<T> Drop for StopOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn results_come_in_order_and_not_far_ahead() {
        for threads in [1, 3, 8] {
            let (begun, mut taken) = (AtomicUsize::new(0), Vec::new());
            let work = |index: usize| {
                begun.fetch_add(1, Ordering::SeqCst);
                // The first of every few is slow.
                (0..if index.is_multiple_of(5) { 20_000 } else { 1 }).for_each(|_| {
                    std::hint::spin_loop();
                });
                Ok(index * 2)
            };
            in_order(100, threads, &Cancel::default(), work, |index, value| {
                assert_eq!(value, index * 2);
                assert!(begun.load(Ordering::SeqCst) <= index + threads + 2);
                taken.push(index);
                Ok(())
            })
            .unwrap();
            assert_eq!(taken, (0..100).collect::<Vec<_>>());
        }
        in_order(0, 2, &Cancel::default(), Ok, |_, _| unreachable!()).unwrap();
    }

    #[test]
    fn errors_of_either_side_end_it() {
        let fail = |at: usize| {
            move |index: usize| match index == at {
                true => Err(Error::verification("bad")),
                false => Ok(index),
            }
        };
        let mut taken = 0;
        let error = in_order(50, 3, &Cancel::default(), fail(7), |_, _| {
            taken += 1;
            Ok(())
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Verification);
        assert_eq!(taken, 7);
        let error = in_order(50, 3, &Cancel::default(), Ok, |_, n| fail(9)(n).map(drop));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Verification);
        let cancel = Cancel::default();
        let error = in_order(50, 3, &cancel, Ok, |_, _| {
            cancel.cancel();
            Ok(())
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
