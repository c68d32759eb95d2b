//! What the processes of a [`Team`](crate::Team) share out.

use crate::cancelled::Cancelled;
use crate::monitor::Monitor;
use crate::parcel::Parcel;
use std::cell::Cell;
use std::ops::Range;

thread_local! {
    /// Whether this thread is doing its process's part of something: what is within it is not shared again.
    static IN_PART: Cell<bool> = const { Cell::new(false) };
}

/// Marks the thread for as long as it lives.
struct InPart;

impl InPart {
    fn enter() -> Self {
        IN_PART.set(true);
        Self
    }
}

impl Drop for InPart {
    fn drop(&mut self) {
        IN_PART.set(false);
    }
}

impl dyn Monitor + '_ {
    /// How many processes share what is shared here: 1 where nothing is, as within a part of something that is.
    pub fn sharing(&self) -> usize {
        let team = self.team();
        if team.is_here() && !IN_PART.get() { team.size() } else { 1 }
    }

    /// Whether this process is the one that writes files and speaks.
    pub fn leads(&self) -> bool {
        self.team().rank() == 0
    }

    /// Does `count` independent items: `work` does a range of them, and where several processes work together each does one. Returns the results of the
    /// ranges that are not empty (or of the one that is everything), in order, the same in every process.
    ///
    /// # Errors
    /// Those of `work`; [`Cancelled`] when another process failed.
    pub fn share<T: Parcel, E: From<Cancelled>>(
        &self,
        label: &str,
        count: usize,
        work: impl FnOnce(Range<usize>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let size = self.sharing();
        // A single item is done by all: it may have parts to share itself.
        if size == 1 || count < 2 {
            return Ok(vec![work(0..count)?]);
        }
        let own = part(count, self.team().rank(), size);
        let packed = if own.is_empty() {
            Vec::new()
        } else {
            let part = InPart::enter();
            let done = work(own)?;
            drop(part);
            done.packed()
        };
        let all = self.team().exchange(&format!("{label}, {count}"), packed)?;
        let parts = all.iter().enumerate().filter(|(rank, _)| !part(count, *rank, size).is_empty());
        Ok(parts.map(|(_, bytes)| T::unpacked(bytes).ok_or(Cancelled)).collect::<Result<_, _>>()?)
    }

    /// What the first process finds, in all of them.
    ///
    /// # Errors
    /// Those of `find` in the first process; [`Cancelled`] in the others then.
    pub fn lead<T: Parcel, E: From<Cancelled>>(
        &self,
        label: &str,
        find: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if self.sharing() == 1 {
            return find();
        }
        if self.leads() {
            let found = find()?;
            self.team().exchange(label, found.packed())?;
            return Ok(found);
        }
        let all = self.team().exchange(label, Vec::new())?;
        Ok(T::unpacked(&all[0]).ok_or(Cancelled)?)
    }
}

/// Items of `count` that process `rank` of `size` does: contiguous, numbers differing by one at most.
fn part(count: usize, rank: usize, size: usize) -> Range<usize> {
    let start = |rank: usize| (count as u128 * rank as u128 / size as u128) as usize;
    start(rank)..start(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Progress, Quiet, Team};
    use std::sync::{Barrier, Mutex};

    #[test]
    fn parts_cover_the_items_once() {
        for (count, size) in [(10, 3), (2, 5), (0, 4), (16_384, 7), (5, 1)] {
            let parts: Vec<_> = (0..size).map(|rank| part(count, rank, size)).collect();
            assert_eq!(parts[0].start, 0);
            assert_eq!(parts[size - 1].end, count);
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let lengths = || parts.iter().map(Range::len);
            assert!(lengths().max() <= lengths().min().map(|least| least + 1), "{parts:?}");
        }
    }

    /// Threads in place of processes.
    struct Threads {
        barrier: Barrier,
        given: Mutex<Vec<Vec<u8>>>,
    }

    struct Member<'a> {
        rank: usize,
        threads: &'a Threads,
    }

    impl Team for Member<'_> {
        fn size(&self) -> usize {
            3
        }

        fn rank(&self) -> usize {
            self.rank
        }

        fn is_here(&self) -> bool {
            true
        }

        fn exchange(&self, _: &str, own: Vec<u8>) -> Result<Vec<Vec<u8>>, Cancelled> {
            self.threads.given.lock().unwrap()[self.rank] = own;
            self.threads.barrier.wait();
            let all = self.threads.given.lock().unwrap().clone();
            self.threads.barrier.wait();
            Ok(all)
        }
    }

    impl Monitor for Member<'_> {
        fn progress(&self, _: &Progress<'_>) {}

        fn cancelled(&self) -> bool {
            false
        }

        fn team(&self) -> &dyn Team {
            self
        }
    }

    fn in_three(work: impl Fn(&dyn Monitor) + Sync) {
        let threads = Threads { barrier: Barrier::new(3), given: Mutex::new(vec![Vec::new(); 3]) };
        std::thread::scope(|scope| {
            for rank in 0..3 {
                let (threads, work) = (&threads, &work);
                scope.spawn(move || work(&Quiet(&Member { rank, threads })));
            }
        });
    }

    #[test]
    fn all_get_what_one_would_have_made() {
        for count in [0, 1, 2, 3, 10] {
            in_three(|monitor| {
                let squares = |range: Range<usize>| -> Result<Vec<u64>, Cancelled> {
                    // Within a part nothing is shared again, but within what all do.
                    let again = monitor.share("inner", 2, |inner| Ok::<_, Cancelled>(inner.len() as u64))?;
                    let expected = if count < 2 { (vec![1, 1], 3) } else { (vec![2], 1) };
                    assert_eq!((again, monitor.sharing()), expected);
                    Ok(range.map(|i| (i * i) as u64).collect())
                };
                let all = monitor.share("squares", count, squares).unwrap().concat();
                assert_eq!(all, (0..count as u64).map(|i| i * i).collect::<Vec<_>>());
                assert_eq!(monitor.sharing(), 3);
            });
        }
    }

    #[test]
    fn the_first_says_what_it_found() {
        in_three(|monitor| {
            let rank = monitor.team().rank() as u64;
            assert_eq!(monitor.lead("found", || Ok::<_, Cancelled>(rank + 7)), Ok(7));
        });
    }
}
