//! Work in pieces on several threads, taken in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::job::Cancel;

/// The lock of `mutex`, also after a thread died with it: what is in there is whole at every step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works on `items` on `threads` threads, and hands each with what comes of it to `take` in order, on
/// the thread of the caller.
///
/// No more than `threads + 2` results are alive at a time, the one that is being taken among them.
/// The first error in order ends it; what `work` returns never depends on the threads.
pub fn in_order<I: Sync, T: Send>(
    items: &[I],
    threads: usize,
    cancel: &Cancel,
    work: impl Fn(&I) -> Result<T> + Sync,
    mut take: impl FnMut(&I, T) -> Result<()>,
) -> Result<()> {
    let queue = Queue {
        items,
        ahead: threads.max(1) + 2,
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        // Before the threads: a machine that has no more of them ends this here, and those that began
        // must not wait.
        let _stop = Stop(&queue);
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                let _guard = StopOnPanic(&queue);
                while let Some((index, item)) = queue.claim() {
                    let result = cancel.check().and_then(|()| work(item));
                    queue.lock().done.insert(index, result);
                    queue.changed.notify_all();
                }
            });
        }
        for (index, item) in items.iter().enumerate() {
            cancel.check()?;
            take(item, queue.wait_for(index)?)?;
            queue.lock().taken = index + 1;
            queue.changed.notify_all();
        }
        Ok(())
    })
}

struct Queue<'a, I, T> {
    items: &'a [I],
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

impl<'a, I, T> Queue<'a, I, T> {
    /// The next piece to do, as soon as it is not too far ahead.
    fn claim(&self) -> Option<(usize, &'a I)> {
        let mut state = self.lock();
        loop {
            let index = state.next;
            let item = self.items.get(index).filter(|_| !state.stopped)?;
            if index < state.taken + self.ahead {
                state.next += 1;
                return Some((index, item));
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
        lock(&self.state)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, State<T>>) -> MutexGuard<'g, State<T>> {
        let woken = self.changed.wait(guard);
        woken.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever happens to the one who takes, the threads must not wait for it to go on.
struct Stop<'a, I, T>(&'a Queue<'a, I, T>);

impl<I, T> Drop for Stop<'_, I, T> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A thread that dies must not leave the others waiting for its piece.
struct StopOnPanic<'a, I, T>(&'a Queue<'a, I, T>);

impl<I, T> Drop for StopOnPanic<'_, I, T> {
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
            let work = |&index: &usize| {
                begun.fetch_add(1, Ordering::SeqCst);
                // The first of every few is slow.
                (0..if index.is_multiple_of(5) { 20_000 } else { 1 }).for_each(|_| {
                    std::hint::spin_loop();
                });
                Ok(index * 2)
            };
            let items: Vec<usize> = (0..100).collect();
            in_order(
                &items,
                threads,
                &Cancel::default(),
                work,
                |&index, value| {
                    assert_eq!(value, index * 2);
                    assert!(begun.load(Ordering::SeqCst) <= index + threads + 2);
                    taken.push(index);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(taken, (0..100).collect::<Vec<_>>());
        }
        let none: [usize; 0] = [];
        in_order(
            &none,
            2,
            &Cancel::default(),
            |_| Ok(()),
            |_, _| unreachable!(),
        )
        .unwrap();
    }

    #[test]
    fn errors_of_either_side_end_it() {
        let fail = |at: usize| {
            move |&index: &usize| match index == at {
                true => Err(Error::verification("bad")),
                false => Ok(index),
            }
        };
        let mut taken = 0;
        let items: Vec<usize> = (0..50).collect();
        let copy = |&item: &usize| Ok(item);
        let error = in_order(&items, 3, &Cancel::default(), fail(7), |_, _| {
            taken += 1;
            Ok(())
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Verification);
        assert_eq!(taken, 7);
        let error = in_order(&items, 3, &Cancel::default(), copy, |n, _| {
            fail(9)(n).map(drop)
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Verification);
        let cancel = Cancel::default();
        let error = in_order(&items, 3, &cancel, copy, |_, _| {
            cancel.cancel();
            Ok(())
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
