//! Work that several threads do and one takes in order: what it comes to does not depend on how many
//! there are.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result};

/// Calls `make` for every index below `count`, in `threads` threads, and hands what it returns to
/// `take`, in this thread, in order.
///
/// No thread begins more than `threads` + 2 pieces ahead of what was taken, which bounds the memory.
/// The first error, in order, ends it.
pub(super) fn in_order<T: Send>(
    count: usize,
    threads: usize,
    make: impl Fn(usize) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let threads = threads.clamp(1, count.max(1));
    let queue = Queue {
        count,
        ahead: threads + 2,
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| queue.work(&make));
        }
        // Whatever happens here, the threads must not wait for it to go on.
        let _guard = StopWhenDone(&queue);
        (0..count).try_for_each(|index| take(index, queue.take(index)?))
    })
}

struct Queue<T> {
    count: usize,
    /// How many pieces may have been begun and not yet taken.
    ahead: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Index of the next piece that nobody works on.
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
    /// Makes pieces until there are none left.
    fn work(&self, make: impl Fn(usize) -> Result<T>) {
        let _guard = StopOnPanic(self);
        while let Some(index) = self.claim() {
            let piece = make(index);
            self.lock().done.insert(index, piece);
            self.changed.notify_all();
        }
    }

    /// The next piece to make, as soon as it is not too far ahead.
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

    /// Waits for piece `index`, which is the next one to be taken.
    fn take(&self, index: usize) -> Result<T> {
        let mut state = self.lock();
        loop {
            if let Some(piece) = state.done.remove(&index) {
                state.taken = index + 1;
                self.changed.notify_all();
                return piece;
            }
            if state.stopped {
                return Err(Error::failed("the work stopped early"));
            }
            state = self.wait(state);
        }
    }

    /// Lets all threads come to an end.
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

/// Also when taking panics: the scope waits for the threads.
struct StopWhenDone<'a, T>(&'a Queue<T>);

impl<T> Drop for StopWhenDone<'_, T> {
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

    #[test]
    fn pieces_come_in_order_and_not_too_far_ahead() {
        for threads in [0, 1, 3, 50] {
            let (begun, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let mut seen = Vec::new();
            let make = |index| {
                let ahead = begun.fetch_add(1, Ordering::SeqCst) - taken.load(Ordering::SeqCst);
                assert!(ahead <= threads.clamp(1, 20) + 2, "{ahead}");
                Ok(index * 2)
            };
            in_order(20, threads, make, |index, piece| {
                seen.push((index, piece));
                taken.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
            .unwrap();
            let wanted: Vec<_> = (0..20).map(|i| (i, i * 2)).collect();
            assert_eq!(seen, wanted);
        }
        in_order(0, 4, |_| Ok(()), |_, ()| panic!("nothing to take")).unwrap();
    }

    #[test]
    fn the_first_error_in_order_ends_it() {
        let make = |index| match index {
            3 | 5 => Err(Error::failed(format!("piece {index}"))),
            _ => Ok(()),
        };
        let mut taken = 0;
        let error = in_order(100, 4, make, |_, ()| {
            taken += 1;
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "piece 3");
        assert_eq!(taken, 3);
        let full = |index, ()| match index {
            2 => Err(Error::failed("no space")),
            _ => Ok(()),
        };
        let error = in_order(100, 4, |_| Ok(()), full).unwrap_err();
        assert_eq!(error.to_string(), "no space");
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_thread_that_dies_stops_the_rest() {
        let make = |index| match index {
            7 => panic!("on purpose"),
            _ => Ok(()),
        };
        let _ = in_order(1000, 3, make, |_, ()| Ok(()));
    }
}
