//! The pods of a Job that say most: a Job may have thousands, and no more are kept than are needed, not even while they are listed.

use std::cmp::{Ordering, Reverse};

use runjob_core::pod::PodView;

/// How many more than needed are held before the others are let go of.
const SLACK: usize = 100;

/// Takes in pods, and keeps so many of the foremost.
#[derive(Debug)]
pub(super) struct Foremost {
    most: usize,
    rank: Rank,
    pods: Vec<PodView>,
    listed: usize,
}

/// Which pods come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The failed ones, and the youngest of equals.
    Failed,
    /// Those that may still get going, then as above.
    Unfinished,
}

impl Rank {
    fn of(self, pod: &PodView) -> (bool, bool, Reverse<&str>, &str) {
        let is_over = self == Self::Unfinished && (pod.has_ended() || pod.deleting);
        (is_over, !pod.has_failed(), Reverse(&pod.created), &pod.name)
    }

    pub(super) fn compare(self, one: &PodView, other: &PodView) -> Ordering {
        self.of(one).cmp(&self.of(other))
    }
}

impl Foremost {
    pub(super) fn of(most: usize, rank: Rank) -> Self {
        Self { most, rank, pods: Vec::new(), listed: 0 }
    }

    pub(super) fn take(&mut self, pod: PodView) {
        self.listed += 1;
        self.pods.push(pod);
        if self.pods.len() > self.most.saturating_add(SLACK) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let rank = self.rank;
        if self.pods.len() > self.most {
            self.pods.sort_by(|one, other| rank.compare(one, other));
            self.pods.truncate(self.most);
        }
    }

    /// The foremost, and how many there were. Where there are no more than may be kept, they stay in their order.
    pub(super) fn finish(mut self) -> (Vec<PodView>, usize) {
        self.cut();
        self.pods.shrink_to_fit();
        (self.pods, self.listed)
    }
}

/// So many of these pods that say most.
pub(super) fn foremost(pods: Vec<PodView>, most: usize, rank: Rank) -> Vec<PodView> {
    let mut foremost = Foremost { pods, ..Foremost::of(most, rank) };
    foremost.cut();
    foremost.pods
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn a_pod(name: &str, phase: &str, created: &str) -> PodView {
        PodView::of(&json!({"metadata": {"name": name, "creationTimestamp": created}, "status": {"phase": phase}}))
    }

    fn names(pods: &[PodView]) -> Vec<&str> {
        pods.iter().map(|pod| pod.name.as_str()).collect()
    }

    #[test]
    fn of_too_many_pods_the_failed_and_the_youngest_are_kept() {
        let pods = vec![
            a_pod("old", "Succeeded", "2026-01-01T00:00:00Z"),
            a_pod("young", "Succeeded", "2026-01-03T00:00:00Z"),
            a_pod("failed", "Failed", "2026-01-02T00:00:00Z"),
        ];
        assert_eq!(names(&foremost(pods.clone(), 3, Rank::Failed)), ["old", "young", "failed"]);
        assert_eq!(names(&foremost(pods, 2, Rank::Failed)), ["failed", "young"]);
    }

    #[test]
    fn of_those_that_do_not_get_going_the_ones_that_still_may_are_kept() {
        let pods =
            vec![a_pod("failed", "Failed", "2026-01-02T00:00:00Z"), a_pod("new", "Pending", "2026-01-03T00:00:00Z")];
        assert_eq!(names(&foremost(pods, 1, Rank::Unfinished)), ["new"]);
    }

    #[test]
    fn no_more_are_held_than_are_needed_however_many_are_listed() {
        let mut foremost = Foremost::of(2, Rank::Failed);
        for number in 0..10_000 {
            let phase = if number == 77 { "Failed" } else { "Succeeded" };
            foremost.take(a_pod(&format!("{number:05}"), phase, "2026-01-01T00:00:00Z"));
            assert!(foremost.pods.len() <= 2 + SLACK);
        }
        let (pods, listed) = foremost.finish();
        assert_eq!((names(&pods), listed), (vec!["00077", "00000"], 10_000));
    }
}
