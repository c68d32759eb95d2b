//! Which of a run's random streams each network of a likelihood is initialised and trained from: a number that no other has.

use super::run::Run;

/// Forms of categories, Student t's and networks with shared errors start so far from the others.
const MIXED: usize = 1000;
const TAILS: usize = 2000;
const SHARED: usize = 3000;

/// A stream of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream(usize);

impl Stream {
    /// Its index where networks are initialised.
    pub(super) fn of_weights(self) -> u64 {
        self.0 as u64
    }

    /// Its index where networks are trained: 0 is that of an anchor.
    pub(super) fn of_training(self) -> u64 {
        1 + self.0 as u64
    }

    /// The same network with an error that observations share.
    pub(super) fn shared(self) -> Self {
        Self(SHARED + self.0)
    }

    /// Of a network that grew from this one's after `tried` were.
    pub(super) fn grown(self, tried: usize) -> Self {
        Self(self.0 + tried)
    }
}

impl Run<'_> {
    /// The `index`-th form of the options.
    pub(super) fn form_stream(&self, index: usize) -> Stream {
        Stream(index)
    }

    /// The network with symmetries.
    pub(super) fn symmetric_stream(&self) -> Stream {
        self.member_stream(0)
    }

    /// A member beside the first network, which is number 0 and has its form's.
    pub(super) fn member_stream(&self, member: usize) -> Stream {
        Stream(self.options.likelihood.candidates.len() + member)
    }

    /// A network that is neither a form of the options, nor symmetric, nor a member.
    pub(super) fn other_stream(&self, index: usize) -> Stream {
        self.member_stream(self.options.likelihood.members + index)
    }

    /// The `index`-th form of categories beside real numbers.
    pub(super) fn mixed_stream(&self, index: usize) -> Stream {
        Stream(MIXED + self.other_stream(index).0)
    }

    /// The `index`-th shape of Student t's.
    pub(super) fn tails_stream(&self, index: usize) -> Stream {
        Stream(TAILS + self.other_stream(index).0)
    }
}
