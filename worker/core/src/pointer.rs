//! JSON pointers (RFC 6901), as patches name places by them.

/// A pointer, taken apart.
pub(crate) struct Parts(Vec<String>);

impl Parts {
    pub(crate) fn of(pointer: &str) -> Self {
        Self(pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
    }

    /// What of the pointer lies behind `prefix`. `None`: it does not begin with it, or is not longer.
    pub(crate) fn strip_prefix_of(&self, prefix: &[&str]) -> Option<&[String]> {
        let (head, rest) = self.0.split_at_checked(prefix.len())?;
        (head == prefix && !rest.is_empty()).then_some(rest)
    }

    /// Whether it is `prefix`, or a place below.
    pub(crate) fn begins_with(&self, prefix: &[&str]) -> bool {
        self.0.get(..prefix.len()).is_some_and(|head| head == prefix)
    }

    /// Whether `place`, or what contains it, is meant.
    pub(crate) fn leads_to(&self, place: &[&str]) -> bool {
        place.get(..self.0.len()).is_some_and(|head| self.0 == head)
    }

    pub(crate) fn any(&self, is: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|part| is(part))
    }
}
