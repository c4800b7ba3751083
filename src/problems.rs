//! What is wrong with the input, collected so that one run tells all of it, each mistake once and
//! where the user wrote it.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::problem::Problem;

/// The problems of one run.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    seen: BTreeSet<String>,
}

impl Problems {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `problem`, unless it was told already: nodes that extend the same profile share its mistakes.
    pub fn push(&mut self, problem: Problem) {
        if self.seen.insert(problem.message().to_owned()) {
            self.found.push(problem);
        }
    }

    /// The value of `result`. A usage error is kept as a problem; any other error ends the run.
    pub fn keep<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::Usage => {
                self.extend(problems_of(&error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Ok without problems; otherwise one usage error that lists them all.
    pub fn report(self) -> Result<()> {
        self.settle(Some(()))
    }

    /// The value that was made, when nothing is wrong; otherwise one usage error that lists everything
    /// that is, among it why there is no value.
    pub fn settle<T>(mut self, value: Option<T>) -> Result<T> {
        match (self.found.len(), value) {
            (0, Some(value)) => Ok(value),
            (1, _) => Err(self.found.remove(0).into()),
            (n, _) => {
                let lines: Vec<String> = self.found.iter().map(Problem::line).collect();
                Err(Error::usage(format!("{n} problems:\n{}", lines.join("\n")))
                    .with_problems(self.found))
            }
        }
    }
}

impl Extend<Problem> for Problems {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        for problem in problems {
            self.push(problem);
        }
    }
}

/// The problems that a usage error tells of: those it lists, or itself with its causes.
fn problems_of(error: &Error) -> Vec<Problem> {
    if !error.problems().is_empty() {
        return error.problems().to_vec();
    }
    // What was being done when it was found differs from node to node; the mistake does not.
    let chain: Vec<_> = error.chain().collect();
    let innermost = chain
        .iter()
        .rposition(|e| e.downcast_ref::<Error>().is_some())
        .unwrap_or_default();
    let words: Vec<String> = chain[innermost..].iter().map(ToString::to_string).collect();
    let hint = error.hint().map(str::to_owned);
    vec![Problem::told(words.join(": ")).with_maybe_hint(hint)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_told_once_and_all_in_one_error() {
        let mut problems = Problems::new();
        problems.push(Problem::new("a.toml:1", "x"));
        problems.push(Problem::new("a.toml:1", "x"));
        let two = Err::<(), _>(Error::usage("b.toml:2: y").with_hint("do z"));
        assert_eq!(problems.keep(two).unwrap(), None);
        assert_eq!(problems.len(), 2);
        let error = problems.report().unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 problems:\n  a.toml:1: x\n  b.toml:2: y (do z)"
        );
        let mut again = Problems::new();
        again.keep(Err::<(), _>(error)).unwrap();
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn errors_that_are_not_the_users_end_the_run() {
        let mut problems = Problems::new();
        assert!(problems.keep(Err::<(), _>(Error::failed("disk"))).is_err());
    }
}
