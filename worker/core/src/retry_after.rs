//! `Retry-After`: when a server wants to be asked again.

use std::time::Duration;

/// The longest that a server's wish is heeded. What asks for more is a maintenance page or a mistake, and nothing is lost by asking
/// once a minute.
pub const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait, at most [`LONGEST`]. `None`: the header names no number of seconds. A date is one of the server's clock, which
/// this one may not agree with: the caller's own pauses have to do.
pub fn pause(header: &str) -> Option<Duration> {
    let digits = header.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number that does not fit is a long time.
    let seconds = digits.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_heeded_for_a_minute_at_most() {
        let cases = [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("60", Some(60)),
            ("3600", Some(60)),
            ("2147483647", Some(60)),
            ("18446744073709551615", Some(60)),
            ("99999999999999999999999999", Some(60)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("+5", None),
            ("soon", None),
            ("Wed, 21 Oct 2037 07:28:00 GMT", None),
        ];
        for (header, seconds) in cases {
            assert_eq!(pause(header), seconds.map(Duration::from_secs), "{header:?}");
        }
    }
}
